//! Max unpooling: each maximum at its index, zeros elsewhere.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::philox::Philox;
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Writes each number of x to its index in D·H·W of its sample, for each feature; all other elements are 0. An index of
/// D·H·W or more is ignored. If several numbers of x have one index, the last is written, and only it has a gradient
/// (undefined in PyTorch's `MaxUnpool`).
///
/// Input: x `[N, D', H', W', C]`. Indices: those that [`Pool`](super::Pool) saved, in the shape of x. Output:
/// `[N, D, H, W, C]`. Saved, in the output's shape: 1 + the pixel of x written to each element, or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxUnpool {
    /// D, H and W of the output: the extents before pooling.
    pub output: [usize; 3],
}

impl Op for MaxUnpool {
    const NAME: &'static str = "max_unpool";

    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        expect::arity(Self::NAME, indices, 1)?;
        let x = inputs[0];
        expect::rank(Self::NAME, "x must be [N, D, H, W, C]; reshape it", x, 5)?;
        expect::filled(Self::NAME, "x", x)?;
        expect::shape(Self::NAME, "indices must have the shape of x", indices[0], &x)?;
        let [d, h, w] = self.output;
        let output = Shape::new(&[x[0], d, h, w, x[4]]);
        expect::filled(Self::NAME, "output", output)?;
        let pixels = (d * h * w).max(x[1] * x[2] * x[3]);
        expect::setting(Self::NAME, pixels < u32::MAX as usize, || {
            format!(
                "samples of x {x} or of the output {output} have 2^32 - 1 pixels or more: split them"
            )
        })?;
        Ok(Plan::new(output).saving_indices(output))
    }

    fn keep(&self) -> Keep {
        Keep::NOTHING
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let [owners] = call.saved_indices else { return };
        let extents = Extents::new(self, call.shapes[0]);
        cpu::forward(extents, call.inputs[0], call.indices[0], call.output, owners);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let Some(gradient) = &mut call.gradients[0] else { return };
        let extents = Extents::new(self, call.shapes[0]);
        let owners = call.saved_indices[0];
        cpu::backward(extents, call.indices[0], owners, call.grad_output, gradient);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let x = inputs[0];
        let output = (x[0] * self.output.iter().product::<usize>() * x[4]) as f64;
        let x = x.count() as f64;
        Cost {
            forward_bytes: 4.0 * (2.0 * x + 2.0 * output),
            // For each number: index, owner, gradient of the output, gradient of x.
            backward_bytes: 16.0 * x,
            ..Cost::default()
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |output: [usize; 3], x: &[usize], indices: Vec<u32>| {
            Case::new(MaxUnpool { output }, &[x]).index(x, indices)
        };
        vec![
            // Images: all indices differ.
            case([1, 2, 4], &[2, 1, 1, 2, 2], vec![0, 5, 3, 2, 4, 1, 7, 6]),
            // Several numbers with one index, and indices out of range.
            case([1, 1, 3], &[1, 1, 1, 5, 1], vec![2, 0, 2, 3, u32::MAX]),
            case([1, 1, 1], &[1, 1, 1, 1, 1], vec![0]),
            random([2, 5, 6], &[2, 1, 3, 4, 19], 1),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let extents = || [1usize..4, 1usize..4, 1usize..5];
        (1usize..3, extents(), extents(), 1usize..6, any::<u64>())
            .prop_map(|(n, output, [d, h, w], c, seed)| random(output, &[n, d, h, w, c], seed))
            .boxed()
    }
}

/// Indices below D·H·W, and a few beyond.
fn random(output: [usize; 3], x: &[usize], seed: u64) -> Case<MaxUnpool> {
    let (random, pixels) = (Philox::new(seed, "indices"), output.iter().product::<usize>());
    let index = |i: usize| (random.uniform(i as u64) * (pixels as f64 + 0.5)) as u32;
    Case::new(MaxUnpool { output }, &[x]).index(x, (0..x.iter().product()).map(index).collect())
}

/// Pixels of a sample of x and of the output, and features.
#[derive(Debug, Clone, Copy)]
struct Extents {
    x: usize,
    output: usize,
    features: usize,
}

impl Extents {
    fn new(op: &MaxUnpool, x: Shape) -> Self {
        Extents { x: x[1] * x[2] * x[3], output: op.output.iter().product(), features: x[4] }
    }
}
