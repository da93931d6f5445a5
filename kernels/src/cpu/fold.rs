//! The loops of a [`Walk`]: sums and maxima over any axes in a fixed order, and elementwise ops with broadcasting.

use super::{parallel, reduce, scratch, simd, small, sums};
use crate::Float;
use crate::op::Gradient;
use crate::walk::{OPERANDS, Walk};

/// The most elements of a row: a few rows stay in L1.
const PIECE: usize = 512;
/// The most terms of a slice. An element of the target with more terms is split into slices.
const SLICE: usize = 8 * parallel::GRAIN;

/// The reduction of the terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// Their sum.
    Sum,
    /// Their maximum; NaN if one of them is NaN.
    Max,
}

/// Writes the terms of a row. The offsets are those of its first element in each operand.
pub type Terms<'a, T> = dyn Fn(&[usize; OPERANDS], &mut [T]) + Sync + 'a;

/// The larger of two numbers; NaN if one of them is NaN.
#[inline(always)]
pub fn larger<T: PartialOrd>(a: T, b: T) -> T {
    #[allow(clippy::eq_op, reason = "a NaN is not equal to itself")]
    if b > a || b != b { b } else { a }
}

/// A walk in rows of at most [`PIECE`] elements. The target consists of `units` units, each one row (or one element
/// if the run is reduced), and `rows` rows of terms are folded into each unit.
#[derive(Debug)]
pub struct Rows<'a> {
    walk: &'a Walk,
    piece: usize,
    pieces: usize,
    /// The number of units of the target.
    pub units: usize,
    /// Rows of terms that are folded into one unit.
    pub rows: usize,
}

impl<'a> Rows<'a> {
    /// Splits a walk into rows.
    pub fn new(walk: &'a Walk) -> Self {
        let piece = walk.run.extent.min(PIECE);
        let pieces = walk.run.extent.div_ceil(piece);
        let (kept, reduced) = (walk.kept_runs(), walk.reduced_runs());
        let (units, rows) =
            if walk.run_is_kept { (kept * pieces, reduced) } else { (kept, reduced * pieces) };
        Rows { walk, piece, pieces, units, rows }
    }

    /// The number of elements of the longest row.
    pub fn width(&self) -> usize {
        self.piece
    }

    /// The offset of a unit in each operand, and the number of elements of its rows.
    pub fn unit(&self, unit: usize) -> ([usize; OPERANDS], usize) {
        if !self.walk.run_is_kept {
            return (Walk::offsets(&self.walk.kept, unit), self.piece);
        }
        let (run, piece) = (unit / self.pieces, unit % self.pieces);
        self.piece_of(Walk::offsets(&self.walk.kept, run), piece)
    }

    /// The offset of a row of a unit in each operand, and its number of elements.
    pub fn row(&self, unit: ([usize; OPERANDS], usize), row: usize) -> ([usize; OPERANDS], usize) {
        let (at, width) = unit;
        let plus = |offsets: [usize; OPERANDS]| std::array::from_fn(|k| at[k] + offsets[k]);
        if self.walk.run_is_kept {
            return (plus(Walk::offsets(&self.walk.reduced, row)), width);
        }
        let (run, piece) = (row / self.pieces, row % self.pieces);
        self.piece_of(plus(Walk::offsets(&self.walk.reduced, run)), piece)
    }

    fn piece_of(&self, at: [usize; OPERANDS], piece: usize) -> ([usize; OPERANDS], usize) {
        let start = piece * self.piece;
        let strides = self.walk.run.strides;
        let at = std::array::from_fn(|k| at[k] + start * strides[k]);
        (at, self.piece.min(self.walk.run.extent - start))
    }
}

impl Walk {
    /// Calls the body with `count` elements of operand `k` along the run, from offset `at[k]` on; with one element
    /// repeated if the operand is broadcast.
    #[inline(always)]
    pub fn side<T: Float>(
        &self,
        k: usize,
        values: &[T],
        at: &[usize; OPERANDS],
        count: usize,
        body: impl FnOnce(&[T]),
    ) {
        if self.run.strides[k] > 0 {
            return body(&values[at[k]..at[k] + count]);
        }
        scratch::with::<T, _>(count, |row| {
            row.fill(values[at[k]]);
            body(row);
        });
    }
}

