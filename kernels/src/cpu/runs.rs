//! Strided copies: runs of contiguous numbers at a constant stride.

use super::{parallel, simd};
use crate::Float;

/// The position of runs: run `i` starts at `offset + i * stride`.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// Start of the first run.
    pub offset: usize,
    /// Distance from the start of one run to the start of the next.
    pub stride: usize,
}

/// Copies `count` runs of `length` numbers, or adds them to the target. The target's `stride` must be at least
/// `length`.
pub fn copy<T: Float>(
    source: &[T],
    from: Runs,
    target: &mut [T],
    to: Runs,
    (count, length): (usize, usize),
    add: bool,
) {
    if count == 0 || length == 0 {
        return;
    }
    // Long runs are split into pieces, so that even one run is copied by all threads.
    let piece = length.min(parallel::GRAIN);
    let pieces = length.div_ceil(piece);
    let items = count * pieces;
    let items_a_task = parallel::rows_a_task(piece);
    let target = parallel::Shared::new(target);
    parallel::tasks(items.div_ceil(items_a_task), |task| {
        for item in task * items_a_task..items.min((task + 1) * items_a_task) {
            let (run, start) = (item / pieces, item % pieces * piece);
            let size = piece.min(length - start);
            let source = &source[from.offset + run * from.stride + start..][..size];
            // SAFETY: pieces of a run do not overlap, and runs are further apart than they are long.
            let target = unsafe { target.part(to.offset + run * to.stride + start, size) };
            if add {
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for (y, &x) in target.iter_mut().zip(source) {
                            *y += x;
                        }
                    },
                );
            } else {
                target.copy_from_slice(source);
            }
        }
    });
}
