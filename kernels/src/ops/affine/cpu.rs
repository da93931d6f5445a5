use super::Affine;
use crate::Float;
use crate::cpu::{parallel, simd};

pub(super) fn apply<T: Float>(op: Affine, x: &[T], target: &mut [T], add: bool) {
    let (scale, shift) = (T::from_f64(op.scale), T::from_f64(op.shift));
    parallel::rows(target, 1, 2, |start, target| {
        let x = &x[start..start + target.len()];
        simd::vectorised(
            #[inline(always)]
            || {
                for (y, &x) in target.iter_mut().zip(x) {
                    let value = scale * x + shift;
                    *y = if add { *y + value } else { value };
                }
            },
        );
    });
}
