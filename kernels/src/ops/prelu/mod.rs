//! Parametric ReLU.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Error, Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// x where it is above 0, otherwise weight * x (He et al. 2015, equation 1). The gradient at 0 is `weight`, as in
/// PyTorch.
///
/// Inputs: x `[..., C]`; weight `[1]`, or `[C]` with one slope for each feature. Output: the shape of x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prelu;

impl Op for Prelu {
    const NAME: &'static str = "prelu";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2)?;
        let (x, weight) = (inputs[0], inputs[1]);
        expect::filled(Self::NAME, "x", x)?;
        if weight.len() != 1 || (weight[0] != 1 && weight[0] != x.features()) {
            return Err(Error::Shape {
                op: Self::NAME,
                what: format!("weight for x {x}: give one slope, or one for each feature"),
                got: weight,
                expected: format!("[1] or [{}]", x.features()),
            });
        }
        Ok(Plan::new(x))
    }

    fn keep(&self) -> Keep {
        Keep::INPUTS
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(call.inputs[0], call.inputs[1], call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let (x, weight) = (call.inputs[0], call.inputs[1]);
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::grad_input(x, weight, call.grad_output, gradient);
        }
        if let Some(gradient) = &mut call.gradients[1] {
            cpu::grad_weight(x, call.shapes[0].features(), call.grad_output, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        Cost::elementwise(inputs, inputs[0], 1.0)
    }

    fn cases() -> Vec<Case<Self>> {
        vec![
            Case::new(Prelu, &[&[2, 5, 16], &[1]]),
            Case::new(Prelu, &[&[2, 5, 16], &[16]]),
            Case::new(Prelu, &[&[1], &[1]]),
            Case::new(Prelu, &[&[1100, 5], &[5]]),
            Case::new(Prelu, &[&[9000], &[1]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (any::<bool>(), 1usize..200, 1usize..20)
            .prop_map(|(one, rows, features)| {
                Case::new(Prelu, &[&[rows, features], &[if one { 1 } else { features }]])
            })
            .boxed()
    }
}
