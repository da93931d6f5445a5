use super::{Arithmetic, Side};
use crate::Float;
use crate::cpu::elementwise::zip;
use crate::cpu::fold::{Fold, fold, larger};
use crate::op::Gradient;
use crate::walk::Walk;

pub(super) fn forward<T: Float>(op: Arithmetic, walk: &Walk, a: &[T], b: &[T], output: &mut [T]) {
    let target = Gradient { data: output, add: false };
    fold(walk, 0, Fold::Sum, 1.0, target, &|at, row| {
        walk.side(1, a, at, row.len(), |a| {
            walk.side(2, b, at, row.len(), |b| combine(op, row, a, b));
        });
    });
}

/// One loop for each operation: a branch inside the loop would prevent vectorisation.
fn combine<T: Float>(op: Arithmetic, row: &mut [T], a: &[T], b: &[T]) {
    match op {
        Arithmetic::Add => zip(row, a, b, |a, b| a + b),
        Arithmetic::Subtract => zip(row, a, b, |a, b| a - b),
        Arithmetic::Multiply => zip(row, a, b, |a, b| a * b),
        Arithmetic::Divide => zip(row, a, b, |a, b| a / b),
        Arithmetic::Maximum => zip(row, a, b, larger),
        Arithmetic::Minimum => zip(row, a, b, |a, b| -larger(-a, -b)),
        Arithmetic::Greater => zip(row, a, b, |a, b| truth(a > b)),
        Arithmetic::Less => zip(row, a, b, |a, b| truth(a < b)),
        Arithmetic::Equal => zip(row, a, b, |a, b| truth(a == b)),
    }
}

#[inline(always)]
fn truth<T: Float>(holds: bool) -> T {
    if holds { T::ONE } else { T::ZERO }
}

/// The gradient of one operand (the target of the walk) from the gradient of the output, a and b.
pub(super) fn gradient<T: Float>(
    op: Arithmetic,
    side: Side,
    walk: &Walk,
    [grad_output, a, b]: [&[T]; 3],
    target: Gradient<'_, T>,
) {
    let operand = if side == Side::First { 1 } else { 2 };
    fold(walk, operand, Fold::Sum, 1.0, target, &|at, row| {
        let dy = &grad_output[at[0]..at[0] + row.len()];
        match (op, side) {
            (Arithmetic::Add, _) | (Arithmetic::Subtract, Side::First) => row.copy_from_slice(dy),
            (Arithmetic::Subtract, Side::Second) => zip(row, dy, dy, |dy, _| -dy),
            (Arithmetic::Greater | Arithmetic::Less | Arithmetic::Equal, _) => row.fill(T::ZERO),
            _ => walk.side(1, a, at, row.len(), |a| {
                walk.side(2, b, at, row.len(), |b| {
                    slope(op, side, row, a, b);
                    row.iter_mut().zip(dy).for_each(|(slope, &dy)| *slope *= dy);
                });
            }),
        }
    });
}

/// The derivative of the operation with respect to one operand.
fn slope<T: Float>(op: Arithmetic, side: Side, row: &mut [T], a: &[T], b: &[T]) {
    match (op, side) {
        (Arithmetic::Divide, Side::First) => zip(row, a, b, |_, b| T::ONE / b),
        (Arithmetic::Divide, Side::Second) => zip(row, a, b, |a, b| -(a / b) / b),
        (Arithmetic::Maximum, Side::First) => zip(row, a, b, |a, b| truth(a >= b)),
        (Arithmetic::Maximum, Side::Second) => zip(row, a, b, |a, b| truth(a < b)),
        (Arithmetic::Minimum, Side::First) => zip(row, a, b, |a, b| truth(a <= b)),
        (Arithmetic::Minimum, Side::Second) => zip(row, a, b, |a, b| truth(a > b)),
        (_, Side::First) => zip(row, a, b, |_, b| b),
        (_, Side::Second) => zip(row, a, b, |a, _| a),
    }
}
