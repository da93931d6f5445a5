//! Copies of blocks: runs of numbers at a fixed distance from each other.

use super::{parallel, simd};
use crate::Float;

/// Where the runs of a block lie: run `i` starts at `offset + i * stride`.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// Start of the first run.
    pub offset: usize,
    /// From the start of one run to that of the next.
    pub stride: usize,
}

/// Copies `count` runs of `length` numbers, or adds them to what stands there. `stride` of the target is at
/// least `length`.
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
    // Long runs are split into pieces, so that one run alone still feeds every thread.
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
