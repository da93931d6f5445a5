//! Regression losses: mean squared error and mean absolute error.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The mean over all elements of the error between prediction and target.
///
/// Inputs: prediction, any shape; target, the same shape. Output: a scalar. Both inputs have gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regression {
    /// (prediction - target)².
    Mse,
    /// |prediction - target|. Its gradient is 0 if they are equal.
    L1,
}

const KINDS: [Regression; 2] = [Regression::Mse, Regression::L1];

impl Op for Regression {
    const NAME: &'static str = "regression";

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
        call.output[0] = cpu::forward(*self, call.inputs[0], call.inputs[1]);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let (prediction, target, dy) = (call.inputs[0], call.inputs[1], call.grad_output[0]);
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::backward(*self, prediction, target, dy, gradient);
        }
        if let Some(gradient) = &mut call.gradients[1] {
            cpu::backward(*self, target, prediction, dy, gradient);
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
        let shapes: [&[usize]; 3] = [&[2, 3, 16], &[], &[9000]];
        KINDS.into_iter().flat_map(|op| shapes.map(|s| Case::new(op, &[s, s]))).collect()
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (proptest::sample::select(&KINDS[..]), 1usize..20, 1usize..20)
            .prop_map(|(op, n, c)| Case::new(op, &[&[n, c], &[n, c]]))
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Gradient;

    #[test]
    fn by_hand() {
        let (prediction, target) = ([1.0f32, 2.0, 3.0, 4.0], [0.0, 5.0, 3.0, 4.0]);
        assert_eq!(cpu::forward(Regression::Mse, &prediction, &target), 2.5);
        assert_eq!(cpu::forward(Regression::L1, &prediction, &target), 1.0);
        let mut gradient = [f32::NAN; 4];
        let mut to = Gradient { data: &mut gradient, add: false };
        cpu::backward(Regression::L1, &prediction, &target, 8.0, &mut to);
        assert_eq!(gradient, [2.0, -2.0, 0.0, 0.0]);
    }
}
