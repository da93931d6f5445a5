//! Max and average pooling over space and time.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The reduction of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// The maximum, the first of equal elements; padding counts as -inf.
    Max,
    /// The mean over all taps; padding counts as 0 (PyTorch's `count_include_pad`).
    Average,
}

/// Max or average pooling over windows of three axes, for each feature. An output axis has
/// (input + 2 padding - kernel) / stride + 1 windows, rounded down. With `ceil` it is rounded up, unless the last
/// window would start in the padding after the input (PyTorch's `ceil_mode`).
///
/// Input: x `[N, D, H, W, C]`. Output: `[N, D', H', W', C]`. Saved by max pooling, in the output's shape: the index of
/// each maximum in D·H·W of its sample, for [`MaxUnpool`](super::MaxUnpool).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Max or average.
    pub kind: PoolKind,
    /// Extents of the window along depth, height and width.
    pub kernel: [usize; 3],
    /// Steps between windows.
    pub stride: [usize; 3],
    /// Padding on both sides, at most half the kernel.
    pub padding: [usize; 3],
    /// Whether to round the number of windows up: the last may reach beyond the padding. For [`PoolKind::Max`] only.
    pub ceil: bool,
}

impl Pool {
    /// The number of windows along an axis. The padded input must not be shorter than the kernel.
    fn windows(&self, axis: usize, input: usize) -> usize {
        let (kernel, stride, padding) = (self.kernel[axis], self.stride[axis], self.padding[axis]);
        let steps = input + 2 * padding - kernel;
        let beyond = self.ceil
            && !steps.is_multiple_of(stride)
            && (steps / stride + 1) * stride < input + padding;
        steps / stride + 1 + usize::from(beyond)
    }
}

