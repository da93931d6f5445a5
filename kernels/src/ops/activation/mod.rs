//! Elementwise activations: ReLU, GELU (exact), sigmoid, tanh, SiLU.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// An elementwise activation. Input: x, any shape. Output: the shape of x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0); its gradient at 0 is 0.
    Relu,
    /// x Φ(x) with the error function (Hendrycks & Gimpel 2016), not the tanh approximation.
    Gelu,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// x / (1 + e^-x), also called swish (Ramachandran et al. 2017).
    Silu,
}

const KINDS: [Activation; 5] =
    [Activation::Relu, Activation::Gelu, Activation::Sigmoid, Activation::Tanh, Activation::Silu];

impl Op for Activation {
    const NAME: &'static str = "activation";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        Ok(Plan::new(inputs[0]))
    }

    fn keep(&self) -> Keep {
        match self {
            Activation::Gelu | Activation::Silu => Keep::inputs(&[0]),
            _ => Keep::OUTPUT,
        }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(*self, call.inputs[0], call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let kept = if self.keep().output { call.output } else { call.inputs[0] };
        if let Some(gradient) = call.gradients[0].take() {
            cpu::backward(*self, kept, call.grad_output, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let flops = if *self == Activation::Relu { 1.0 } else { 8.0 };
        Cost::elementwise(inputs, inputs[0], flops)
    }

    fn cases() -> Vec<Case<Self>> {
        KINDS
            .into_iter()
            .flat_map(|op| [Case::new(op, &[&[2, 3, 16]]), Case::new(op, &[&[1]])])
            .collect()
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (proptest::sample::select(&KINDS[..]), 1usize..4, 1usize..40)
            .prop_map(|(op, rows, features)| Case::new(op, &[&[rows, features]]))
            .boxed()
    }
}
