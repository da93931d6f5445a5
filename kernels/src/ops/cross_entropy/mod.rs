//! Softmax cross entropy with class indices.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Mean over the samples of -log softmax(logits) at the sample's class, natural logarithm.
///
/// A sample whose class is not below C, such as [`CrossEntropy::IGNORED`], is ignored; if all are, the loss and its
/// gradient are 0.
///
/// Inputs: logits `[N, C]`. Indices: classes `[N]`. Output: a scalar. Saved: the log-sum-exp of the logits `[N]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossEntropy;

impl CrossEntropy {
    /// The class of an ignored sample.
    pub const IGNORED: u32 = u32::MAX;
}

impl Op for CrossEntropy {
    const NAME: &'static str = "cross_entropy";

    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        expect::arity(Self::NAME, indices, 1)?;
        let logits = inputs[0];
        expect::rank(Self::NAME, "logits: reshape them to [N, C]", logits, 2)?;
        expect::filled(Self::NAME, "logits", logits)?;
        let what = format!("classes for logits {logits}: give one for each sample");
        expect::shape(Self::NAME, &what, indices[0], &logits[..1])?;
        Ok(Plan::saving(Shape::SCALAR, vec![Shape::from(&logits[..1])]))
    }

    fn keep(&self) -> Keep {
        Keep::INPUTS
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let [log_sum] = call.saved else { return };
        let width = call.shapes[0].features();
        call.output[0] = cpu::forward(width, call.inputs[0], call.indices[0], log_sum);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let width = call.shapes[0].features();
        if let Some(gradient) = &mut call.gradients[0] {
            let kept = (call.inputs[0], call.indices[0], call.saved[0]);
            cpu::backward(width, kept, call.grad_output[0], gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let count = inputs[0].count() as f64;
        Cost {
            forward_flops: 8.0 * count,
            backward_flops: 8.0 * count,
            forward_bytes: 4.0 * (count + 2.0 * inputs[0].rows() as f64),
            backward_bytes: 4.0 * 2.0 * (count + inputs[0].rows() as f64),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let ignored = CrossEntropy::IGNORED;
        vec![
            Case::new(CrossEntropy, &[&[5, 8]]).index(&[5], vec![0, 7, 3, 3, 1]),
            Case::new(CrossEntropy, &[&[4, 3]]).index(&[4], vec![2, ignored, 0, 3]),
            Case::new(CrossEntropy, &[&[2, 3]]).index(&[2], vec![ignored; 2]),
            Case::new(CrossEntropy, &[&[1, 1]]).index(&[1], vec![0]),
            Case::new(CrossEntropy, &[&[2, 600]]).index(&[2], vec![599, 3]),
            Case::new(CrossEntropy, &[&[300, 2]]).index(&[300], (0..300).map(|i| i % 3).collect()),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (1usize..30, 1usize..50, any::<u32>())
            .prop_map(|(n, c, seed)| {
                // Class C, which is ignored.
                let class = |i: usize| (seed.wrapping_mul(i as u32 + 3) >> 7) % (c as u32 + 1);
                Case::new(CrossEntropy, &[&[n, c]]).index(&[n], (0..n).map(class).collect())
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_give_the_logarithm_of_the_classes() {
        let mut log_sum = [f32::NAN; 3];
        let loss = cpu::forward(8, &[1000.0f32; 24], &[0, 5, u32::MAX], &mut log_sum);
        assert!((f64::from(loss) - 8f64.ln()).abs() < 1e-4, "{loss}");
    }
}
