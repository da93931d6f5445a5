//! Batched matrix products.

mod cpu;
mod cuda;

use crate::op::{Backward, Case, Cost, Forward, Keep, Plan, expect};
use crate::{Error, Float, MAX_RANK, Op, Result, Shape};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;

/// y = A·B for each element of a batch; each operand may be transposed.
///
/// Inputs: left `[.., M, K]`, or `[.., K, M]` if transposed; right `[.., K, N]`, or `[.., N, K]` if transposed. The
/// axes before the last two are the batch and must be equal, or one operand is a single matrix (no batch axes, or all
/// of size 1), which is shared. Output: `[.., M, N]`. The gradient of a shared matrix is summed in the batch's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matmul {
    /// Whether the left matrices are stored transposed, `[K, M]`.
    pub transpose_left: bool,
    /// Whether the right matrices are stored transposed, `[N, K]`.
    pub transpose_right: bool,
}

impl Matmul {
    /// A·B.
    pub const PLAIN: Matmul = Matmul { transpose_left: false, transpose_right: false };
    /// Aᵀ·B.
    pub const TRANSPOSE_LEFT: Matmul = Matmul { transpose_left: true, ..Matmul::PLAIN };
    /// A·Bᵀ.
    pub const TRANSPOSE_RIGHT: Matmul = Matmul { transpose_right: true, ..Matmul::PLAIN };

    /// The products of a call whose shapes `plan` accepted.
    fn products(self, shapes: &[Shape]) -> Products {
        let batches = [batch(shapes[0]), batch(shapes[1])].map(|b| b.iter().product::<usize>());
        let mut batch = batches[0].max(batches[1]);
        let stored = |operand, shape: Shape, count: usize, transpose: bool| {
            let [rows, columns] = [shape[shape.len() - 2], shape[shape.len() - 1]];
            let stride = if count == batch { rows * columns } else { 0 };
            let side = Side { operand, extents: [rows, columns], strides: [stride, columns, 1] };
            if transpose { side.transposed() } else { side }
        };
        let mut left = stored(Operand::Left, shapes[0], batches[0], self.transpose_left);
        let right = stored(Operand::Right, shapes[1], batches[1], self.transpose_right);
        let mut shared = batches.map(|count| count < batch);
        if !self.transpose_left && batches[1] == 1 {
            // The rows of all matrices times one shared matrix: one product.
            left.extents[0] *= batch;
            (batch, shared) = (1, [false; 2]);
        }
        let [rows, columns] = [left.extents[0], right.extents[1]];
        let output = Side {
            operand: Operand::GradOutput,
            extents: [rows, columns],
            strides: [rows * columns, columns, 1],
        };
        let product = |left, right, sum| Product { batch, left, right, sum };
        Products {
            forward: product(left, right, false),
            grad_left: if self.transpose_left {
                product(right, output.transposed(), shared[0])
            } else {
                product(output, right.transposed(), shared[0])
            },
            grad_right: if self.transpose_right {
                product(output.transposed(), left, shared[1])
            } else {
                product(left.transposed(), output, shared[1])
            },
        }
    }
}

/// The axes before the last two.
fn batch(shape: Shape) -> Shape {
    Shape::new(&shape[..shape.len() - 2])
}

/// The forward pass and both gradients, each as a product of two of the three buffers.
#[derive(Debug, Clone, Copy)]
struct Products {
    forward: Product,
    grad_left: Product,
    grad_right: Product,
}

/// A product for each batch element, or the sum of all products.
#[derive(Debug, Clone, Copy)]
struct Product {
    batch: usize,
    left: Side,
    right: Side,
    sum: bool,
}

impl Product {
    /// Rows, columns and depth.
    fn extents(&self) -> [usize; 3] {
        [self.left.extents[0], self.right.extents[1], self.left.extents[1]]
    }
}

/// The matrices of one operand: element (row, column) of matrix b is at b·strides\[0\] + row·strides\[1\] +
/// column·strides\[2\]. One of the last two strides is 1.
#[derive(Debug, Clone, Copy)]
struct Side {
    operand: Operand,
    extents: [usize; 2],
    strides: [usize; 3],
}

impl Side {
    fn transposed(self) -> Self {
        let ([rows, columns], [batch, row, column]) = (self.extents, self.strides);
        Side { extents: [columns, rows], strides: [batch, column, row], ..self }
    }
}

/// A buffer of the call.
#[derive(Debug, Clone, Copy)]
enum Operand {
    Left,
    Right,
    GradOutput,
}

impl Operand {
    /// Selects its buffer of the three.
    fn of<B: Copy>(self, [left, right, grad_output]: [B; 3]) -> B {
        match self {
            Operand::Left => left,
            Operand::Right => right,
            Operand::GradOutput => grad_output,
        }
    }
}

