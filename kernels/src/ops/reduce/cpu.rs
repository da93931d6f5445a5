use super::{Reduce, ReduceKind};
use crate::cpu::elementwise::zip;
use crate::cpu::fold::{Fold, Rows, fold};
use crate::cpu::{math, parallel, scratch, simd};
use crate::op::Gradient;
use crate::{Float, Shape};

pub(super) fn forward<T: Float>(op: &Reduce, shape: Shape, x: &[T], y: &mut [T]) {
    let walk = op.walk(shape, 1);
    let with = |what, scale, y: &mut [T]| {
        let target = Gradient { data: y, add: false };
        fold(&walk, 1, what, scale, target, &|at, row| {
            row.copy_from_slice(&x[at[0]..at[0] + row.len()]);
        });
    };
    match op.kind {
        ReduceKind::Sum => with(Fold::Sum, 1.0, y),
        ReduceKind::Mean => with(Fold::Sum, 1.0 / op.terms(shape) as f64, y),
        ReduceKind::Max => with(Fold::Max, 1.0, y),
        ReduceKind::LogSumExp => {
            with(Fold::Max, 1.0, y);
            scratch::with::<T, _>(y.len(), |sums| {
                let target = Gradient { data: sums, add: false };
                fold(&walk, 1, Fold::Sum, 1.0, target, &|at, row| {
                    let x = &x[at[0]..at[0] + row.len()];
                    walk.side(1, y, at, row.len(), |largest| {
                        zip(row, x, largest, |x, largest| math::exp(x - shift(largest)));
                    });
                });
                parallel::rows(y, 1, 2, |start, y| {
                    for (y, &sum) in y.iter_mut().zip(&sums[start..]) {
                        *y = shift(*y) + sum.ln();
                    }
                });
            });
        }
    }
}

/// The number subtracted before the exponential: the maximum, or 0 if the maximum is not finite.
#[inline(always)]
fn shift<T: Float>(largest: T) -> T {
    if largest.is_finite() { largest } else { T::ZERO }
}

pub(super) fn backward<T: Float>(
    op: &Reduce,
    shape: Shape,
    x: &[T],
    y: &[T],
    grad_output: &[T],
    gradient: Gradient<'_, T>,
) {
    if op.kind == ReduceKind::Max {
        return to_first_maximum(op, shape, x, y, grad_output, gradient);
    }
    let walk = op.walk(shape, 0);
    let share = match op.kind {
        ReduceKind::Mean => T::from_f64(1.0 / op.terms(shape) as f64),
        _ => T::ONE,
    };
    fold(&walk, 0, Fold::Sum, 1.0, gradient, &|at, row| {
        walk.side(1, grad_output, at, row.len(), |dy| {
            if op.kind != ReduceKind::LogSumExp {
                return zip(row, dy, dy, |dy, _| dy * share);
            }
            let x = &x[at[0]..at[0] + row.len()];
            walk.side(2, y, at, row.len(), |y| {
                zip(
                    row,
                    x,
                    y,
                    |x, y| if y == T::NEG_INFINITY { T::ZERO } else { math::exp(x - y) },
                );
            });
            simd::vectorised(
                #[inline(always)]
                || row.iter_mut().zip(dy).for_each(|(g, &dy)| *g *= dy),
            );
        });
    });
}

/// Adds each gradient of the output to the first number that equals the output.
fn to_first_maximum<T: Float>(
    op: &Reduce,
    shape: Shape,
    x: &[T],
    y: &[T],
    grad_output: &[T],
    gradient: Gradient<'_, T>,
) {
    let walk = op.walk(shape, 1);
    let rows = Rows::new(&walk);
    let add = gradient.add;
    let gradient = parallel::Shared::new(gradient.data);
    let units_a_task = parallel::rows_a_task(2 * rows.rows * rows.width());
    parallel::tasks(rows.units.div_ceil(units_a_task), |task| {
        for unit in task * units_a_task..rows.units.min((task + 1) * units_a_task) {
            let unit = rows.unit(unit);
            let count = if walk.run_is_kept { unit.1 } else { 1 };
            let range = unit.0[1]..unit.0[1] + count;
            scratch::with::<T, _>(count, |left| {
                // Gradients that no number has got yet.
                left.copy_from_slice(&grad_output[range.clone()]);
                for row in 0..rows.rows {
                    let (at, width) = rows.row(unit, row);
                    // SAFETY: the rows of all units are disjoint parts of x.
                    let gradient = unsafe { gradient.part(at[0], width) };
                    let x = &x[at[0]..at[0] + width];
                    for (i, (gradient, &x)) in gradient.iter_mut().zip(x).enumerate() {
                        let place = if walk.run_is_kept { i } else { 0 };
                        let old = if add { *gradient } else { T::ZERO };
                        if x == y[range.start + place] {
                            *gradient = old + left[place];
                            left[place] = T::ZERO;
                        } else {
                            *gradient = old;
                        }
                    }
                }
            });
        }
    });
}
