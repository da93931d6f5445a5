//! Binary cross entropy with logits.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Input, Keep, Plan, Values, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Mean over all elements of -(weight * target * log sigmoid(x) + (1 - target) * log(1 - sigmoid(x))): PyTorch's
/// `BCEWithLogitsLoss(pos_weight)`.
///
/// Inputs: logits x `[..., C]`; targets of the same shape, from 0 to 1; positive weights `[C]`, the factor of each
/// label's positives. Output: a scalar. All three inputs have gradients; targets and weights are usually constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bce;

impl Op for Bce {
    const NAME: &'static str = "bce";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 3)?;
        let logits = inputs[0];
        expect::filled(Self::NAME, "logits", logits)?;
        expect::shape(Self::NAME, "targets: give one for each logit", inputs[1], &logits)?;
        let what = format!("positive weights for logits {logits}: give one for each label");
        expect::shape(Self::NAME, &what, inputs[2], &[logits.features()])?;
        Ok(Plan::new(Shape::SCALAR))
    }

    fn keep(&self) -> Keep {
        Keep::INPUTS
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let [logits, targets, weights] = call.inputs else { return };
        call.output[0] = cpu::forward(logits, targets, weights);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let [logits, targets, weights] = call.inputs else { return };
        let inputs = (*logits, *targets, *weights);
        let dy = call.grad_output[0];
        if let Some(gradient) = &mut call.gradients[0] {
            cpu::grad_logits(inputs, dy, gradient);
        }
        if let Some(gradient) = &mut call.gradients[1] {
            cpu::grad_targets(inputs, dy, gradient);
        }
        if let Some(gradient) = &mut call.gradients[2] {
            cpu::grad_weights(inputs, dy, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let count = inputs[0].count() as f64;
        Cost {
            forward_flops: 10.0 * count,
            backward_flops: 8.0 * count,
            forward_bytes: 4.0 * 2.0 * count,
            backward_bytes: 4.0 * 3.0 * count,
        }
    }

    fn cases() -> Vec<Case<Self>> {
        vec![case(32, 6, false), case(1, 1, false), case(3, 4, true), case(1100, 5, true)]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (1usize..20, 1usize..20, any::<bool>()).prop_map(|(n, c, soft)| case(n, c, soft)).boxed()
    }
}

/// A case with labels, or with soft targets and gradients throughout.
fn case(n: usize, c: usize, soft: bool) -> Case<Bce> {
    let case = Case::new(Bce, &[&[n, c], &[n, c], &[c]]);
    if soft {
        return case
            .input(1, Input::uniform(&[n, c], 0.0, 1.0))
            .input(2, Input::uniform(&[c], 0.5, 20.0));
    }
    case.input(1, Input::constant(&[n, c], Values::Bits))
        .input(2, Input::constant(&[c], Values::Uniform(0.5, 20.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_of_0_give_the_logarithm_of_2_and_large_ones_are_finite() {
        let loss = cpu::forward(&[0.0f64; 4], &[0.0, 1.0, 1.0, 0.0], &[1.0, 3.0]);
        assert!((loss - 1.5 * 2f64.ln()).abs() < 1e-15, "{loss}");
        let loss = cpu::forward(&[1e4f32, -1e4], &[0.0, 1.0], &[2.0]);
        assert_eq!(loss, 1.5e4);
    }
}
