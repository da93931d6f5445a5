//! Batch norm, fused with an optional residual and ReLU.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Input, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The source of the mean and the variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// Computed from the batch, for training. Gradients flow through them.
    Batch,
    /// Given as two more inputs, such as running averages, for evaluation.
    Given,
}

/// (x - mean) / sqrt(variance + epsilon) * weight + bias for each channel, over all other axes (Ioffe & Szegedy
/// 2015), then optionally + residual and ReLU. The variance is the biased one.
///
/// Inputs: x; weight `[C]`; bias `[C]`; with [`Statistics::Given`] mean `[C]` and variance `[C]`; with `residual` a
/// residual of x's shape. Output: the shape of x. Saved with [`Statistics::Batch`]: mean `[C]` and biased variance
/// `[C]`, from which the caller updates running averages (PyTorch's use the unbiased variance * n / (n - 1), with
/// n = x's count / C). With [`Statistics::Given`] nothing is saved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance; above 0.
    pub epsilon: f64,
    /// The source of mean and variance.
    pub statistics: Statistics,
    /// Whether ReLU is applied at the end.
    pub relu: bool,
    /// Whether a residual is added before the ReLU.
    pub residual: bool,
    /// The axis of the channels; `None` means the last. MPUC's landmark network uses the nodes V of `[N, T, V, C]`.
    pub axis: Option<usize>,
}

impl BatchNorm {
    /// Statistics of the batch, epsilon 1e-5 (PyTorch's default), channels last, no residual and no ReLU.
    pub const TRAIN: BatchNorm = BatchNorm {
        epsilon: 1e-5,
        statistics: Statistics::Batch,
        relu: false,
        residual: false,
        axis: None,
    };

    fn axis_in(&self, x: Shape) -> usize {
        self.axis.unwrap_or(x.len().saturating_sub(1))
    }

    fn layout(&self, x: Shape) -> cpu::Layout {
        let axis = self.axis_in(x);
        cpu::Layout { channels: x[axis], inner: x[axis + 1..].iter().product() }
    }

    fn residual_position(&self) -> usize {
        if self.statistics == Statistics::Given { 5 } else { 3 }
    }

    fn settings(&self) -> cpu::Settings {
        cpu::Settings { epsilon: self.epsilon, relu: self.relu, residual: self.residual }
    }
}

