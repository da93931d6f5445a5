//! Mean squared error.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Mean over all elements of (prediction - target)^2.
///
/// Inputs: prediction, any shape; target, the same. Output: a scalar. Both have gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mse;

impl Op for Mse {
    const NAME: &'static str = "mse";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2)?;
        expect::filled(Self::NAME, "prediction", inputs[0])?;
        let what = "target: give it the shape of the prediction";
        expect::shape(Self::NAME, what, inputs[1], &inputs[0])?;
        Ok(Plan::new(Shape::SCALAR))
    }

    fn keep(&self) -> Keep {
        Keep::INPUTS
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        call.output[0] = cpu::forward(call.inputs[0], call.inputs[1]);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let (prediction, target, dy) = (call.inputs[0], call.inputs[1], call.grad_output[0]);
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::backward(prediction, target, dy, gradient);
        }
        if let Some(gradient) = &mut call.gradients[1] {
            cpu::backward(target, prediction, dy, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let count = inputs[0].count() as f64;
        Cost {
            forward_flops: 3.0 * count,
            backward_flops: 2.0 * count,
            forward_bytes: 4.0 * 2.0 * count,
            backward_bytes: 4.0 * 3.0 * count,
        }
    }

    fn cases() -> Vec<Case<Self>> {
        vec![
            Case::new(Mse, &[&[2, 3, 16], &[2, 3, 16]]),
            Case::new(Mse, &[&[], &[]]),
            Case::new(Mse, &[&[9000], &[9000]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (1usize..20, 1usize..20).prop_map(|(n, c)| Case::new(Mse, &[&[n, c], &[n, c]])).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        assert_eq!(cpu::forward(&[1.0f32, 2.0], &[0.0, 5.0]), 5.0);
    }
}
