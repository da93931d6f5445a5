use super::Regression;
use crate::Float;
use crate::cpu::{parallel, simd, sums};
use crate::op::Gradient;

pub(super) fn forward<T: Float>(op: Regression, prediction: &[T], target: &[T]) -> T {
    let mean = |of: fn(&[T], &[T]) -> f64| {
        let total = sums::total(prediction.len(), 2, |first, end| {
            of(&prediction[first..end], &target[first..end])
        });
        T::from_f64(total / prediction.len() as f64)
    };
    match op {
        Regression::Mse => mean(|a, b| {
            simd::vectorised(
                #[inline(always)]
                || sums::two(a, b, |a, b| (a - b) * (a - b)),
            )
        }),
        Regression::L1 => mean(|a, b| {
            simd::vectorised(
                #[inline(always)]
                || sums::two(a, b, |a, b| (a - b).abs()),
            )
        }),
    }
}

/// The gradient of the first input.
pub(super) fn backward<T: Float>(
    op: Regression,
    a: &[T],
    b: &[T],
    dy: T,
    gradient: &mut Gradient<T>,
) {
    match op {
        Regression::Mse => {
            let scale = dy * T::from_f64(2.0 / a.len() as f64);
            each(a, b, gradient, |difference| scale * difference);
        }
        Regression::L1 => {
            let share = dy * T::from_f64(1.0 / a.len() as f64);
            each(a, b, gradient, |difference| {
                let positive = if difference > T::ZERO { share } else { T::ZERO };
                if difference < T::ZERO { -share } else { positive }
            });
        }
    }
}

/// Writes or adds f(a - b) for each element.
fn each<T: Float>(a: &[T], b: &[T], gradient: &mut Gradient<T>, f: impl Fn(T) -> T + Sync) {
    let add = gradient.add;
    parallel::rows(gradient.data, 1, 3, |start, gradient| {
        let (a, b) = (&a[start..], &b[start..]);
        simd::vectorised(
            #[inline(always)]
            || {
                for ((g, &a), &b) in gradient.iter_mut().zip(a).zip(b) {
                    let value = f(a - b);
                    *g = if add { *g + value } else { value };
                }
            },
        );
    });
}
