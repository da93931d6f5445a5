//! Sums over rows in a fixed order: partial sums of blocks in the working precision, combined in f64.

use super::{parallel, scratch};
use crate::Float;

/// Rows that are summed in the working precision before the sum is flushed to f64.
pub const BLOCK: usize = 128;

/// Column sums over rows: `add(row, sums)` adds row `row`'s contribution to `sums` (of `width` numbers).
/// The result is written or added to `output` in the fixed order of the rows.
///
/// `work` is the count of numbers that a row reads.
pub fn columns<T: Float>(
    rows: usize,
    width: usize,
    work: usize,
    output: &mut [T],
    add_to_output: bool,
    add: impl Fn(usize, &mut [T]) + Sync,
) {
    let blocks_a_task = parallel::rows_a_task(work).div_ceil(BLOCK).max(1);
    let rows_a_task = blocks_a_task * BLOCK;
    let tasks = rows.div_ceil(rows_a_task).max(1);
    scratch::with::<f64, _>(tasks * width, |partial| {
        let shared = parallel::Shared::new(partial);
        parallel::tasks(tasks, |task| {
            // SAFETY: each task has its own row of partial sums.
            let total = unsafe { shared.part(task * width, width) };
            total.fill(0.0);
            let end = rows.min((task + 1) * rows_a_task);
            scratch::with::<T, _>(width, |sums| {
                let mut row = task * rows_a_task;
                while row < end {
                    let stop = end.min(row + BLOCK);
                    sums.fill(T::ZERO);
                    super::simd::vectorised(
                        #[inline(always)]
                        || (row..stop).for_each(|r| add(r, sums)),
                    );
                    for (t, s) in total.iter_mut().zip(sums.iter()) {
                        *t += s.to_f64();
                    }
                    row = stop;
                }
            });
        });
        for (column, out) in output.iter_mut().enumerate() {
            let sum: f64 = (0..tasks).map(|task| partial[task * width + column]).sum();
            let old = if add_to_output { *out } else { T::ZERO };
            *out = old + T::from_f64(sum);
        }
    });
}

/// target (+)= the sum of the slices of `partial`, each as long as the target, in order.
pub fn slices<T: Float>(partial: &[T], target: &mut [T], add: bool) {
    let size = target.len();
    parallel::rows(target, 1, partial.len() / size.max(1), |start, target| {
        super::simd::vectorised(
            #[inline(always)]
            || {
                if !add {
                    target.fill(T::ZERO);
                }
                for slice in partial.chunks_exact(size) {
                    for (sum, &value) in target.iter_mut().zip(&slice[start..]) {
                        *sum += value;
                    }
                }
            },
        );
    });
}
