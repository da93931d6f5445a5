//! Softmax over the last axis.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// e^x divided by its sum along the last axis. A row with only -inf gives zeros, not NaN, for fully masked rows.
///
/// Input: x `[..., C]`. Output: the shape of x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Softmax;

impl Op for Softmax {
    const NAME: &'static str = "softmax";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        expect::filled(Self::NAME, "x", inputs[0])?;
        Ok(Plan::new(inputs[0]))
    }

    fn keep(&self) -> Keep {
        Keep::OUTPUT
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(call.shapes[0].features(), call.inputs[0], call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::backward(call.shapes[0].features(), call.output, call.grad_output, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let cost = Cost::elementwise(inputs, inputs[0], 8.0);
        Cost { backward_flops: cost.forward_flops / 2.0, ..cost }
    }

    fn cases() -> Vec<Case<Self>> {
        vec![
            Case::new(Softmax, &[&[2, 3, 16]]),
            Case::new(Softmax, &[&[3, 1]]),
            Case::new(Softmax, &[&[70]]),
            Case::new(Softmax, &[&[2, 700]]),
            Case::new(Softmax, &[&[8200]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (1usize..6, 1usize..80).prop_map(|(n, c)| Case::new(Softmax, &[&[n, c]])).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_logits_and_empty_rows() {
        let x = [1000.0f32, 1000.0, f32::NEG_INFINITY, f32::NEG_INFINITY];
        let mut y = [f32::NAN; 4];
        cpu::forward(2, &x, &mut y);
        assert_eq!(y, [0.5, 0.5, 0.0, 0.0]);
    }
}
