//! Sums, differences, products, quotients, maxima and comparisons of two tensors.

mod cpu;
mod cuda;
mod plain;

use crate::op::{Backward, Case, Cost, Forward, Input, Keep, Plan, Values, expect};
use crate::walk::Walk;
use crate::{Error, Float, MAX_RANK, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Elementwise operations of a and b with NumPy's broadcasting: missing leading axes count as 1, and an axis of
/// extent 1 is repeated. The gradient of a broadcast operand is summed over the repetitions.
///
/// Inputs: a, b. Output: on each axis the larger extent of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// a + b.
    Add,
    /// a - b.
    Subtract,
    /// a * b.
    Multiply,
    /// a / b. Division by 0 gives infinity or NaN, as in IEEE 754.
    Divide,
    /// max(a, b). If they are equal, a has the gradient.
    Maximum,
    /// min(a, b). If they are equal, a has the gradient.
    Minimum,
    /// 1 where a > b, else 0. Its gradients are 0.
    Greater,
    /// 1 where a < b, else 0. Its gradients are 0.
    Less,
    /// 1 where a = b, else 0. Its gradients are 0.
    Equal,
}

use Arithmetic::{Add, Divide, Equal, Greater, Less, Maximum, Minimum, Multiply, Subtract};

const KINDS: [Arithmetic; 9] =
    [Add, Subtract, Multiply, Divide, Maximum, Minimum, Greater, Less, Equal];

impl Arithmetic {
    /// Whether b is broadcast over leading axes of a only: sums, differences and products have special loops for it.
    fn is_plain(self, a: Shape, b: Shape) -> bool {
        matches!(self, Add | Subtract | Multiply) && a.ends_with(&b)
    }

    /// The loops over the output, which is operand 0; a and b are operands 1 and 2.
    fn walk(a: Shape, b: Shape, target: usize) -> Walk {
        let output = broadcast(a, b);
        let axes = |x: Shape| {
            let missing = output.len() - x.len();
            Walk::axes(output, |axis| axis < missing || x[axis - missing] < output[axis])
        };
        Walk::new(output, [Walk::axes(output, |_| false), axes(a), axes(b)], target)
    }
}

/// The larger extent on each axis, counted from the last.
fn broadcast(a: Shape, b: Shape) -> Shape {
    let rank = a.len().max(b.len());
    let extent = |x: Shape, axis: usize| (axis + x.len()).checked_sub(rank).map_or(1, |i| x[i]);
    let mut output = [1; MAX_RANK];
    for (axis, to) in output[..rank].iter_mut().enumerate() {
        *to = extent(a, axis).max(extent(b, axis));
    }
    Shape::new(&output[..rank])
}

impl Op for Arithmetic {
    const NAME: &'static str = "arithmetic";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2)?;
        let (a, b) = (inputs[0], inputs[1]);
        expect::filled(Self::NAME, "a", a)?;
        expect::filled(Self::NAME, "b", b)?;
        let fits = |(&a, &b): (&usize, &usize)| a == b || a == 1 || b == 1;
        if !a.iter().rev().zip(b.iter().rev()).all(fits) {
            return Err(Error::Shape {
                op: Self::NAME,
                what: format!(
                    "b for a {a}: shapes broadcast from the last axis; reshape one of them"
                ),
                got: b,
                expected: "equal extents, or 1 in a or b, on each axis".into(),
            });
        }
        Ok(Plan::new(broadcast(a, b)))
    }

    fn keep(&self) -> Keep {
        match self {
            Multiply | Divide | Maximum | Minimum => Keep::INPUTS,
            Add | Subtract | Greater | Less | Equal => Keep::NOTHING,
        }
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let (a, b) = (call.inputs[0], call.inputs[1]);
        if self.is_plain(call.shapes[0], call.shapes[1]) {
            return plain::forward(*self, a, b, call.output);
        }
        let walk = Arithmetic::walk(call.shapes[0], call.shapes[1], 0);
        cpu::forward(*self, &walk, a, b, call.output);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let (a, b, dy) = (call.inputs[0], call.inputs[1], call.grad_output);
        let plain = self.is_plain(call.shapes[0], call.shapes[1]);
        if let Some(mut gradient) = call.gradients[0].take() {
            if plain {
                plain::grad_first(*self, b, dy, &mut gradient);
            } else {
                let walk = Arithmetic::walk(call.shapes[0], call.shapes[1], 1);
                cpu::gradient(*self, Side::First, &walk, [dy, a, b], gradient);
            }
        }
        if let Some(mut gradient) = call.gradients[1].take() {
            if plain {
                plain::grad_second(*self, a, dy, &mut gradient);
            } else {
                let walk = Arithmetic::walk(call.shapes[0], call.shapes[1], 2);
                cpu::gradient(*self, Side::Second, &walk, [dy, a, b], gradient);
            }
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        Cost::elementwise(inputs, broadcast(inputs[0], inputs[1]), 1.0)
    }

    fn cases() -> Vec<Case<Self>> {
        let plain: [[&[usize]; 2]; 8] = [
            [&[2, 3, 16], &[2, 3, 16]],
            [&[2, 3, 16], &[3, 16]],
            [&[2, 3, 16], &[16]],
            [&[2, 3, 16], &[]],
            [&[300, 1], &[1]],
            [&[], &[]],
            [&[1100, 5], &[5]],
            [&[9000], &[]],
        ];
        let broadcast: [[&[usize]; 2]; 8] = [
            [&[2, 3, 16], &[2, 3, 16]],
            [&[2, 3, 16], &[2, 3, 1]],
            [&[2, 3, 16], &[2, 1, 16]],
            [&[2, 1, 16], &[3, 1]],
            [&[5, 1], &[1, 7]],
            [&[16], &[2, 3, 16]],
            [&[3, 1, 2, 1, 2, 1], &[1, 2, 1, 3, 1, 2]],
            [&[], &[]],
        ];
        // Gradients that are sums of many terms.
        let long: [[&[usize]; 2]; 2] = [[&[1], &[9000]], [&[1, 5], &[1100, 5]]];
        let [add, subtract, multiply] =
            [Add, Subtract, Multiply].map(|op| plain.map(|shapes| case(op, &shapes)));
        let others = KINDS.into_iter().flat_map(|op| broadcast.map(|shapes| case(op, &shapes)));
        let long = [Multiply, Divide].into_iter().flat_map(|op| long.map(|s| case(op, &s)));
        [add, subtract, multiply].into_iter().flatten().chain(others).chain(long).collect()
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let shape = proptest::collection::vec(1usize..8, 0..5);
        (proptest::sample::select(&KINDS[..]), shape, any::<[u8; 2]>(), any::<[u8; 2]>())
            .prop_map(|(op, shape, ones, cuts)| {
                let side = |k: usize| -> Vec<usize> {
                    let one = |axis: usize| ones[k] >> axis & 1 == 1;
                    let all = shape.iter().enumerate();
                    let cut = usize::from(cuts[k]) % (shape.len() + 1);
                    all.map(|(axis, &n)| if one(axis) { 1 } else { n }).skip(cut).collect()
                };
                case(op, &[&side(0), &side(1)])
            })
            .boxed()
    }
}

