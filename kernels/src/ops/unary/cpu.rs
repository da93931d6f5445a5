use super::Unary;
use crate::Float;
use crate::cpu::elementwise::each;
use crate::cpu::math;
use crate::op::Gradient;

pub(super) fn forward<T: Float>(op: Unary, x: &[T], y: &mut [T]) {
    let to = Gradient { data: y, add: false };
    match op {
        Unary::Exp => each(x, x, to, |x, _| math::exp(x)),
        Unary::Log => each(x, x, to, |x, _| x.ln()),
        Unary::Sqrt => each(x, x, to, |x, _| x.sqrt()),
        Unary::Square => each(x, x, to, |x, _| x * x),
        Unary::Abs => each(x, x, to, |x, _| x.abs()),
        Unary::Negate => each(x, x, to, |x, _| -x),
        Unary::Reciprocal => each(x, x, to, |x, _| T::ONE / x),
        Unary::Softplus => each(x, x, to, |x, _| math::softplus_of_minus(-x)),
        Unary::Clamp { low, high } => {
            let (low, high) = (T::from_f64(low), T::from_f64(high));
            each(x, x, to, |x, _| {
                let x = if x < low { low } else { x };
                if x > high { high } else { x }
            });
        }
    }
}

/// The gradient of x. `kept` is the output for exp, sqrt and reciprocal, otherwise x.
pub(super) fn backward<T: Float>(op: Unary, kept: &[T], dy: &[T], to: Gradient<T>) {
    match op {
        Unary::Exp => each(kept, dy, to, |y, dy| dy * y),
        Unary::Log => each(kept, dy, to, |x, dy| dy / x),
        Unary::Sqrt => each(kept, dy, to, |y, dy| dy * T::from_f64(0.5) / y),
        Unary::Square => each(kept, dy, to, |x, dy| dy * (x + x)),
        Unary::Abs => each(kept, dy, to, |x, dy| dy * sign(x)),
        Unary::Negate => each(dy, dy, to, |dy, _| -dy),
        Unary::Reciprocal => each(kept, dy, to, |y, dy| -dy * y * y),
        Unary::Softplus => each(kept, dy, to, |x, dy| dy * math::sigmoid(x)),
        Unary::Clamp { low, high } => {
            let (low, high) = (T::from_f64(low), T::from_f64(high));
            each(kept, dy, to, |x, dy| if x >= low && x <= high { dy } else { T::ZERO });
        }
    }
}

/// -1, 0 or 1.
#[inline(always)]
fn sign<T: Float>(x: T) -> T {
    let positive = if x > T::ZERO { T::ONE } else { T::ZERO };
    if x < T::ZERO { -T::ONE } else { positive }
}