/// target (+)= scale * the fold of its terms. The target is laid out as `operand`. If each element has one term, the
/// term is written or added without the scale.
///
/// The order is that of the walk, in blocks and slices that depend on the shape only.
pub fn fold<T: Float>(
    walk: &Walk,
    operand: usize,
    fold: Fold,
    scale: f64,
    target: Gradient<'_, T>,
    terms: &Terms<'_, T>,
) {
    if walk.run_is_kept && walk.reduced.is_empty() {
        return each(walk, operand, target, terms);
    }
    let rows = Rows::new(walk);
    let width = if walk.run_is_kept { rows.width() } else { 1 };
    let rows_a_slice = (SLICE / rows.width()).max(reduce::BLOCK);
    let slices = rows.rows.div_ceil(rows_a_slice);
    let items = rows.units * slices;
    let items_a_task = parallel::rows_a_task(rows_a_slice.min(rows.rows) * rows.width());
    let add = target.add;
    let put = |to: &mut [T], totals: &[f64]| {
        for (to, &total) in to.iter_mut().zip(totals) {
            let old = if add { *to } else { T::ZERO };
            *to = old + T::from_f64(scale * total);
        }
    };
    let target = parallel::Shared::new(target.data);
    scratch::with::<f64, _>(if slices > 1 { items * width } else { 0 }, |partial| {
        let shared = parallel::Shared::new(partial);
        parallel::tasks(items.div_ceil(items_a_task), |task| {
            scratch::with::<f64, _>(width, |totals| {
                for item in task * items_a_task..items.min((task + 1) * items_a_task) {
                    let (number, slice) = (item / slices, item % slices);
                    let unit = rows.unit(number);
                    let count = if walk.run_is_kept { unit.1 } else { 1 };
                    let range = slice * rows_a_slice..rows.rows.min((slice + 1) * rows_a_slice);
                    unit_total(&rows, unit, range, fold, &mut totals[..count], terms);
                    if slices > 1 {
                        // SAFETY: each task has its own part.
                        unsafe { shared.part(item * width, count) }
                            .copy_from_slice(&totals[..count]);
                    } else {
                        // SAFETY: units are disjoint parts of the target.
                        put(unsafe { target.part(unit.0[operand], count) }, totals);
                    }
                }
            });
        });
        if slices == 1 {
            return;
        }
        for (number, partial) in partial.chunks_exact_mut(slices * width).enumerate() {
            let (totals, others) = partial.split_at_mut(width);
            for other in others.chunks_exact(width) {
                join(fold, totals, other, |x| x);
            }
            let (at, count) = rows.unit(number);
            let count = if walk.run_is_kept { count } else { 1 };
            // SAFETY: units are disjoint parts of the target.
            put(unsafe { target.part(at[operand], count) }, totals);
        }
    });
}

/// Writes or adds one term to each element of a target that has every axis of the walk.
fn each<T: Float>(walk: &Walk, operand: usize, target: Gradient<'_, T>, terms: &Terms<'_, T>) {
    let rows = Rows::new(walk);
    let units_a_task = parallel::rows_a_task(2 * rows.width());
    let add = target.add;
    let target = parallel::Shared::new(target.data);
    parallel::tasks(rows.units.div_ceil(units_a_task), |task| {
        for unit in task * units_a_task..rows.units.min((task + 1) * units_a_task) {
            let (at, count) = rows.unit(unit);
            // SAFETY: units are disjoint parts of the target.
            let to = unsafe { target.part(at[operand], count) };
            if !add {
                terms(&at, to);
                continue;
            }
            scratch::with::<T, _>(count, |row| {
                terms(&at, row);
                join(Fold::Sum, to, row, |x| x);
            });
        }
    });
}

