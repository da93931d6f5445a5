//! Inverted dropout.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::philox::Philox;
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Each element becomes 0 with the given probability; the others are divided by one minus it, which keeps the mean
/// (Srivastava et al. 2014). Input: x, any shape. Output: the shape of x.
///
/// Element i is dropped where word i of the stream is below probability * 2^32. The backward pass draws the words
/// again, so nothing is saved. Give each call its own stream (`stream.at(step).at(layer)`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The probability that an element is dropped, in [0, 1).
    pub probability: f64,
    /// The stream of random words.
    pub stream: Philox,
}

impl Op for Dropout {
    const NAME: &'static str = "dropout";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        expect::filled(Self::NAME, "x", inputs[0])?;
        expect::setting(Self::NAME, (0.0..1.0).contains(&self.probability), || {
            format!("got probability {}; give one in [0, 1)", self.probability)
        })?;
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
            cpu::apply(*self, call.grad_output, gradient.data, gradient.add);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let cost = Cost::elementwise(inputs, inputs[0], 1.0);
        Cost { backward_flops: cost.forward_flops, backward_bytes: cost.forward_bytes, ..cost }
    }

    fn cases() -> Vec<Case<Self>> {
        let op = |probability| Dropout { probability, stream: Philox::new(1, "dropout") };
        vec![
            Case::new(op(0.1), &[&[2, 3, 16]]),
            Case::new(op(0.5), &[&[301]]),
            Case::new(op(0.0), &[&[5]]),
            Case::new(op(0.9), &[&[1]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (0.0f64..0.99, 0u64..100, 1usize..5, 1usize..40)
            .prop_map(|(probability, seed, rows, features)| {
                let stream = Philox::new(seed, "dropout");
                Case::new(Dropout { probability, stream }, &[&[rows, features]])
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_share_the_mean_and_the_words() {
        let op = Dropout { probability: 0.3, stream: Philox::new(5, "test") };
        let n = 100_003;
        let (x, mut y) = (vec![1.0f32; n], vec![f32::NAN; n]);
        cpu::apply(op, &x, &mut y, false);
        let kept = y.iter().filter(|&&y| y != 0.0).count() as f64 / n as f64;
        assert!((kept - 0.7).abs() < 0.01, "{kept}");
        let threshold = (0.3 * 2f64.powi(32)) as u32;
        for (i, &y) in y.iter().enumerate() {
            let expected = if op.stream.word(i as u64) < threshold { 0.0 } else { 1.0 / 0.7 };
            assert!((y - expected as f32).abs() < 1e-6, "element {i} is {y}");
        }
    }

    #[test]
    fn probability_0_is_identity() {
        let op = Dropout { probability: 0.0, stream: Philox::new(5, "test") };
        let x: Vec<f32> = (0..1000).map(|i| i as f32 * 0.37 - 100.0).collect();
        let mut y = vec![f32::NAN; x.len()];
        cpu::apply(op, &x, &mut y, false);
        assert_eq!(x, y);
    }

    #[test]
    fn bad_probabilities_are_errors() {
        for probability in [-0.1, 1.0, f64::NAN] {
            let op = Dropout { probability, stream: Philox::new(5, "test") };
            assert!(op.plan(&[Shape::new(&[3])], &[]).is_err());
        }
    }
}
