//! Embedding: gathers rows of a table by index.

pub(crate) mod cpu;
pub(crate) mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Error, Float, MAX_RANK, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The row of a table for each token. A token that is not below V, such as u32::MAX, is padding: its output is zeros
/// and it adds nothing to the gradient.
///
/// Input: table `[V, D]`. Indices: tokens, any shape `[...]`. Output: `[..., D]`. The gradient of a row is a sum over
/// its tokens in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedding;

impl Op for Embedding {
    const NAME: &'static str = "embedding";

    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        expect::arity(Self::NAME, indices, 1)?;
        let (table, tokens) = (inputs[0], indices[0]);
        expect::rank(Self::NAME, "table: reshape it to [V, D]", table, 2)?;
        expect::filled(Self::NAME, "table", table)?;
        expect::filled(Self::NAME, "tokens", tokens)?;
        if tokens.len() >= MAX_RANK {
            return Err(Error::Shape {
                op: Self::NAME,
                what: format!("tokens for table {table}: reshape them to fewer axes"),
                got: tokens,
                expected: format!("fewer than {MAX_RANK} axes"),
            });
        }
        expect::setting(Self::NAME, u32::try_from(tokens.count()).is_ok(), || {
            format!("got tokens {tokens}; split them into calls of fewer than 2^32")
        })?;
        let mut output = [table[1]; MAX_RANK];
        output[..tokens.len()].copy_from_slice(&tokens);
        Ok(Plan::new(Shape::new(&output[..=tokens.len()])))
    }

    fn keep(&self) -> Keep {
        Keep::NOTHING
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let width = call.shapes[0].features();
        cpu::forward(width, call.inputs[0], call.indices[0], call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let width = call.shapes[0].features();
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::backward(width, call.indices[0], call.grad_output, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], indices: &[Shape]) -> Cost {
        let table = inputs[0].count() as f64;
        let tokens = indices.first().map_or(0, Shape::count) as f64;
        let output = tokens * inputs[0].features() as f64;
        Cost {
            forward_flops: 0.0,
            backward_flops: output,
            forward_bytes: 4.0 * (2.0 * output + tokens),
            backward_bytes: 4.0 * (table + output + tokens),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        vec![
            Case::new(Embedding, &[&[7, 5]]).index(&[2, 4], vec![0, 6, 3, 3, 3, 7, u32::MAX, 0]),
            Case::new(Embedding, &[&[1, 1]]).index(&[], vec![0]),
            Case::new(Embedding, &[&[3, 150]]).index(&[4], vec![2, 0, 2, 1]),
            Case::new(Embedding, &[&[2, 3]]).index(&[300], (0..300).map(|i| i % 3).collect()),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (1usize..9, 1usize..20, 1usize..5, 1usize..9, any::<u32>())
            .prop_map(|(v, d, n, t, seed)| {
                let token = |i: usize| (seed.wrapping_mul(i as u32 + 5) >> 9) % (v as u32 + 1);
                Case::new(Embedding, &[&[v, d]]).index(&[n, t], (0..n * t).map(token).collect())
            })
            .boxed()
    }
}
