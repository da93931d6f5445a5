//! Gates: one part of the features scales another.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Error, Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// A gate over consecutive parts of the last axis.
///
/// Inputs: x `[..., 2 C]` (GLU) or `[..., 3 C]` (additive). Output: `[..., C]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// a * sigmoid(b) of the parts a and b (Dauphin et al. 2017), as in the temporal convolutions of STGCN
    /// (Yu et al. 2018, equation 6).
    Glu,
    /// relu(p + sigmoid(q) + r) of the parts p, q and r: the gate of the STGCN port that MPUC's authors use.
    Additive,
}

impl Gate {
    /// The number of parts of the last axis.
    pub fn parts(self) -> usize {
        match self {
            Gate::Glu => 2,
            Gate::Additive => 3,
        }
    }
}

impl Op for Gate {
    const NAME: &'static str = "gate";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        let (x, parts) = (inputs[0], self.parts());
        expect::filled(Self::NAME, "x", x)?;
        if x.features() % parts != 0 {
            return Err(Error::Shape {
                op: Self::NAME,
                what: format!("x for {self:?}, whose last axis has {parts} parts"),
                got: x,
                expected: format!("a last axis divisible by {parts}"),
            });
        }
        Ok(Plan::new(x.with_features(x.features() / parts)))
    }

    fn keep(&self) -> Keep {
        Keep::INPUTS
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let width = call.shapes[0].features() / self.parts();
        cpu::forward(*self, width, call.inputs[0], call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let width = call.shapes[0].features() / self.parts();
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::backward(*self, width, call.inputs[0], call.grad_output, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let output = inputs[0].with_features(inputs[0].features() / self.parts());
        Cost::elementwise(inputs, output, 6.0)
    }

    fn cases() -> Vec<Case<Self>> {
        vec![
            Case::new(Gate::Glu, &[&[2, 3, 32]]),
            Case::new(Gate::Glu, &[&[2]]),
            Case::new(Gate::Additive, &[&[2, 3, 48]]),
            Case::new(Gate::Additive, &[&[1, 3]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (proptest::sample::select(&[Gate::Glu, Gate::Additive][..]), 1usize..6, 1usize..20)
            .prop_map(|(op, rows, width)| Case::new(op, &[&[rows, width * op.parts()]]))
            .boxed()
    }
}
