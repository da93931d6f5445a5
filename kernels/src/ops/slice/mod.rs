//! Slice: a range of a tensor along an axis.

mod cuda;

use crate::cpu::runs::{self, Runs};
use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, MAX_RANK, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The elements `start..start + length` on an axis.
///
/// Input: x, any shape. Output: its shape with `length` on the axis. The gradient outside the range is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The axis, from 0.
    pub axis: usize,
    /// The first element of the range.
    pub start: usize,
    /// The number of elements, at least 1.
    pub length: usize,
}

impl Slice {
    /// The runs in x, the runs in the output, and the count and length of the runs.
    fn runs(&self, x: Shape) -> (Runs, Runs, (usize, usize)) {
        let inner: usize = x[self.axis + 1..].iter().product();
        let length = self.length * inner;
        let whole = Runs { offset: self.start * inner, stride: x[self.axis] * inner };
        let count = x[..self.axis].iter().product();
        (whole, Runs { offset: 0, stride: length }, (count, length))
    }
}

impl Op for Slice {
    const NAME: &'static str = "slice";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        let x = inputs[0];
        expect::filled(Self::NAME, "x", x)?;
        let Slice { axis, start, length } = *self;
        let inside =
            axis < x.len() && length > 0 && start.checked_add(length).is_some_and(|e| e <= x[axis]);
        expect::setting(Self::NAME, inside, || {
            format!(
                "got {length} elements from {start} on axis {axis} of x {x}; give a range inside x"
            )
        })?;
        let mut output = [1; MAX_RANK];
        output[..x.len()].copy_from_slice(&x);
        output[axis] = length;
        Ok(Plan::new(Shape::new(&output[..x.len()])))
    }

    fn keep(&self) -> Keep {
        Keep::NOTHING
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let (from, to, size) = self.runs(call.shapes[0]);
        runs::copy(call.inputs[0], from, call.output, to, size, false);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let Some(gradient) = &mut call.gradients[0] else { return };
        let (to, from, size) = self.runs(call.shapes[0]);
        let add = gradient.add;
        gradient.clear();
        runs::copy(call.grad_output, from, gradient.data, to, size, add);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let output = self.plan(inputs, &[]).map_or(0, |plan| plan.output.shape.count()) as f64;
        Cost {
            forward_bytes: 8.0 * output,
            backward_bytes: 4.0 * (output + inputs[0].count() as f64),
            ..Cost::default()
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let slice = |axis, start, length| Slice { axis, start, length };
        vec![
            Case::new(slice(1, 2, 3), &[&[2, 6, 4]]),
            Case::new(slice(2, 0, 2), &[&[2, 3, 5]]),
            Case::new(slice(0, 1, 1), &[&[3, 4]]),
            Case::new(slice(0, 0, 1), &[&[1]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (0usize..3, [1usize..6, 1usize..6, 1usize..6], 0usize..3, 0usize..3)
            .prop_map(|(axis, mut shape, start, after)| {
                let length = shape[axis];
                shape[axis] += start + after;
                Case::new(Slice { axis, start, length }, &[&shape])
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_is_an_error() {
        let x = [Shape::new(&[3, 4])];
        for (axis, start, length) in [(2, 0, 1), (1, 2, 3), (0, 0, 0), (1, usize::MAX, 2)] {
            assert!(Slice { axis, start, length }.plan(&x, &[]).is_err());
        }
    }
}
