//! Sums to one number in a fixed order: partial sums in the working precision, added up in f64.

use super::{parallel, scratch};
use crate::Float;

/// Partial sums: two of the widest vectors, on every instruction set, so that the result does not depend on it.
const LANES: usize = 32;
/// Terms that are summed in the working precision before the sum is flushed to f64.
const BLOCK: usize = 64 * LANES;

/// Sum of f over a slice.
#[inline(always)]
pub fn one<T: Float>(a: &[T], f: impl Fn(T) -> T) -> f64 {
    three(a, a, a, |a, _, _| f(a))
}

/// Sum of f over two slices of equal length.
#[inline(always)]
pub fn two<T: Float>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> f64 {
    three(a, b, b, |a, b, _| f(a, b))
}

/// Sum of f over three slices of equal length.
#[inline(always)]
pub fn three<T: Float>(a: &[T], b: &[T], c: &[T], f: impl Fn(T, T, T) -> T) -> f64 {
    let mut total = 0.0;
    for ((a, b), c) in a.chunks(BLOCK).zip(b.chunks(BLOCK)).zip(c.chunks(BLOCK)) {
        let mut sums = [T::ZERO; LANES];
        // Arrays of a known length, so that the sums stay in registers.
        let (a, a_rest) = a.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        let (c, c_rest) = c.as_chunks::<LANES>();
        for ((a, b), c) in a.iter().zip(b).zip(c) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum += f(a[i], b[i], c[i]);
            }
        }
        let rest = a_rest.iter().zip(b_rest).zip(c_rest);
        for (sum, ((&a, &b), &c)) in sums.iter_mut().zip(rest) {
            *sum += f(a, b, c);
        }
        // Pairwise by halves: a short dependency chain.
        let mut sums = sums.map(T::to_f64);
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                sums[lane] += sums[lane + width];
            }
            width /= 2;
        }
        total += sums[0];
    }
    total
}

/// Sum over rows: `part(first, end)` must return the sum of the rows `first..end`.
///
/// `work` is the count of numbers that a row reads.
pub fn total(rows: usize, work: usize, part: impl Fn(usize, usize) -> f64 + Sync) -> f64 {
    let rows_a_task = parallel::rows_a_task(work);
    let tasks = rows.div_ceil(rows_a_task).max(1);
    scratch::with::<f64, _>(tasks, |parts| {
        let shared = parallel::Shared::new(parts);
        parallel::tasks(tasks, |task| {
            let first = task * rows_a_task;
            // SAFETY: each task has its own number.
            let here = unsafe { shared.part(task, 1) };
            here[0] = part(first, rows.min(first + rows_a_task));
        });
        parts.iter().sum()
    })
}
