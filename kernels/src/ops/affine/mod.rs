//! A constant scale and shift.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// scale * x + shift, both constants. Input: x, any shape. Output: the shape of x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// The factor.
    pub scale: f64,
    /// The summand.
    pub shift: f64,
}

impl Op for Affine {
    const NAME: &'static str = "affine";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        expect::filled(Self::NAME, "x", inputs[0])?;
        Ok(Plan::new(inputs[0]))
    }

    fn keep(&self) -> Keep {
        Keep::NOTHING
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::apply(*self, call.inputs[0], call.output, false);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        if let Some(gradient) = &mut call.gradients[0] {
            let slope = Affine { shift: 0.0, ..*self };
            cpu::apply(slope, call.grad_output, gradient.data, gradient.add);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let cost = Cost::elementwise(inputs, inputs[0], 2.0);
        Cost {
            backward_flops: cost.forward_flops / 2.0,
            backward_bytes: cost.forward_bytes,
            ..cost
        }
    }

    fn cases() -> Vec<Case<Self>> {
        vec![
            Case::new(Affine { scale: -2.0, shift: 0.5 }, &[&[2, 3, 16]]),
            Case::new(Affine { scale: 0.0, shift: 1.0 }, &[&[]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (-3.0f64..3.0, -3.0f64..3.0, 1usize..4, 1usize..40)
            .prop_map(|(scale, shift, n, c)| Case::new(Affine { scale, shift }, &[&[n, c]]))
            .boxed()
    }
}