/// The fold of some rows of a unit.
fn unit_total<T: Float>(
    rows: &Rows<'_>,
    unit: ([usize; OPERANDS], usize),
    range: std::ops::Range<usize>,
    fold: Fold,
    totals: &mut [f64],
    terms: &Terms<'_, T>,
) {
    let (none, none_wide) = match fold {
        Fold::Sum => (T::ZERO, 0.0),
        Fold::Max => (T::NEG_INFINITY, f64::NEG_INFINITY),
    };
    totals.fill(none_wide);
    scratch::with::<T, _>(2 * rows.width(), |buffer| {
        let (row, sums) = buffer.split_at_mut(rows.width());
        if !rows.walk.run_is_kept {
            for number in range {
                let (at, count) = rows.row(unit, number);
                terms(&at, &mut row[..count]);
                let total = simd::vectorised(
                    #[inline(always)]
                    || match fold {
                        Fold::Sum => sums::one(&row[..count], |x| x),
                        Fold::Max => largest(&row[..count]).to_f64(),
                    },
                );
                join(fold, totals, &[total], |x| x);
            }
            return;
        }
        let (row, sums) = (&mut row[..unit.1], &mut sums[..unit.1]);
        // Partial folds of a block in the working precision, then flushed to f64.
        for first in range.clone().step_by(reduce::BLOCK) {
            sums.fill(none);
            for number in first..range.end.min(first + reduce::BLOCK) {
                terms(&rows.row(unit, number).0, row);
                join(fold, sums, row, |x| x);
            }
            join(fold, totals, sums, T::to_f64);
        }
    });
}

/// Folds each number of `from` into the number of `into` at the same index.
fn join<A: Copy + PartialOrd + std::ops::AddAssign, B: Copy>(
    fold: Fold,
    into: &mut [A],
    from: &[B],
    convert: impl Fn(B) -> A,
) {
    let pairs = into.iter_mut().zip(from);
    simd::vectorised(
        #[inline(always)]
        || match fold {
            Fold::Sum => pairs.for_each(|(a, &b)| *a += convert(b)),
            Fold::Max => pairs.for_each(|(a, &b)| *a = larger(*a, convert(b))),
        },
    );
}

/// The maximum of numbers; NaN if one of them is NaN.
#[inline(always)]
fn largest<T: Float>(x: &[T]) -> T {
    let mut lanes = [T::NEG_INFINITY; small::PAD];
    let (chunks, rest) = x.as_chunks::<{ small::PAD }>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, x);
    }
    lanes.into_iter().fold(T::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;
    use crate::philox::Philox;

    fn folded(shape: &[usize], axis: usize, what: Fold, x: &[f32]) -> Vec<f32> {
        let shape = Shape::new(shape);
        let (full, kept) = (Walk::axes(shape, |_| false), Walk::axes(shape, |a| a == axis));
        let walk = Walk::new(shape, [full, kept, kept], 1);
        let mut y = vec![f32::NAN; shape.count() / shape[axis]];
        let target = Gradient { data: &mut y, add: false };
        fold(&walk, 1, what, 1.0, target, &|at, row| {
            row.copy_from_slice(&x[at[0]..at[0] + row.len()]);
        });
        y
    }

    #[test]
    fn long_reductions_are_split_alike_for_any_number_of_threads() {
        let stream = Philox::new(5, "fold");
        let (rows, columns) = (90_000, 7);
        let x: Vec<f32> = (0..rows * columns).map(|i| stream.normal(i as u64) as f32).collect();
        for what in [Fold::Sum, Fold::Max] {
            for shape in [[rows, columns], [columns, rows]] {
                let axis = usize::from(shape[0] == columns);
                let y = folded(&shape, axis, what, &x);
                let step =
                    |i: usize, j: usize| if axis == 0 { j * columns + i } else { i * rows + j };
                for (i, &y) in y.iter().enumerate() {
                    let terms = (0..rows).map(|j| f64::from(x[step(i, j)]));
                    let expected = match what {
                        Fold::Sum => terms.sum::<f64>(),
                        Fold::Max => terms.fold(f64::NEG_INFINITY, f64::max),
                    };
                    assert!((f64::from(y) - expected).abs() < 1e-2, "{what:?}: {y}, {expected}");
                }
                for threads in [1, 3] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    let other = pool.unwrap().install(|| folded(&shape, axis, what, &x));
                    assert_eq!(y, other, "{what:?} of {shape:?} with {threads} threads");
                }
            }
        }
    }

    #[test]
    fn a_nan_stays() {
        let x = [1.0, f32::NAN, 3.0, 2.0];
        assert!(folded(&[4], 0, Fold::Max, &x)[0].is_nan());
        assert!(folded(&[4, 1], 0, Fold::Max, &x)[0].is_nan());
        assert!(larger(1.0, f32::NAN).is_nan() && larger(f32::NAN, 1.0).is_nan());
    }
}
