//! Loops over two input buffers and one output that is written or added to.

use super::{parallel, simd};
use crate::Float;
use crate::op::Gradient;

/// row = f(a, b) for each element, on the calling thread.
pub fn zip<T: Float>(row: &mut [T], a: &[T], b: &[T], f: impl Fn(T, T) -> T) {
    simd::vectorised(
        #[inline(always)]
        || {
            for ((y, &a), &b) in row.iter_mut().zip(a).zip(b) {
                *y = f(a, b);
            }
        },
    );
}

/// Writes or adds f(a, b) to every element of the target, on all threads. `f` must not branch, or the loop is not
/// vectorised: choose the function before the call.
pub fn each<T: Float>(a: &[T], b: &[T], target: Gradient<T>, f: impl Fn(T, T) -> T + Sync) {
    let add = target.add;
    parallel::rows(target.data, 1, 2, |start, target| {
        let (a, b) = (&a[start..], &b[start..]);
        simd::vectorised(
            #[inline(always)]
            || {
                for ((y, &a), &b) in target.iter_mut().zip(a).zip(b) {
                    let old = if add { *y } else { T::ZERO };
                    *y = old + f(a, b);
                }
            },
        );
    });
}
