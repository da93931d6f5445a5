//! Permutation of axes.

pub(crate) mod cpu;
pub(crate) mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, MAX_RANK, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Permutes the axes: axis i of the output is axis `axes[i]` of the input. It is fastest if the last axis stays last.
///
/// Input: x, any shape. Output: the extents of x in the new order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permute {
    /// For each axis of the output, its axis in the input. Each axis must occur once.
    pub axes: Vec<usize>,
}

impl Permute {
    /// A permutation by a list of the input's axes.
    pub fn new(axes: &[usize]) -> Self {
        Permute { axes: axes.to_vec() }
    }

    /// The output's shape and the inverse permutation, of which the first `x.len()` entries are valid.
    fn inverse(&self, x: Shape) -> (Shape, [usize; MAX_RANK]) {
        let (mut shape, mut inverse) = ([1; MAX_RANK], [0; MAX_RANK]);
        for (i, &axis) in self.axes.iter().enumerate() {
            shape[i] = x[axis];
            inverse[axis] = i;
        }
        (Shape::new(&shape[..self.axes.len()]), inverse)
    }
}

impl Op for Permute {
    const NAME: &'static str = "permute";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        let x = inputs[0];
        expect::filled(Self::NAME, "x", x)?;
        let complete = (0..x.len()).all(|axis| self.axes.contains(&axis));
        expect::setting(Self::NAME, complete && self.axes.len() == x.len(), || {
            format!("got axes {:?} for x {x}; name each axis of x once", self.axes)
        })?;
        let mut output = [1; MAX_RANK];
        for (extent, &axis) in output.iter_mut().zip(&self.axes) {
            *extent = x[axis];
        }
        Ok(Plan::new(Shape::new(&output[..x.len()])))
    }

    fn keep(&self) -> Keep {
        Keep::NOTHING
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::permute(&call.shapes[0], &self.axes, call.inputs[0], call.output, false);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let Some(gradient) = &mut call.gradients[0] else { return };
        let (shape, inverse) = self.inverse(call.shapes[0]);
        let inverse = &inverse[..shape.len()];
        cpu::permute(&shape, inverse, call.grad_output, gradient.data, gradient.add);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let bytes = 8.0 * inputs[0].count() as f64;
        Cost { forward_bytes: bytes, backward_bytes: bytes, ..Cost::default() }
    }

    fn cases() -> Vec<Case<Self>> {
        vec![
            Case::new(Permute::new(&[0, 2, 1, 3]), &[&[2, 5, 3, 8]]),
            Case::new(Permute::new(&[1, 0]), &[&[37, 35]]),
            Case::new(Permute::new(&[0, 2, 1]), &[&[2, 3, 4]]),
            Case::new(Permute::new(&[4, 2, 0, 1, 3]), &[&[2, 1, 3, 2, 4]]),
            Case::new(Permute::new(&[0, 1]), &[&[3, 4]]),
            Case::new(Permute::new(&[3, 0, 2, 1]), &[&[2, 40, 3, 9]]),
            Case::new(Permute::new(&[]), &[&[]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let shape = proptest::collection::vec(1usize..6, 1..6);
        (shape, any::<u64>())
            .prop_map(|(shape, seed)| {
                let order = crate::philox::Philox::new(seed, "axes").permutation(shape.len());
                Case::new(Permute::new(&order), &[&shape])
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_and_adds() {
        let x: Vec<f32> = (0..70 * 45).map(|i| i as f32).collect();
        let mut y = vec![1.0; x.len()];
        cpu::permute(&[70, 45], &[1, 0], &x, &mut y, true);
        for (i, &y) in y.iter().enumerate() {
            assert_eq!(y, (i % 70 * 45 + i / 70) as f32 + 1.0);
        }
    }

    #[test]
    fn a_repeated_axis_is_an_error() {
        assert!(Permute::new(&[0, 0]).plan(&[Shape::new(&[2, 2])], &[]).is_err());
    }
}