impl Op for Pool {
    const NAME: &'static str = "pool";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        let x = inputs[0];
        expect::rank(Self::NAME, "x: reshape it to [N, D, H, W, C]", x, 5)?;
        expect::filled(Self::NAME, "x", x)?;
        let mut output = [x[0], 0, 0, 0, x[4]];
        for axis in 0..3 {
            let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
            let padding = self.padding[axis];
            expect::setting(Self::NAME, kernel > 0 && stride > 0 && 2 * padding <= kernel, || {
                format!(
                    "kernel {kernel}, stride {stride}, padding {padding}: give a kernel and a stride above 0 \
                     and a padding of at most half the kernel"
                )
            })?;
            let padded = x[axis + 1] + 2 * padding;
            expect::setting(Self::NAME, padded >= kernel, || {
                format!(
                    "kernel {:?} is larger than the padded x {x}: use a smaller one",
                    self.kernel
                )
            })?;
            output[axis + 1] = self.windows(axis, x[axis + 1]);
        }
        expect::setting(Self::NAME, !self.ceil || self.kind == PoolKind::Max, || {
            "ceil is not supported for averages; use it with PoolKind::Max only".into()
        })?;
        let pixels: usize = x[1..4].iter().product();
        expect::setting(Self::NAME, u32::try_from(pixels).is_ok(), || {
            format!("samples of x {x} have 2^32 pixels or more: split them")
        })?;
        let plan = Plan::new(Shape::from(output));
        Ok(match self.kind {
            PoolKind::Max => plan.saving_indices(Shape::from(output)),
            PoolKind::Average => plan,
        })
    }

    fn keep(&self) -> Keep {
        Keep::NOTHING
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let window = cpu::Window::new(self, call.shapes[0]);
        match (self.kind, call.saved_indices) {
            (PoolKind::Max, [places]) => window.max(call.inputs[0], call.output, places),
            _ => window.average(call.inputs[0], call.output),
        }
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let window = cpu::Window::new(self, call.shapes[0]);
        let Some(gradient) = &mut call.gradients[0] else { return };
        match self.kind {
            PoolKind::Max => window.grad_max(call.saved_indices[0], call.grad_output, gradient),
            PoolKind::Average => window.grad_average(call.grad_output, gradient),
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let taps: usize = self.kernel.iter().product();
        let input = inputs[0].count() as f64;
        let output = self.plan(inputs, &[]).map_or(0, |plan| plan.output.shape.count()) as f64;
        let saved = if self.kind == PoolKind::Max { output } else { 0.0 };
        Cost {
            forward_flops: taps as f64 * output,
            backward_flops: taps as f64 * output,
            forward_bytes: 4.0 * (input + output + saved),
            backward_bytes: 4.0 * (input + output + saved),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let pool =
            |kind, kernel, stride, padding| Pool { kind, kernel, stride, padding, ceil: false };
        let ceil = |kernel, stride, padding| Pool {
            ceil: true,
            ..pool(PoolKind::Max, kernel, stride, padding)
        };
        vec![
            // The poolings of ResNet stems and of MTCNN.
            Case::new(pool(PoolKind::Max, [1, 3, 3], [1, 2, 2], [0, 1, 1]), &[&[1, 1, 6, 5, 4]]),
            Case::new(pool(PoolKind::Max, [1, 2, 2], [1, 2, 2], [0; 3]), &[&[1, 1, 5, 5, 3]]),
            Case::new(ceil([1, 2, 2], [1, 2, 2], [0; 3]), &[&[2, 1, 5, 4, 3]]),
            Case::new(ceil([1, 3, 3], [1, 2, 2], [0, 1, 0]), &[&[1, 2, 6, 8, 4]]),
            Case::new(pool(PoolKind::Average, [2, 3, 3], [1, 2, 2], [1; 3]), &[&[1, 3, 4, 5, 2]]),
            Case::new(pool(PoolKind::Average, [1; 3], [2; 3], [0; 3]), &[&[2, 3, 2, 2, 1]]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let axis = || (1usize..4, 1usize..4, 0usize..2, 0usize..3);
        (any::<[bool; 2]>(), axis(), axis(), axis(), 1usize..3, 1usize..6)
            .prop_map(|([max, ceil], d, h, w, n, c)| {
                let axes = [d, h, w];
                let padding = axes.map(|(kernel, _, padding, _)| padding.min(kernel / 2));
                let kind = if max { PoolKind::Max } else { PoolKind::Average };
                let [d, h, w] = axes.map(|(kernel, _, _, more)| kernel + more);
                let op = Pool {
                    kind,
                    kernel: axes.map(|a| a.0),
                    stride: axes.map(|a| a.1),
                    padding,
                    ceil: ceil && max,
                };
                Case::new(op, &[&[n, d, h, w, c]])
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first_and_padding_is_never_chosen() {
        let op = Pool {
            kind: PoolKind::Max,
            kernel: [1, 1, 3],
            stride: [1; 3],
            padding: [0, 0, 1],
            ceil: false,
        };
        let window = cpu::Window::new(&op, Shape::new(&[1, 1, 1, 3, 1]));
        let (mut y, mut places) = ([f32::NAN; 3], [u32::MAX; 3]);
        window.max(&[-2.0, -2.0, f32::NEG_INFINITY], &mut y, &mut places);
        assert_eq!((y, places), ([-2.0; 3], [0, 0, 1]));
    }

    #[test]
    fn rounding_up_counts_windows_as_pytorch_does() {
        // (input, kernel, stride, padding) and max_pool1d's sizes with ceil_mode off and on.
        let known = [
            ((22, 3, 2, 0), 10, 11),
            ((23, 3, 2, 0), 11, 11),
            ((5, 2, 2, 0), 2, 3),
            ((4, 2, 2, 0), 2, 2),
            // The next window would start in the padding after the input, or beyond.
            ((5, 2, 3, 1), 2, 2),
            ((4, 2, 5, 0), 1, 1),
            ((7, 2, 4, 1), 2, 2),
            ((6, 3, 2, 1), 3, 4),
            ((2, 2, 3, 1), 1, 1),
        ];
        for ((input, kernel, stride, padding), down, up) in known {
            for (ceil, windows) in [(false, down), (true, up)] {
                let op = Pool {
                    kind: PoolKind::Max,
                    kernel: [1, 1, kernel],
                    stride: [1, 1, stride],
                    padding: [0, 0, padding],
                    ceil,
                };
                let plan = op.plan(&[Shape::new(&[1, 1, 1, input, 1])], &[]).unwrap();
                assert_eq!(plan.output.shape[3], windows, "{op:?} of {input}");
            }
        }
        let op = Pool {
            kind: PoolKind::Average,
            kernel: [1; 3],
            stride: [2; 3],
            padding: [0; 3],
            ceil: true,
        };
        assert!(op.plan(&[Shape::new(&[1, 2, 2, 2, 1])], &[]).is_err());
    }

    #[test]
    fn averages_count_the_padding() {
        let op = Pool {
            kind: PoolKind::Average,
            kernel: [1, 1, 2],
            stride: [1; 3],
            padding: [0, 0, 1],
            ceil: false,
        };
        let window = cpu::Window::new(&op, Shape::new(&[1, 1, 1, 2, 1]));
        let mut y = [f32::NAN; 3];
        window.average(&[2.0, 4.0], &mut y);
        assert_eq!(y, [1.0, 3.0, 2.0]);
    }
}
