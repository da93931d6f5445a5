use crate::Float;
use crate::cpu::{parallel, simd, sums};
use crate::op::Gradient;

pub(super) fn forward<T: Float>(prediction: &[T], target: &[T]) -> T {
    let total = sums::total(prediction.len(), 2, |first, end| {
        simd::vectorised(
            #[inline(always)]
            || sums::two(&prediction[first..end], &target[first..end], |a, b| (a - b) * (a - b)),
        )
    });
    T::from_f64(total / prediction.len() as f64)
}

/// The gradient of the first of the two.
pub(super) fn backward<T: Float>(a: &[T], b: &[T], dy: T, gradient: &mut Gradient<T>) {
    let add = gradient.add;
    let scale = dy * T::from_f64(2.0 / a.len() as f64);
    parallel::rows(gradient.data, 1, 3, |start, gradient| {
        let (a, b) = (&a[start..], &b[start..]);
        simd::vectorised(
            #[inline(always)]
            || {
                for ((g, &a), &b) in gradient.iter_mut().zip(a).zip(b) {
                    let value = scale * (a - b);
                    *g = if add { *g + value } else { value };
                }
            },
        );
    });
}