/// A case without numbers at which the operation has no derivative.
fn case(op: Arithmetic, shapes: &[&[usize]; 2]) -> Case<Arithmetic> {
    let case = Case::new(op, shapes);
    match op {
        Divide => case.input(1, Input::uniform(shapes[1], 0.5, 2.0)),
        Equal => case
            .input(0, Input::constant(shapes[0], Values::Bits))
            .input(1, Input::constant(shapes[1], Values::Bits)),
        _ => case,
    }
}

/// One of the two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Gradient;

    #[test]
    fn shapes_broadcast_from_the_last_axis() {
        let plan = |a: &[usize], b: &[usize]| Add.plan(&[Shape::new(a), Shape::new(b)], &[]);
        assert_eq!(plan(&[2, 1, 4], &[3, 1]).unwrap().output.shape[..], [2, 3, 4]);
        assert_eq!(plan(&[], &[3]).unwrap().output.shape[..], [3]);
        let error = plan(&[2, 3], &[2]).unwrap_err().to_string();
        assert!(error.contains("[2, 3]") && error.contains("[2]"), "{error}");
    }

    #[test]
    fn comparisons_of_equal_numbers_and_nan() {
        let (a, b) = ([1.0f32, 2.0, 2.0, f32::NAN], [2.0f32, 1.0, 2.0, 1.0]);
        let walk = Arithmetic::walk(Shape::new(&[4]), Shape::new(&[4]), 0);
        for (op, expected) in [
            (Greater, [0.0, 1.0, 0.0, 0.0]),
            (Less, [1.0, 0.0, 0.0, 0.0]),
            (Equal, [0.0, 0.0, 1.0, 0.0]),
        ] {
            let mut y = [f32::NAN; 4];
            cpu::forward(op, &walk, &a, &b, &mut y);
            assert_eq!(y, expected, "{op:?}");
        }
        let mut y = [0.0f32; 4];
        cpu::forward(Maximum, &walk, &a, &b, &mut y);
        assert!(y[..3] == [2.0; 3] && y[3].is_nan(), "{y:?}");
    }

    #[test]
    fn equal_numbers_give_the_gradient_to_the_first() {
        let walk = |target| Arithmetic::walk(Shape::new(&[2]), Shape::new(&[2]), target);
        for (op, first) in [(Maximum, [5.0, 0.0]), (Minimum, [5.0, 7.0])] {
            for (side, target) in [(Side::First, 1), (Side::Second, 2)] {
                let mut gradient = [f32::NAN; 2];
                let to = Gradient { data: &mut gradient, add: false };
                cpu::gradient(op, side, &walk(target), [&[5.0, 7.0], &[1.0, 2.0], &[1.0, 3.0]], to);
                let second = [5.0 - first[0], 7.0 - first[1]];
                assert_eq!(gradient, if side == Side::First { first } else { second }, "{op:?}");
            }
        }
    }
}
