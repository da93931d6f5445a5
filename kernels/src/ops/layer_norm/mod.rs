//! Layer norm over the features, or over time and features.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// (x - mean) / sqrt(variance + epsilon) * weight + bias, with mean and biased variance over the last 1 or 2 axes.
///
/// Over one axis it is layer norm (Ba et al. 2016); over two the global layer norm of Conv-TasNet (Luo & Mesgarani
/// 2019, equation 9) on `[N, T, C]`, whose epsilon is 1e-8.
///
/// Inputs: x `[..., C]`; weight `[C]`; bias `[C]`. Output: the shape of x. Saved: mean and reciprocal standard
/// deviation, each with the shape of the leading axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNorm {
    /// The number of last axes that are normalised together: 1 or 2.
    pub axes: usize,
    /// Added to the variance; above 0.
    pub epsilon: f64,
}

impl LayerNorm {
    /// The number of elements that are normalised together.
    fn group(&self, x: Shape) -> usize {
        x[x.len() - self.axes..].iter().product()
    }
}

impl Op for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 3)?;
        let x = inputs[0];
        expect::filled(Self::NAME, "x", x)?;
        expect::setting(Self::NAME, matches!(self.axes, 1 | 2) && self.axes <= x.len(), || {
            format!("got {} axes for x {x}; normalise 1 or 2 axes that x has", self.axes)
        })?;
        expect::setting(Self::NAME, self.epsilon > 0.0, || {
            format!("got epsilon {}; give one above 0", self.epsilon)
        })?;
        for (what, shape) in [("weight", inputs[1]), ("bias", inputs[2])] {
            let what = format!("{what} for x {x}: give one element for each feature");
            expect::shape(Self::NAME, &what, shape, &[x.features()])?;
        }
        let groups = Shape::from(&x[..x.len() - self.axes]);
        Ok(Plan::saving(x, vec![groups, groups]))
    }

    fn keep(&self) -> Keep {
        Keep::inputs(&[0, 1])
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let [mean, rstd] = call.saved else { return };
        let group = self.group(call.shapes[0]);
        let &[x, weight, bias] = call.inputs else { return };
        let saved = (&mut **mean, &mut **rstd);
        cpu::forward(group, self.epsilon, [x, weight, bias], saved, call.output);
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        let group = self.group(call.shapes[0]);
        let [mut grad_x, mut grad_weight, mut grad_bias] = {
            let mut gradients = call.gradients.into_iter();
            std::array::from_fn(|_| gradients.next().flatten())
        };
        let kept = [call.inputs[0], call.inputs[1], call.saved[0], call.saved[1], call.grad_output];
        if let Some(gradient) = &mut grad_x {
            cpu::grad_input(group, kept, gradient);
        }
        cpu::grad_affine(group, kept, &mut grad_weight, &mut grad_bias);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let cost = Cost::elementwise(inputs, inputs[0], 7.0);
        Cost { backward_flops: 14.0 * inputs[0].count() as f64, ..cost }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |axes, epsilon, x: &[usize]| {
            let features = [x[x.len() - 1]];
            Case::new(LayerNorm { axes, epsilon }, &[x, &features, &features])
        };
        vec![
            case(1, 1e-5, &[2, 3, 16]),
            case(1, 1e-5, &[40]),
            case(2, 1e-8, &[2, 5, 16]),
            case(2, 1e-8, &[3, 2]),
            case(1, 1e-5, &[3, 1]),
            case(1, 1e-5, &[1100, 5]),
            case(2, 1e-8, &[2, 7, 100]),
            case(2, 1e-8, &[1, 84, 100]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        // A group of one or two elements has almost no variance, so its differences have almost no digits.
        (1usize..3, 1usize..4, 1usize..6, 3usize..50)
            .prop_map(|(axes, n, t, c)| {
                Case::new(LayerNorm { axes, epsilon: 1e-5 }, &[&[n, t, c], &[c], &[c]])
            })
            .boxed()
    }
}
