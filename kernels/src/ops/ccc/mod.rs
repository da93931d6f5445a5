//! The concordance correlation coefficient as a loss.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Input, Keep, Plan, Values, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Sum over the columns of 1 - CCC, with CCC = 2 cov / (var + var' + (mean - mean')^2 + 1e-8) of prediction and
/// target over the samples (Lin 1989), variances and covariance of the population.
///
/// Inputs: prediction `[N, A]`; target `[N, A]`. Output: a scalar. Saved: `[5, A]`, the means of both, their
/// covariance, the denominator and the CCC. Both inputs have gradients; the target is usually a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ccc;

impl Op for Ccc {
    const NAME: &'static str = "ccc";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2)?;
        let prediction = inputs[0];
        expect::rank(Self::NAME, "prediction: reshape it to [N, A]", prediction, 2)?;
        expect::filled(Self::NAME, "prediction", prediction)?;
        let what = "target: give it the shape of the prediction";
        expect::shape(Self::NAME, what, inputs[1], &prediction)?;
        Ok(Plan::saving(Shape::SCALAR, vec![Shape::from([5, prediction[1]])]))
    }

    fn keep(&self) -> Keep {
        Keep::INPUTS
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let [moments] = call.saved else { return };
        call.output[0] = cpu::forward(call.shapes[0][1], call.inputs[0], call.inputs[1], moments);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let (prediction, target, dy) = (call.inputs[0], call.inputs[1], call.grad_output[0]);
        let moments = call.saved[0];
        // CCC is symmetric in its two inputs.
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::backward(1, moments, prediction, target, dy, gradient);
        }
        if let Some(gradient) = &mut call.gradients[1] {
            cpu::backward(0, moments, target, prediction, dy, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let count = inputs[0].count() as f64;
        Cost {
            forward_flops: 10.0 * count,
            backward_flops: 5.0 * count,
            forward_bytes: 4.0 * 2.0 * count,
            backward_bytes: 4.0 * 3.0 * count,
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let far = Input::constant(&[9, 3], Values::Uniform(10.0, 12.0));
        vec![
            Case::new(Ccc, &[&[32, 3], &[32, 3]]),
            Case::new(Ccc, &[&[9, 3], &[9, 3]]).input(1, far),
            Case::new(Ccc, &[&[2, 1], &[2, 1]]),
            Case::new(Ccc, &[&[300, 2], &[300, 2]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (2usize..30, 1usize..6).prop_map(|(n, a)| Case::new(Ccc, &[&[n, a], &[n, a]])).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(prediction: &[f64], target: &[f64]) -> f64 {
        cpu::forward(1, prediction, target, &mut [f64::NAN; 5])
    }

    #[test]
    fn perfect_opposite_shifted_and_constant() {
        let target = [1.0, 2.0, 3.0, 4.0];
        assert!(loss(&target, &target).abs() < 1e-8);
        assert!((loss(&[4.0, 3.0, 2.0, 1.0], &target) - 2.0).abs() < 1e-8);
        // Variance 1.25 each and means 1 apart: 2.5 / 3.5.
        assert!((loss(&[2.0, 3.0, 4.0, 5.0], &target) - (1.0 - 2.5 / 3.5)).abs() < 1e-8);
        assert_eq!(loss(&[2.0; 4], &target), 1.0);
    }
}
