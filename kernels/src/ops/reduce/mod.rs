//! Sums, means, maxima and log-sum-exps over any axes.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::walk::Walk;
use crate::{Float, MAX_RANK, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// The function of [`Reduce`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReduceKind {
    /// Σ x.
    Sum,
    /// Σ x / n, for n elements.
    Mean,
    /// The maximum of x; NaN if one of them is NaN. The gradient goes to the first maximum in index order.
    Max,
    /// ln Σ e^x, without overflow. If every x is -inf, it is -inf with gradient 0.
    LogSumExp,
}

/// Reduction over some axes.
///
/// Input: x, any shape. Output: the shape of x without the axes, or with extent 1 on them if `keep`, so that it
/// broadcasts against x in [`Arithmetic`](crate::ops::Arithmetic). If `axes` is empty, no elements are combined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reduce {
    /// The function.
    pub kind: ReduceKind,
    /// The axes to reduce, from 0, in any order, each at most once.
    pub axes: Vec<usize>,
    /// Whether the output keeps the axes with extent 1.
    pub keep: bool,
}

impl Reduce {
    /// A reduction over these axes, which are removed from the output.
    pub fn new(kind: ReduceKind, axes: &[usize]) -> Self {
        Reduce { kind, axes: axes.to_vec(), keep: false }
    }

    /// Keeps the reduced axes with extent 1.
    pub fn keeping(self) -> Self {
        Reduce { keep: true, ..self }
    }

    /// The walk over an x of this shape: operand 0 is x, operands 1 and 2 are the output. `target` is an operand.
    fn walk(&self, x: Shape, target: usize) -> Walk {
        let output = Walk::axes(x, |axis| self.axes.contains(&axis));
        Walk::new(x, [Walk::axes(x, |_| false), output, output], target)
    }

    /// The number of elements of x for each element of the output.
    fn terms(&self, x: Shape) -> usize {
        self.axes.iter().map(|&axis| x[axis]).product()
    }
}

