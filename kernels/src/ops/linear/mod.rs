//! Linear layers: rows of features times a weight matrix.

pub(crate) mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// y = x·W + b, or max(x·W + b, 0).
///
/// Inputs: x `[..., in]`, weight `[in, out]`, and if `bias` the bias `[out]`. Output: `[..., out]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Whether the third input, the bias, is given.
    pub bias: bool,
    /// Whether ReLU is applied; its gradient at 0 is 0.
    pub relu: bool,
}

impl Op for Linear {
    const NAME: &'static str = "linear";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2 + usize::from(self.bias))?;
        let (x, weight) = (inputs[0], inputs[1]);
        expect::rank(Self::NAME, "weight: reshape it to [in, out]", weight, 2)?;
        let what = || format!("weight for x {x}: give one row for each feature");
        if x.is_empty() || x.features() != weight[0] {
            expect::shape(Self::NAME, &what(), weight, &[x.features(), weight[1]])?;
            expect::shape(Self::NAME, "x: reshape it to [..., in]", x, &[1, weight[0]])?;
        }
        if self.bias {
            let what = "bias: give one element for each output feature";
            expect::shape(Self::NAME, what, inputs[2], &[weight[1]])?;
        }
        Ok(Plan::new(x.with_features(weight[1])))
    }

    fn keep(&self) -> Keep {
        let inputs = Keep::inputs(&[0, 1]);
        if self.relu { inputs.and_output() } else { inputs }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let bias = self.bias.then(|| call.inputs[2]);
        cpu::forward(
            call.inputs[0],
            call.inputs[1],
            bias,
            self.relu,
            extents(call.shapes),
            call.output,
        );
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        let output = self.relu.then_some(call.output);
        let mut gradients = call.gradients.into_iter();
        let mut next = || gradients.next().flatten();
        let gradients = cpu::Gradients { input: next(), weight: next(), bias: next() };
        let (x, weight) = (call.inputs[0], call.inputs[1]);
        cpu::backward(x, weight, output, call.grad_output, extents(call.shapes), gradients);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let output = inputs[0].with_features(inputs[1][1]);
        let flops = 2.0 * inputs[0].count() as f64 * inputs[1][1] as f64;
        let (read, written) =
            (inputs.iter().map(Shape::count).sum::<usize>() as f64, output.count() as f64);
        Cost {
            forward_flops: flops,
            backward_flops: 2.0 * flops,
            forward_bytes: 4.0 * (read + written),
            backward_bytes: 4.0 * (2.0 * read + written),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |bias, relu, x: &[usize], out: usize| make(Linear { bias, relu }, x, out);
        vec![
            case(true, false, &[2, 3, 20], 33),
            case(true, true, &[2, 15, 7], 48),
            case(false, true, &[70, 5], 3),
            case(false, false, &[9], 4),
            case(true, false, &[1, 1], 1),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (any::<bool>(), any::<bool>(), 1usize..20, 1usize..40, 1usize..70)
            .prop_map(|(bias, relu, rows, features, out)| {
                make(Linear { bias, relu }, &[rows, features], out)
            })
            .boxed()
    }
}

fn make(op: Linear, x: &[usize], out: usize) -> Case<Linear> {
    let features = x[x.len() - 1];
    if op.bias {
        Case::new(op, &[x, &[features, out], &[out]])
    } else {
        Case::new(op, &[x, &[features, out]])
    }
}

/// Rows, input features, output features.
fn extents(shapes: &[Shape]) -> [usize; 3] {
    [shapes[0].rows(), shapes[0].features(), shapes[1][1]]
}
