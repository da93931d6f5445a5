//! Depthwise convolution over time: every feature has its own filter.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Input, Keep, Plan, Values, expect};
use crate::{Error, Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// y(t, c) = b(c) + Σ_k w(k, c) x(t · stride + k · dilation - padding, c), with zeros outside of x.
///
/// Inputs: sequences `[N, T, C]`, weight `[K, C]`, and if `bias` the bias `[C]`.
/// Output `[N, T', C]` with T' = (T + 2 padding - dilation (K - 1) - 1) / stride + 1, rounded down: PyTorch's
/// `conv1d` with `groups = C`. The TCN has K = 3 and dilations 1 to 16, the Conformer K = 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseConv {
    /// Input steps between neighbouring outputs; at least 1.
    pub stride: usize,
    /// Zeros before the first step and after the last.
    pub padding: usize,
    /// Input steps between neighbouring taps; at least 1.
    pub dilation: usize,
    /// Whether the third input, the bias, is given.
    pub bias: bool,
}

impl DepthwiseConv {
    /// Stride 1, a bias, and the padding that keeps the length for an odd kernel.
    pub fn same(kernel: usize, dilation: usize) -> Self {
        DepthwiseConv { stride: 1, padding: dilation * (kernel / 2), dilation, bias: true }
    }
}

impl Op for DepthwiseConv {
    const NAME: &'static str = "depthwise_conv";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2 + usize::from(self.bias))?;
        let (x, weight) = (inputs[0], inputs[1]);
        expect::setting(Self::NAME, self.stride > 0 && self.dilation > 0, || {
            format!("got stride {} and dilation {}; give at least 1", self.stride, self.dilation)
        })?;
        expect::rank(Self::NAME, "x: reshape it to [N, T, C]", x, 3)?;
        let (steps, features) = (x[1], x[2]);
        expect::rank(Self::NAME, "weight: reshape it to [K, C]", weight, 2)?;
        let kernel = weight[0];
        let what = format!("weight for x {x}: make it [K, C]");
        expect::shape(Self::NAME, &what, weight, &[kernel, features])?;
        if self.bias {
            let what = format!("bias for x {x}: make it [C]");
            expect::shape(Self::NAME, &what, inputs[2], &[features])?;
        }
        let extent = self.dilation * kernel.saturating_sub(1) + 1;
        if kernel == 0 || features == 0 || steps + 2 * self.padding < extent {
            return Err(Error::Shape {
                op: Self::NAME,
                what: format!(
                    "x for weight {weight}, dilation {}, padding {}: pad more or use longer sequences",
                    self.dilation, self.padding
                ),
                got: x,
                expected: format!("at least 1 tap, 1 feature and {extent} padded steps"),
            });
        }
        let outputs = (steps + 2 * self.padding - extent) / self.stride + 1;
        Ok(Plan::new(Shape::from([x[0], outputs, features])))
    }

    fn keep(&self) -> Keep {
        Keep::inputs(&[0, 1])
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(self, call);
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        cpu::backward(self, call);
    }

    fn cost(&self, inputs: &[Shape], indices: &[Shape]) -> Cost {
        let (x, weight) = (inputs[0].count() as f64, inputs[1].count() as f64);
        let kernel = inputs[1][0] as f64;
        let y = self.plan(inputs, indices).map_or(0.0, |plan| plan.output.shape.count() as f64);
        Cost {
            forward_flops: 2.0 * y * kernel,
            backward_flops: 4.0 * y * kernel,
            forward_bytes: 4.0 * (x + y + weight),
            backward_bytes: 4.0 * (2.0 * x + y + 2.0 * weight),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let plain = DepthwiseConv { stride: 1, padding: 0, dilation: 1, bias: false };
        vec![
            Case::new(DepthwiseConv::same(3, 1), &[&[2, 7, 5], &[3, 5], &[5]]),
            // Dilation above the length: the outer taps read only zeros.
            Case::new(DepthwiseConv::same(3, 16), &[&[1, 9, 3], &[3, 3], &[3]]),
            Case::new(DepthwiseConv::same(31, 1), &[&[1, 12, 2], &[31, 2], &[2]]),
            Case::new(DepthwiseConv::same(3, 2), &[&[2, 21, 83], &[3, 83], &[83]]),
            Case::new(plain, &[&[1, 1, 1], &[1, 1]]),
            Case::new(plain, &[&[3, 6, 17], &[4, 17]]),
            Case::new(
                DepthwiseConv { stride: 2, padding: 3, dilation: 2, bias: true },
                &[&[2, 9, 4], &[3, 4], &[4]],
            ),
            // Padding above the kernel's extent: some outputs are the bias only.
            Case::new(DepthwiseConv { padding: 3, ..plain }, &[&[1, 3, 2], &[2, 2]]),
            Case::new(DepthwiseConv::same(3, 2), &[&[5, 250, 3], &[3, 3], &[3]]),
            Case::new(plain, &[&[2, 5, 3], &[2, 3]])
                .input(1, Input::constant(&[2, 3], Values::Normal)),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let sizes = (1usize..4, 1usize..20, 1usize..40, 1usize..6);
        (sizes, 1usize..4, 0usize..6, 1usize..5, any::<bool>())
            .prop_map(|((n, extra, features, kernel), stride, padding, dilation, bias)| {
                let op = DepthwiseConv { stride, padding, dilation, bias };
                // Never shorter than the kernel's extent minus the padding.
                let steps = (dilation * (kernel - 1)).saturating_sub(2 * padding) + extra;
                let (x, weight, last) = ([n, steps, features], [kernel, features], [features]);
                let all: [&[usize]; 3] = [&x, &weight, &last];
                Case::new(op, &all[..2 + usize::from(bias)])
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests;
