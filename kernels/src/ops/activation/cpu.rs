use super::Activation;
use crate::Float;
use crate::cpu::{parallel, simd};
use crate::op::Gradient;

impl Activation {
    /// The function itself.
    #[inline(always)]
    pub fn apply<T: Float>(self, x: T) -> T {
        match self {
            Activation::Relu => x.max(T::ZERO),
            Activation::Gelu => x * normal_cdf(x),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Tanh => x.tanh(),
        }
    }

    /// Its derivative, from what [`super::Op::keep`] kept: the output, or the input of GELU.
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
                let density =
                    T::from_f64(0.398_942_280_401_432_7) * (-kept * kept * T::from_f64(0.5)).exp();
                normal_cdf(kept) + kept * density
            }
            Activation::Sigmoid => kept * (T::ONE - kept),
            Activation::Tanh => T::ONE - kept * kept,
        }
    }
}

#[inline(always)]
fn normal_cdf<T: Float>(x: T) -> T {
    T::from_f64(0.5) * (T::ONE + (x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

pub(super) fn forward<T: Float>(op: Activation, input: &[T], output: &mut [T]) {
    parallel::rows(output, 1, 1, |start, output| {
        let input = &input[start..start + output.len()];
        simd::vectorised(|| {
            for (y, &x) in output.iter_mut().zip(input) {
                *y = op.apply(x);
            }
        });
    });
}

pub(super) fn backward<T: Float>(
    op: Activation,
    kept: &[T],
    grad_output: &[T],
    gradient: &mut Gradient<T>,
) {
    let add = gradient.add;
    parallel::rows(gradient.data, 1, 2, |start, gradient| {
        let kept = &kept[start..start + gradient.len()];
        let grad_output = &grad_output[start..start + gradient.len()];
        simd::vectorised(|| {
            for ((g, &k), &dy) in gradient.iter_mut().zip(kept).zip(grad_output) {
                let old = if add { *g } else { T::ZERO };
                *g = old + dy * op.derivative(k);
            }
        });
    });
}
