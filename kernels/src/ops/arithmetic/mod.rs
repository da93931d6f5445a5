//! Sums, differences and products of two tensors.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Error, Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// a with b, element by element. The shape of b is that of a's last axes: b is repeated over a's leading ones,
/// and its gradient is the sum over them.
///
/// Inputs: a, b. Output: the shape of a.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// a + b.
    Add,
    /// a - b.
    Subtract,
    /// a * b.
    Multiply,
}

const KINDS: [Arithmetic; 3] = [Arithmetic::Add, Arithmetic::Subtract, Arithmetic::Multiply];

impl Op for Arithmetic {
    const NAME: &'static str = "arithmetic";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2)?;
        let (a, b) = (inputs[0], inputs[1]);
        expect::filled(Self::NAME, "a", a)?;
        if !a.ends_with(&b) {
            return Err(Error::Shape {
                op: Self::NAME,
                what: format!("b for a {a}: give it the last axes of a, or swap them"),
                got: b,
                expected: format!("an end of {a}"),
            });
        }
        Ok(Plan::new(a))
    }

    fn keep(&self) -> Keep {
        if *self == Arithmetic::Multiply { Keep::INPUTS } else { Keep::NOTHING }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(*self, call.inputs[0], call.inputs[1], call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let (a, b) = (call.inputs[0], call.inputs[1]);
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::grad_first(*self, b, call.grad_output, gradient);
        }
        if let Some(gradient) = &mut call.gradients[1] {
            cpu::grad_second(*self, a, call.grad_output, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        Cost::elementwise(inputs, inputs[0], 1.0)
    }

    fn cases() -> Vec<Case<Self>> {
        let shapes: [[&[usize]; 2]; 8] = [
            [&[2, 3, 16], &[2, 3, 16]],
            [&[2, 3, 16], &[3, 16]],
            [&[2, 3, 16], &[16]],
            [&[2, 3, 16], &[]],
            [&[300, 1], &[1]],
            [&[], &[]],
            [&[1100, 5], &[5]],
            [&[9000], &[]],
        ];
        KINDS.into_iter().flat_map(|op| shapes.map(|shapes| Case::new(op, &shapes))).collect()
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (proptest::sample::select(&KINDS[..]), 1usize..40, 1usize..12, 1usize..12, 0usize..4)
            .prop_map(|(op, n, t, c, cut)| {
                let a = [n, t, c];
                Case::new(op, &[&a, &a[cut..]])
            })
            .boxed()
    }
}
