//! Scatter-add of rows.

mod cuda;

use crate::cpu::parallel;
use crate::op::{Backward, Case, Cost, Forward, Gradient, Keep, Plan, expect};
use crate::ops::embedding::cpu as embedding;
use crate::{Error, Float, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// Row r of the output is the sum of the rows of x with index r, in the order of x; 0 if there are none. A row of x
/// with an index of [`rows`](ScatterRows::rows) or more, such as `u32::MAX`, is padding: it is ignored and has
/// gradient 0. The transpose of [`Embedding`](super::Embedding).
///
/// Input: x `[.., C]`. Indices: the shape of x without C. Output: `[rows, C]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScatterRows {
    /// The number of rows of the output.
    pub rows: usize,
}

impl Op for ScatterRows {
    const NAME: &'static str = "scatter_rows";

    fn plan(&self, inputs: &[Shape], indices: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 1)?;
        expect::arity(Self::NAME, indices, 1)?;
        let (x, numbers) = (inputs[0], indices[0]);
        expect::filled(Self::NAME, "x", x)?;
        if x.is_empty() {
            return Err(Error::Shape {
                op: Self::NAME,
                what: "x must have a feature axis; reshape it".into(),
                got: x,
                expected: "1 axis or more".into(),
            });
        }
        let what = format!("numbers must have the shape of x {x} without its last axis");
        expect::shape(Self::NAME, &what, numbers, &x[..x.len() - 1])?;
        expect::setting(Self::NAME, self.rows > 0, || "rows: give 1 or more".into())?;
        expect::setting(Self::NAME, u32::try_from(numbers.count()).is_ok(), || {
            format!("numbers {numbers} are 2^32 or more: split them")
        })?;
        Ok(Plan::new(Shape::new(&[self.rows, x.features()])))
    }

    fn keep(&self) -> Keep {
        Keep::NOTHING
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let mut sums = Gradient { data: call.output, add: false };
        embedding::backward(call.shapes[0].features(), call.indices[0], call.inputs[0], &mut sums);
    }

    fn backward<T: Float>(&self, mut call: Backward<'_, T>) {
        let Some(gradient) = &mut call.gradients[0] else { return };
        let (width, numbers) = (call.shapes[0].features(), call.indices[0]);
        if !gradient.add {
            return embedding::forward(width, call.grad_output, numbers, gradient.data);
        }
        parallel::rows(gradient.data, width, 2 * width, |first, gradient| {
            for (gradient, &number) in gradient.chunks_exact_mut(width).zip(&numbers[first..]) {
                if let Some(row) = call.grad_output.chunks_exact(width).nth(number as usize) {
                    gradient.iter_mut().zip(row).for_each(|(g, &dy)| *g += dy);
                }
            }
        });
    }

    fn cost(&self, inputs: &[Shape], indices: &[Shape]) -> Cost {
        let x = inputs[0].count() as f64;
        let numbers = indices.first().map_or(0, Shape::count) as f64;
        let output = (self.rows * inputs[0].features()) as f64;
        Cost {
            forward_flops: x,
            backward_flops: 0.0,
            forward_bytes: 4.0 * (x + numbers + output),
            backward_bytes: 4.0 * (2.0 * x + numbers),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |rows, x: &[usize], numbers: Vec<u32>| {
            Case::new(ScatterRows { rows }, &[x]).index(&x[..x.len() - 1], numbers)
        };
        vec![
            case(7, &[2, 4, 5], vec![0, 6, 3, 3, 3, 7, u32::MAX, 0]),
            case(1, &[1, 1], vec![0]),
            case(3, &[4], vec![2]),
            case(3, &[4, 150], vec![2, 0, 2, 1]),
            case(2, &[300, 3], (0..300).map(|i| i % 3).collect()),
        ]
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        (1usize..9, 1usize..20, 1usize..5, 1usize..9, any::<u32>())
            .prop_map(|(rows, c, n, t, seed)| {
                let number = |i: usize| (seed.wrapping_mul(i as u32 + 5) >> 9) % (rows as u32 + 1);
                let numbers = (0..n * t).map(number).collect();
                Case::new(ScatterRows { rows }, &[&[n, t, c]]).index(&[n, t], numbers)
            })
            .boxed()
    }
}
