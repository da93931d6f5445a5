//! Pooling over the whole of a sequence.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The mean of each feature over the steps of a sequence, and after it, if asked for, its deviation
/// sqrt(variance + 1e-5) with the biased variance. T may stand for several axes: the caller reshapes.
///
/// Inputs: x `[N, T, C]`. Indices, if masked: lengths `[N]`; only a sample's first steps count, at most T, and a
/// sample of length 0 gives the mean 0 and the deviation sqrt(1e-5). Output: `[N, C]`, or `[N, 2 C]` with
/// deviations, all means first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencePool {
    /// Whether deviations follow the means.
    pub deviation: bool,
    /// Whether lengths are given.
    pub masked: bool,
}

impl SequencePool {
    /// What is added to the variance.
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
            let what = format!("lengths for x {x}: give one a sample");
            expect::shape(Self::NAME, &what, indices[0], &x[..1])?;
        }
        let parts = if self.deviation { 2 } else { 1 };
        Ok(Plan::new(Shape::from([x[0], parts * x[2]])))
    }

    fn keep(&self) -> Keep {
        if self.deviation { Keep::INPUTS.and_output() } else { Keep::NOTHING }
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
        let (flops, parts) = if self.deviation { (4.0, 2.0) } else { (1.0, 1.0) };
        Cost {
            forward_flops: flops * count,
            backward_flops: flops * count,
            forward_bytes: 4.0 * (count + parts * output),
            backward_bytes: 4.0 * (parts * count + parts * parts * output),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let op = |deviation, masked| SequencePool { deviation, masked };
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
            .prop_map(|((deviation, masked, first), n, t, c)| {
                let case = Case::new(SequencePool { deviation, masked }, &[&[n, t, c]]);
                if !masked {
                    return case;
                }
                case.index(&[n], (0..n as u32).map(|i| (first + 3 * i) % (t as u32 + 1)).collect())
            })
            .boxed()
    }
}