impl Op for Matmul {
    const NAME: &'static str = "matmul";

    fn plan(&self, inputs: &[Shape], _: &[Shape]) -> Result<Plan> {
        expect::arity(Self::NAME, inputs, 2)?;
        let (left, right) = (inputs[0], inputs[1]);
        for (what, shape) in [("left", left), ("right", right)] {
            expect::filled(Self::NAME, what, shape)?;
            if shape.len() < 2 {
                let what = format!("{what} must be [.., rows, columns]; reshape it");
                let expected = "2 axes or more".into();
                return Err(Error::Shape { op: Self::NAME, what, got: shape, expected });
            }
        }
        let matrix = |shape: Shape, transpose: bool| {
            let [rows, columns] = [shape[shape.len() - 2], shape[shape.len() - 1]];
            if transpose { [columns, rows] } else { [rows, columns] }
        };
        let [rows, depth] = matrix(left, self.transpose_left);
        let [right_depth, columns] = matrix(right, self.transpose_right);
        let (left_batch, right_batch) = (batch(left), batch(right));
        let refused = |what: &str, expected: String| {
            let what = format!("right must {what} left {left}, for {self:?}; reshape or permute");
            Err(Error::Shape { op: Self::NAME, what, got: right, expected })
        };
        if depth != right_depth {
            return refused("have the depth K of", format!("K = {depth}, found {right_depth}"));
        }
        let shared = |batch: Shape| batch.count() == 1;
        if left_batch != right_batch && !shared(left_batch) && !shared(right_batch) {
            return refused("have the batch of", format!("batch {left_batch}, or one matrix"));
        }
        let longer = right_batch.len() > left_batch.len();
        let batch = match (shared(left_batch), shared(right_batch)) {
            (true, true) if longer => right_batch,
            (true, false) => right_batch,
            _ => left_batch,
        };
        let mut output = [1; MAX_RANK];
        let rank = batch.len() + 2;
        output[..batch.len()].copy_from_slice(&batch);
        output[rank - 2..rank].copy_from_slice(&[rows, columns]);
        Ok(Plan::new(Shape::new(&output[..rank])))
    }

    fn keep(&self) -> Keep {
        Keep::INPUTS
    }

    fn forward<T: Float>(&self, call: Forward<'_, T>) {
        let product = self.products(call.shapes).forward;
        cpu::multiply(&product, call.inputs[0], call.inputs[1], call.output, false);
    }

    fn backward<T: Float>(&self, call: Backward<'_, T>) {
        let products = self.products(call.shapes);
        let buffers = [call.inputs[0], call.inputs[1], call.grad_output];
        for (gradient, product) in
            call.gradients.into_iter().zip([products.grad_left, products.grad_right])
        {
            let Some(gradient) = gradient else { continue };
            let (left, right) = (product.left.operand, product.right.operand);
            let (left, right) = (left.of(buffers), right.of(buffers));
            cpu::multiply(&product, left, right, gradient.data, gradient.add);
        }
    }

