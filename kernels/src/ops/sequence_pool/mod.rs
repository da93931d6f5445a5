//! Pooling over all steps of a sequence.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The mean of each feature over the steps of a sequence; if `std`, also the standard deviation
/// sqrt(variance + 1e-5) with the biased variance.
///
/// Inputs: x `[N, T, C]`; reshape several axes into T. Indices, if `masked`: lengths `[N]`; a sample's steps from its
/// length on are ignored, and a length above T means T. A sample of length 0 has mean 0 and standard deviation
/// sqrt(1e-5). Output: `[N, C]`, or with `std` `[N, 2 C]`: all means, then all standard deviations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencePool {
    /// Whether standard deviations follow the means.
    pub std: bool,
    /// Whether the index input `lengths` is given.
    pub masked: bool,
}

impl SequencePool {
    /// Added to the variance.
    pub const EPSILON: f64 = 1e-5;
}

impl Op for SequencePool {
    const NAME: &'static str = "sequence_pool";

    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        expect::arity(Self::NAME, indices, usize::from(self.masked))?;
        let x = inputs[0];
        expect::rank(Self::NAME, "x: reshape it to [N, T, C]", x, 3)?;
        expect::filled(Self::NAME, "x", x)?;
        if self.masked {
            let what = format!("lengths for x {x}: give one for each sample");
            expect::shape(Self::NAME, &what, indices[0], &x[..1])?;
        }
        let parts = if self.std { 2 } else { 1 };
        Ok(Plan::new(Shape::from([x[0], parts * x[2]])))
    }

    fn keep(&self) -> Keep {
        if self.std { Keep::INPUTS.and_output() } else { Keep::NOTHING }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let layout = cpu::Layout::new(self, call.shapes[0], call.indices);
        cpu::forward(layout, call.inputs[0], call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let layout = cpu::Layout::new(self, call.shapes[0], call.indices);
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::backward(layout, call.inputs[0], call.output, call.grad_output, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let count = inputs[0].count() as f64;
        let output = (inputs[0][0] * inputs[0][2]) as f64;
        let (flops, parts) = if self.std { (4.0, 2.0) } else { (1.0, 1.0) };
        Cost {
            forward_flops: flops * count,
            backward_flops: flops * count,
            forward_bytes: 4.0 * (count + parts * output),
            backward_bytes: 4.0 * (parts * count + parts * parts * output),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let op = |std, masked| SequencePool { std, masked };
        let lengths = vec![5, 0, 2, 1, 9];
        vec![
            Case::new(op(false, false), &[&[2, 5, 16]]),
            Case::new(op(true, false), &[&[2, 5, 16]]),
            Case::new(op(false, true), &[&[5, 5, 4]]).index(&[5], lengths.clone()),
            Case::new(op(true, true), &[&[5, 5, 4]]).index(&[5], lengths),
            Case::new(op(false, false), &[&[1, 1, 1]]),
            Case::new(op(false, false), &[&[1, 300, 2]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let settings = (any::<bool>(), any::<bool>(), 0u32..8);
        (settings, 1usize..4, 2usize..8, 1usize..40)
            .prop_map(|((std, masked, first), n, t, c)| {
                let case = Case::new(SequencePool { std, masked }, &[&[n, t, c]]);
                if !masked {
                    return case;
                }
                case.index(&[n], (0..n as u32).map(|i| (first + 3 * i) % (t as u32 + 1)).collect())
            })
            .boxed()
    }
}