impl Op for Reduce {
    const NAME: &'static str = "reduce";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        let x = inputs[0];
        expect::filled(Self::NAME, "x", x)?;
        let once = |(i, axis): (usize, &usize)| *axis < x.len() && !self.axes[..i].contains(axis);
        expect::setting(Self::NAME, self.axes.iter().enumerate().all(once), || {
            format!(
                "got axes {:?} of x {x}; give axes below {}, each at most once",
                self.axes,
                x.len()
            )
        })?;
        let (mut output, mut rank) = ([1; MAX_RANK], 0);
        for (axis, &extent) in x.iter().enumerate() {
            let goes = self.axes.contains(&axis);
            if self.keep || !goes {
                output[rank] = if goes { 1 } else { extent };
                rank += 1;
            }
        }
        Ok(Plan::new(Shape::new(&output[..rank])))
    }

    fn keep(&self) -> Keep {
        match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => Keep::NOTHING,
            ReduceKind::Max | ReduceKind::LogSumExp => Keep::INPUTS.and_output(),
        }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(self, call.shapes[0], call.inputs[0], call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        if let Some(gradient) = call.gradients[0].take() {
            let (x, y) = (call.inputs[0], call.output);
            cpu::backward(self, call.shapes[0], x, y, call.grad_output, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let count = inputs[0].count() as f64;
        let output = count / self.terms(inputs[0]) as f64;
        let (flops, reads) = match self.kind {
            ReduceKind::Sum | ReduceKind::Mean => (1.0, output),
            ReduceKind::Max => (1.0, count + 2.0 * output),
            ReduceKind::LogSumExp => (10.0, count + 2.0 * output),
        };
        Cost {
            forward_flops: flops * count,
            backward_flops: flops * count,
            forward_bytes: 4.0 * (count + output),
            backward_bytes: 4.0 * (reads + count),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let calls: [(&[usize], &[usize]); 13] = [
            (&[2, 3, 16], &[2]),
            (&[2, 3, 16], &[1]),
            (&[2, 3, 16], &[0]),
            (&[2, 3, 16], &[2, 0]),
            (&[2, 3, 16], &[0, 1, 2]),
            (&[2, 3, 16], &[]),
            (&[3, 2, 4, 5], &[1, 3]),
            (&[3, 2, 4, 5], &[0, 2]),
            (&[2, 3, 2, 3, 2, 3], &[0, 2, 4]),
            (&[3, 1], &[1]),
            (&[], &[]),
            (&[1100, 5], &[0]),
            (&[9000], &[0]),
        ];
        let of = |kind| {
            calls.map(|(x, axes)| {
                let op = Reduce::new(kind, axes);
                Case::new(if x.len() > 2 { op.keeping() } else { op }, &[x])
            })
        };
        KINDS.into_iter().flat_map(of).collect()
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let shape = proptest::collection::vec(1usize..6, 1..6);
        (proptest::sample::select(&KINDS[..]), shape, any::<u8>(), any::<bool>())
            .prop_map(|(kind, shape, bits, keep)| {
                let axes: Vec<usize> =
                    (0..shape.len()).filter(|axis| bits >> axis & 1 == 1).collect();
                Case::new(Reduce { kind, axes, keep }, &[&shape])
            })
            .boxed()
    }
}

const KINDS: [ReduceKind; 4] =
    [ReduceKind::Sum, ReduceKind::Mean, ReduceKind::Max, ReduceKind::LogSumExp];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Gradient;

    fn forward(op: &Reduce, shape: &[usize], x: &[f32]) -> Vec<f32> {
        let shape = Shape::new(shape);
        let mut y = vec![f32::NAN; op.plan(&[shape], &[]).unwrap().output.shape.count()];
        cpu::forward(op, shape, x, &mut y);
        y
    }

    #[test]
    fn the_first_of_equal_maxima_has_the_gradient() {
        let x = [2.0, 1.0, 3.0, 3.0, 2.0, 3.0];
        let calls: [(&[usize], &[f32], [f32; 6]); 3] = [
            (&[0], &[10.0, 20.0, 30.0], [0.0, 0.0, 30.0, 10.0, 20.0, 0.0]),
            (&[1], &[10.0, 20.0], [0.0, 0.0, 10.0, 20.0, 0.0, 0.0]),
            (&[1, 0], &[10.0], [0.0, 0.0, 10.0, 0.0, 0.0, 0.0]),
        ];
        for (axes, dy, expected) in calls {
            let op = Reduce::new(ReduceKind::Max, axes);
            let y = forward(&op, &[2, 3], &x);
            let mut gradient = [f32::NAN; 6];
            let target = Gradient { data: &mut gradient, add: false };
            cpu::backward(&op, Shape::new(&[2, 3]), &x, &y, dy, target);
            assert_eq!(gradient, expected, "axes {axes:?}");
        }
    }

    #[test]
    fn log_sum_exp_of_large_and_of_infinite_numbers() {
        const INFINITY: f32 = f32::INFINITY;
        let op = Reduce::new(ReduceKind::LogSumExp, &[1]);
        let x = [1000.0, 1000.0, -INFINITY, -INFINITY, INFINITY, 0.0, -2000.0, -INFINITY];
        let y = forward(&op, &[4, 2], &x);
        assert_eq!(y, [1000.0 + std::f32::consts::LN_2, -INFINITY, INFINITY, -2000.0]);
        let mut gradient = [f32::NAN; 4];
        let target = Gradient { data: &mut gradient, add: false };
        cpu::backward(&op, Shape::new(&[2, 2]), &x[..4], &y[..2], &[2.0, 5.0], target);
        // The f32 nearest to 1000 + ln 2 is off by up to 3.1e-5, and e^(x - y) with it.
        let close = |(found, expected): (&f32, f32)| (found - expected).abs() <= 3.2e-5;
        assert!(gradient.iter().zip([1.0, 1.0, 0.0, 0.0]).all(close), "{gradient:?}");
    }

    #[test]
    fn axes_that_are_not_there_are_errors() {
        let x = [Shape::new(&[2, 3])];
        assert!(Reduce::new(ReduceKind::Sum, &[0, 0]).plan(&x, &[]).is_err());
        assert!(Reduce::new(ReduceKind::Sum, &[2]).plan(&x, &[]).is_err());
        let kept = Reduce::new(ReduceKind::Sum, &[0]).keeping().plan(&x, &[]).unwrap();
        assert_eq!(kept.output.shape[..], [1, 3]);
    }
}