    fn cost(&self, inputs: &[Shape], _: &[Shape]) -> Cost {
        let product = self.products(inputs).forward;
        let [rows, columns, depth] = product.extents();
        let written = (product.batch * rows * columns) as f64;
        let read = inputs.iter().map(Shape::count).sum::<usize>() as f64;
        let flops = 2.0 * written * depth as f64;
        Cost {
            forward_flops: flops,
            backward_flops: 2.0 * flops,
            forward_bytes: 4.0 * (read + written),
            backward_bytes: 4.0 * (2.0 * read + written),
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let both = Matmul { transpose_left: true, transpose_right: true };
        let ways = [Matmul::PLAIN, Matmul::TRANSPOSE_LEFT, Matmul::TRANSPOSE_RIGHT, both];
        let mut cases = Vec::new();
        for op in ways {
            cases.push(make(op, [&[2, 3], &[2, 3]], [5, 17, 9]));
            // One shared matrix, on either side.
            cases.push(make(op, [&[], &[3]], [26, 4, 7]));
            cases.push(make(op, [&[4], &[1]], [3, 6, 5]));
            // Too large for one task; several tiles along every axis.
            cases.push(make(op, [&[2], &[2]], [70, 90, 85]));
            cases.push(make(op, [&[], &[2]], [70, 90, 85]));
        }
        // Covariances: a sum over many rows in slices, and slices that cross the ends of matrices.
        cases.push(make(Matmul::TRANSPOSE_LEFT, [&[], &[]], [3, 4, 2500]));
        cases.push(make(both, [&[], &[5]], [3, 900, 2]));
        cases.push(make(Matmul::PLAIN, [&[1, 1], &[1]], [1, 1, 1]));
        cases
    }

    fn ragged() -> BoxedStrategy<Case<Self>> {
        let extents = [1usize..30, 1usize..30, 1usize..20];
        (any::<bool>(), any::<bool>(), 0usize..4, [1usize..3, 1usize..4], extents)
            .prop_map(|(transpose_left, transpose_right, shared, batch, extents)| {
                let batches: [&[usize]; 2] = match shared {
                    0 => [&batch, &batch],
                    1 => [&batch, &[]],
                    2 => [&[], &batch],
                    _ => [&batch, &[1, 1]],
                };
                make(Matmul { transpose_left, transpose_right }, batches, extents)
            })
            .boxed()
    }
}

/// A case with these batches, M, N and K.
fn make(op: Matmul, batches: [&[usize]; 2], [m, n, k]: [usize; 3]) -> Case<Matmul> {
    let left = if op.transpose_left { [k, m] } else { [m, k] };
    let right = if op.transpose_right { [n, k] } else { [k, n] };
    let sides = [[batches[0], &left].concat(), [batches[1], &right].concat()];
    Case::new(op, &[&sides[0], &sides[1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(op: Matmul, left: &[usize], right: &[usize]) -> Result<Shape> {
        op.plan(&[Shape::new(left), Shape::new(right)], &[]).map(|plan| plan.output.shape)
    }

    /// Products of many blocks and slices, of many matrices in one task, and sums over the batch.
    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let both = Matmul { transpose_left: true, transpose_right: true };
        for (op, left, right) in [
            (Matmul::PLAIN, [2, 300, 200], [2, 200, 150]),
            (Matmul::TRANSPOSE_LEFT, [1, 5000, 40], [1, 5000, 50]),
            (both, [30, 20, 50], [1, 60, 20]),
            (both, [3, 200, 150], [1, 100, 200]),
        ] {
            let shapes = [Shape::from(left), Shape::from(right)];
            let numbers = |shape: Shape, stream| {
                let stream = crate::philox::Philox::new(5, stream);
                (0..shape.count()).map(|i| stream.normal(i as u64) as f32).collect::<Vec<f32>>()
            };
            let (left, right) = (numbers(shapes[0], "left"), numbers(shapes[1], "right"));
            let grad_output = numbers(op.plan(&shapes, &[]).unwrap().output.shape, "grad_output");
            let products = op.products(&shapes);
            let run = || {
                [products.forward, products.grad_left, products.grad_right].map(|product| {
                    let buffers = [&left[..], &right, &grad_output];
                    let [rows, columns, _] = product.extents();
                    let count = if product.sum { 1 } else { product.batch };
                    let mut to = vec![f32::NAN; count * rows * columns];
                    let (a, b) =
                        (product.left.operand.of(buffers), product.right.operand.of(buffers));
                    cpu::multiply(&product, a, b, &mut to, false);
                    to
                })
            };
            let with = |threads: usize| {
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
            };
            let one = with(1);
            for threads in [2, 3] {
                assert!(one == with(threads), "{threads} threads differ for {op:?} on {shapes:?}");
            }
        }
    }

    #[test]
    fn batches_are_equal_or_one() {
        let output = |left, right| plan(Matmul::PLAIN, left, right).unwrap();
        assert_eq!(output(&[2, 3, 4, 5], &[2, 3, 5, 6])[..], [2, 3, 4, 6]);
        assert_eq!(output(&[2, 3, 4, 5], &[5, 6])[..], [2, 3, 4, 6]);
        assert_eq!(output(&[1, 4, 5], &[2, 3, 5, 6])[..], [2, 3, 4, 6]);
        assert_eq!(output(&[4, 5], &[1, 5, 6])[..], [1, 4, 6]);
        assert!(plan(Matmul::PLAIN, &[2, 3, 4, 5], &[3, 5, 6]).is_err());
        assert!(plan(Matmul::PLAIN, &[6, 4, 5], &[2, 3, 5, 6]).is_err());
    }

    #[test]
    fn errors_say_both_shapes() {
        let error = plan(Matmul::PLAIN, &[4, 5], &[6, 5]).unwrap_err().to_string();
        assert!(error.contains("[4, 5]") && error.contains("[6, 5]"), "{error}");
        assert_eq!(plan(Matmul::TRANSPOSE_RIGHT, &[4, 5], &[6, 5]).unwrap()[..], [4, 6]);
        assert!(plan(Matmul::PLAIN, &[5], &[5, 6]).is_err());
        assert!(plan(Matmul::PLAIN, &[0, 5], &[5, 6]).is_err());
    }
}
