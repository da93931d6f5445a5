//! Concatenation along an axis.

mod cuda;

use crate::cpu::runs::{self, Runs};
use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Error, Float, MAX_RANK, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Concatenates tensors along an axis; all other axes must be equal.
///
/// Inputs: one or more tensors. Output: their shape, with the sum of their extents on the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concat {
    /// The axis, from 0.
    pub axis: usize,
}

impl Concat {
    /// The number of runs; for each input the offset of its run in a row of the output and its length; the width of
    /// such a row.
    fn runs<'a>(&'a self, shapes: &'a [Shape]) -> (usize, Vec<(usize, usize)>, usize) {
        let count = shapes[0][..self.axis].iter().product();
        let mut start = 0;
        let runs = shapes.iter().map(|shape| {
            let length = shape[self.axis..].iter().product();
            start += length;
            (start - length, length)
        });
        let runs = runs.collect();
        (count, runs, start)
    }
}

impl Op for Concat {
    const NAME: &'static str = "concat";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        let Some(&first) = inputs.first() else {
            return Err(Error::Arity { op: Self::NAME, got: 0, expected: 1 });
        };
        expect::setting(Self::NAME, self.axis < first.len(), || {
            format!("axis {} of inputs {first}: give an axis that they have", self.axis)
        })?;
        let mut output = [1; MAX_RANK];
        output[..first.len()].copy_from_slice(&first);
        output[self.axis] = 0;
        for (i, &shape) in inputs.iter().enumerate() {
            expect::filled(Self::NAME, &format!("input {i}"), shape)?;
            let agrees = |axis: usize| axis == self.axis || shape[axis] == first[axis];
            if shape.len() != first.len() || !(0..first.len()).all(agrees) {
                return Err(Error::Shape {
                    op: Self::NAME,
                    what: format!(
                        "input {i}: make all axes but the concatenated one equal to those of input 0"
                    ),
                    got: shape,
                    expected: format!("{first} except on axis {}", self.axis),
                });
            }
            output[self.axis] += shape[self.axis];
        }
        Ok(Plan::new(Shape::new(&output[..first.len()])))
    }

    fn keep(&self) -> Keep {
        Keep::NOTHING
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let (count, runs, width) = self.runs(call.shapes);
        for (input, (offset, length)) in call.inputs.iter().zip(runs) {
            let from = Runs { offset: 0, stride: length };
            let to = Runs { offset, stride: width };
            runs::copy(input, from, call.output, to, (count, length), false);
        }
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        let (count, runs, width) = self.runs(call.shapes);
        for (gradient, (offset, length)) in call.gradients.into_iter().zip(runs) {
            let Some(gradient) = gradient else { continue };
            let from = Runs { offset, stride: width };
            let to = Runs { offset: 0, stride: length };
            let size = (count, length);
            runs::copy(call.grad_output, from, gradient.data, to, size, gradient.add);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let bytes = 8.0 * inputs.iter().map(Shape::count).sum::<usize>() as f64;
        Cost { forward_bytes: bytes, backward_bytes: bytes, ..Cost::default() }
    }

    fn cases() -> Vec<Case<Self>> {
        vec![
            Case::new(Concat { axis: 1 }, &[&[3, 4], &[3, 7], &[3, 1]]),
            Case::new(Concat { axis: 0 }, &[&[2, 3], &[1, 3]]),
            Case::new(Concat { axis: 1 }, &[&[2, 3, 4], &[2, 2, 4]]),
            Case::new(Concat { axis: 0 }, &[&[5]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let extents = proptest::collection::vec(1usize..7, 1..5);
        (0usize..3, [1usize..5, 1usize..5, 1usize..5], extents)
            .prop_map(|(axis, mut shape, extents)| {
                let shapes: Vec<[usize; 3]> = extents
                    .into_iter()
                    .map(|extent| {
                        shape[axis] = extent;
                        shape
                    })
                    .collect();
                Case::new(Concat { axis }, &shapes.iter().map(|s| &s[..]).collect::<Vec<_>>())
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand_and_disagreeing_shapes() {
        let op = Concat { axis: 1 };
        let shapes = [Shape::new(&[2, 1]), Shape::new(&[2, 2])];
        let mut y = [f32::NAN; 6];
        op.forward(Forward {
            shapes: &shapes,
            inputs: &[&[1.0, 2.0], &[3.0, 4.0, 5.0, 6.0]],
            index_shapes: &[],
            indices: &[],
            output: &mut y,
            saved: &mut [],
            saved_indices: &mut [],
        });
        assert_eq!(y, [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
        assert!(op.plan(&[shapes[0], Shape::new(&[3, 2])], &[]).is_err());
        assert!(op.plan(&[], &[]).is_err());
    }
}
