use super::Activation;
use crate::Float;
use crate::cpu::elementwise::each;
use crate::cpu::math;
use crate::op::Gradient;

impl Activation {
    /// The activation of `x`.
    #[inline(always)]
    pub fn apply<T: Float>(self, x: T) -> T {
        match self {
            Activation::Relu => x.max(T::ZERO),
            Activation::Gelu => x * normal_cdf(x),
            Activation::Sigmoid => math::sigmoid(x),
            Activation::Tanh => math::tanh(x),
            Activation::Silu => x * math::sigmoid(x),
        }
    }

    /// The derivative, from the kept buffer: the output, or the input of GELU and SiLU.
    #[inline(always)]
    pub fn derivative<T: Float>(self, kept: T) -> T {
        match self {
            Activation::Relu => {
                if kept > T::ZERO {
                    T::ONE
                } else {
                    T::ZERO
                }
            }
            Activation::Gelu => {
                let density = T::from_f64(0.398_942_280_401_432_7)
                    * math::exp(-kept * kept * T::from_f64(0.5));
                normal_cdf(kept) + kept * density
            }
            Activation::Sigmoid => kept * (T::ONE - kept),
            Activation::Tanh => T::ONE - kept * kept,
            Activation::Silu => {
                let gate = math::sigmoid(kept);
                gate * (T::ONE + kept * (T::ONE - gate))
            }
        }
    }
}

#[inline(always)]
fn normal_cdf<T: Float>(x: T) -> T {
    T::from_f64(0.5) * (T::ONE + math::erf(x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)))
}

pub(super) fn forward<T: Float>(op: Activation, input: &[T], output: &mut [T]) {
    let no_other = Gradient { data: output, add: false };
    match op {
        Activation::Relu => each(input, input, no_other, |x, _| Activation::Relu.apply(x)),
        Activation::Gelu => each(input, input, no_other, |x, _| Activation::Gelu.apply(x)),
        Activation::Sigmoid => each(input, input, no_other, |x, _| Activation::Sigmoid.apply(x)),
        Activation::Tanh => each(input, input, no_other, |x, _| Activation::Tanh.apply(x)),
        Activation::Silu => each(input, input, no_other, |x, _| Activation::Silu.apply(x)),
    }
}

pub(super) fn backward<T: Float>(
    op: Activation,
    kept: &[T],
    grad_output: &[T],
    gradient: Gradient<T>,
) {
    match op {
        Activation::Relu => {
            each(kept, grad_output, gradient, |k, dy| dy * Activation::Relu.derivative(k));
        }
        Activation::Gelu => {
            each(kept, grad_output, gradient, |k, dy| dy * Activation::Gelu.derivative(k));
        }
        Activation::Sigmoid => {
            each(kept, grad_output, gradient, |k, dy| dy * Activation::Sigmoid.derivative(k));
        }
        Activation::Tanh => {
            each(kept, grad_output, gradient, |k, dy| dy * Activation::Tanh.derivative(k));
        }
        Activation::Silu => {
            each(kept, grad_output, gradient, |k, dy| dy * Activation::Silu.derivative(k));
        }
    }
}