impl Op for BatchNorm {
    const NAME: &'static str = "batch_norm";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        let given = self.statistics == Statistics::Given;
        let arity = self.residual_position() + usize::from(self.residual);
        expect::arity(Self::NAME, inputs, arity)?;
        let x = inputs[0];
        expect::filled(Self::NAME, "x", x)?;
        let axis = self.axis_in(x);
        expect::setting(Self::NAME, axis < x.len(), || {
            format!("got axis {axis} for x {x}; give one that x has")
        })?;
        expect::setting(Self::NAME, self.epsilon > 0.0, || {
            format!("got epsilon {}; give one above 0", self.epsilon)
        })?;
        let channels = [x[axis]];
        let names = ["weight", "bias", "mean", "variance"];
        for (what, &shape) in names.into_iter().zip(&inputs[1..self.residual_position()]) {
            let what =
                format!("{what} for axis {axis} of x {x}: give one element for each channel");
            expect::shape(Self::NAME, &what, shape, &channels)?;
        }
        if self.residual {
            let what = "residual: give it the shape of x";
            expect::shape(Self::NAME, what, inputs[self.residual_position()], &x)?;
        }
        let channels = Shape::from(channels);
        Ok(if given { Plan::new(x) } else { Plan::saving(x, vec![channels, channels]) })
    }

    fn keep(&self) -> Keep {
        // Without a residual the ReLU's mask follows from x.
        let inputs = match self.statistics {
            Statistics::Batch => Keep::inputs(&[0, 1, 2]),
            Statistics::Given => Keep::inputs(&[0, 1, 2, 3, 4]),
        };
        if self.relu && self.residual { inputs.and_output() } else { inputs }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let layout = self.layout(call.shapes[0]);
        let x = call.inputs[0];
        let residual = if self.residual { call.inputs[self.residual_position()] } else { x };
        let (mean, variance): (&[T], &[T]) = match self.statistics {
            Statistics::Given => (call.inputs[3], call.inputs[4]),
            Statistics::Batch => {
                let [mean, variance] = call.saved else { return };
                cpu::statistics(layout, x, mean, variance);
                (mean, variance)
            }
        };
        let channel = cpu::Channel { weight: call.inputs[1], bias: call.inputs[2], mean, variance };
        cpu::apply(self.settings(), layout, channel, x, residual, call.output);
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        let layout = self.layout(call.shapes[0]);
        let given = self.statistics == Statistics::Given;
        let (mean, variance) = match given {
            true => (call.inputs[3], call.inputs[4]),
            false => (call.saved[0], call.saved[1]),
        };
        let channel = cpu::Channel { weight: call.inputs[1], bias: call.inputs[2], mean, variance };
        let mut gradients = call.gradients.into_iter();
        let mut next = || gradients.next().flatten();
        let targets = cpu::Targets {
            x: next(),
            weight: next(),
            bias: next(),
            mean: if given { next() } else { None },
            variance: if given { next() } else { None },
            residual: next(),
        };
        let sources = cpu::Sources { x: call.inputs[0], y: call.output, dy: call.grad_output };
        cpu::backward(self.settings(), layout, channel, sources, !given, targets);
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let batch = self.statistics == Statistics::Batch;
        let count = inputs[0].count() as f64;
        let extra = f64::from(u8::from(self.relu)) + f64::from(u8::from(self.residual));
        let residual = if self.residual { count } else { 0.0 };
        // With statistics of the batch, x and the gradient of the output are read twice in each pass.
        let passes = if batch { 2.0 } else { 1.0 };
        let mask = if self.relu && self.residual { passes * count } else { 0.0 };
        Cost {
            forward_flops: count * (3.0 + extra + if batch { 4.0 } else { 0.0 }),
            backward_flops: count * (6.0 + extra + if batch { 4.0 } else { 0.0 }),
            forward_bytes: 4.0 * (count * (passes + 1.0) + residual),
            backward_bytes: 4.0 * (count * (2.0 * passes + 1.0) + mask + residual),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let train = BatchNorm::TRAIN;
        let block = BatchNorm { relu: true, residual: true, ..train };
        let given = |op| BatchNorm { statistics: Statistics::Given, ..op };
        vec![
            case(train, &[2, 2, 3, 3, 16]),
            case(BatchNorm { relu: true, ..train }, &[2, 2, 3, 3, 5]),
            case(block, &[2, 13, 45]),
            case(given(block), &[7, 3]),
            case(given(BatchNorm { relu: true, ..train }), &[2, 3, 4]),
            case(given(train), &[1, 1]),
            case(BatchNorm { axis: Some(2), ..train }, &[2, 6, 5, 4]),
            case(BatchNorm { axis: Some(2), relu: true, ..given(train) }, &[2, 6, 5, 4]),
            case(BatchNorm { axis: Some(0), ..block }, &[3, 7]),
            case(BatchNorm { residual: true, ..train }, &[300, 2]),
            case(train, &[4, 300]),
            case(block, &[1100, 5]),
            case(BatchNorm { axis: Some(1), ..train }, &[150, 3, 40]),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let settings = (any::<bool>(), any::<bool>(), any::<bool>(), 0usize..4);
        (settings, 2usize..9, 1usize..9, 1usize..9)
            .prop_map(|((given, relu, residual, axis), n, t, c)| {
                let statistics = if given { Statistics::Given } else { Statistics::Batch };
                let axis = (axis < 3).then_some(axis);
                case(BatchNorm { epsilon: 1e-3, statistics, relu, residual, axis }, &[n, t, c])
            })
            .boxed()
    }
}

/// A case on an x of this shape.
fn case(op: BatchNorm, x: &[usize]) -> Case<BatchNorm> {
    let channels = [op.layout(Shape::new(x)).channels];
    let mut inputs = vec![Input::normal(x), Input::normal(&channels), Input::normal(&channels)];
    if op.statistics == Statistics::Given {
        inputs.push(Input::normal(&channels));
        inputs.push(Input::uniform(&channels, 0.5, 2.0));
    }
    if op.residual {
        inputs.push(Input::normal(x));
    }
    Case { op, inputs, indices: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::philox::Philox;

    /// Statistics in f32 against f64, with a mean of a thousand standard deviations.
    #[test]
    fn a_far_mean_loses_no_digits() {
        for (rows, channels) in [(100_003, 3), (5_000, 45), (997, 64), (700, 300), (1, 8)] {
            let normal = Philox::new(3, "far");
            let count = rows * channels;
            let x: Vec<f32> = (0..count).map(|i| 1000.0 + normal.normal(i as u64) as f32).collect();
            let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            let (mut mean, mut variance) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
            let layout = cpu::Layout { channels, inner: 1 };
            cpu::statistics(layout, &x, &mut mean, &mut variance);
            for c in 0..channels {
                let column = || wide[c..].iter().step_by(channels);
                let exact = column().sum::<f64>() / rows as f64;
                let spread = column().map(|x| (x - exact).powi(2)).sum::<f64>() / rows as f64;
                assert!((f64::from(mean[c]) - exact).abs() < 1e-4, "{} {exact}", mean[c]);
                let error = (f64::from(variance[c]) - spread).abs();
                assert!(error <= 2e-6 * spread, "{} {spread} of {rows}", variance[c]);
            }
        }
    }

    #[test]
    fn an_axis_that_x_lacks_is_an_error() {
        let op = BatchNorm { axis: Some(2), ..BatchNorm::TRAIN };
        let channels = Shape::new(&[4]);
        assert!(op.plan(&[Shape::new(&[3, 4]), channels, channels], &[]).is_err());
    }
}
