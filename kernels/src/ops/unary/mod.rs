//! Elementwise elementary functions: exponential, logarithm, square root and others.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Input, Keep, Plan, expect};
use crate::{Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// An elementary function of each element. Outside its domain it gives NaN or infinity, as in IEEE 754. The
/// nonlinearities of networks are in [`Activation`](crate::ops::Activation).
///
/// Input: x, any shape. Output: the shape of x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// e^x.
    Exp,
    /// ln x, for x > 0.
    Log,
    /// √x, for x ≥ 0; its gradient at 0 is infinite.
    Sqrt,
    /// x².
    Square,
    /// |x|; its gradient at 0 is 0.
    Abs,
    /// -x.
    Negate,
    /// 1 / x, for x ≠ 0.
    Reciprocal,
    /// ln(1 + e^x), without overflow.
    Softplus,
    /// min(max(x, low), high). Its gradient is 1 for low <= x <= high, otherwise 0.
    Clamp {
        /// The lower bound.
        low: f64,
        /// The upper bound, at least `low`.
        high: f64,
    },
}

use Unary::{Abs, Clamp, Exp, Log, Negate, Reciprocal, Softplus, Sqrt, Square};

const KINDS: [Unary; 9] =
    [Exp, Log, Sqrt, Square, Abs, Negate, Reciprocal, Softplus, Clamp { low: -0.5, high: 0.75 }];

impl Op for Unary {
    const NAME: &'static str = "unary";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        if let Clamp { low, high } = *self {
            expect::setting(Self::NAME, low <= high, || {
                format!("clamp: got low {low} and high {high}; give bounds with low <= high")
            })?;
        }
        Ok(Plan::new(inputs[0]))
    }

    fn keep(&self) -> Keep {
        match self {
            Exp | Sqrt | Reciprocal => Keep::OUTPUT,
            Log | Square | Abs | Softplus | Clamp { .. } => Keep::INPUTS,
            Negate => Keep::NOTHING,
        }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        cpu::forward(*self, call.inputs[0], call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let kept = if self.keep().output { call.output } else { call.inputs[0] };
        if let Some(gradient) = call.gradients[0].take() {
            cpu::backward(*self, kept, call.grad_output, gradient);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let flops = match self {
            Exp | Log | Softplus => 8.0,
            _ => 1.0,
        };
        Cost::elementwise(inputs, inputs[0], flops)
    }

    fn cases() -> Vec<Case<Self>> {
        let shapes: [&[usize]; 3] = [&[2, 3, 16], &[1], &[]];
        KINDS.into_iter().flat_map(|op| shapes.map(|shape| case(op, shape))).collect()
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (proptest::sample::select(&KINDS[..]), 1usize..4, 1usize..40)
            .prop_map(|(op, rows, features)| case(op, &[rows, features]))
            .boxed()
    }
}

/// A case with numbers in the domain.
fn case(op: Unary, shape: &[usize]) -> Case<Unary> {
    let case = Case::new(op, &[shape]);
    match op {
        Log | Sqrt | Reciprocal => case.input(0, Input::uniform(shape, 0.25, 3.0)),
        _ => case,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Gradient;

    #[test]
    fn corners() {
        let y = |op, x: f32| {
            let mut y = [f32::NAN];
            cpu::forward(op, &[x], &mut y);
            y[0]
        };
        assert_eq!(y(Softplus, 1000.0), 1000.0);
        assert_eq!(y(Softplus, -1000.0), 0.0);
        assert_eq!(y(Log, 0.0), f32::NEG_INFINITY);
        let clamp = Clamp { low: -1.0, high: 2.0 };
        assert_eq!([-3.0, 0.5, 7.0].map(|x| y(clamp, x)), [-1.0, 0.5, 2.0]);
        assert!(y(clamp, f32::NAN).is_nan() && y(Sqrt, -1.0).is_nan());
        assert!(Clamp { low: 1.0, high: 0.0 }.plan(&[Shape::SCALAR], &[]).is_err());

        let slope = |op, kept: f32| {
            let mut gradient = [f32::NAN];
            cpu::backward(op, &[kept], &[3.0], Gradient { data: &mut gradient, add: false });
            gradient[0]
        };
        assert_eq!([-1.0, 0.0, 2.0].map(|x| slope(Abs, x)), [-3.0, 0.0, 3.0]);
        assert_eq!([-1.0, 2.0, 2.5].map(|x| slope(clamp, x)), [3.0, 3.0, 0.0]);
    }
}
