//! The ops as methods of tensors. Shapes and definitions are documented in [`kernels::ops`]. Every method returns an
//! error when the op does not accept the shapes.

use super::{Applied, Tensor};
use crate::tape::{Step, Tape};
use crate::{Error, Philox, Result};
use kernels::Shape;
use kernels::ops::*;

impl Applied {
    /// The output alone.
    pub fn into_output(self) -> Tensor {
        self.output
    }
}

fn one<O: kernels::op::Compiled>(op: O, inputs: &[&Tensor], indices: &[&Tensor]) -> Result<Tensor> {
    Tensor::apply(op, inputs, indices).map(Applied::into_output)
}

/// The inputs, and the optional one if it is given.
fn with<'a>(inputs: &[&'a Tensor], optional: Option<&'a Tensor>) -> Vec<&'a Tensor> {
    inputs.iter().copied().chain(optional).collect()
}

#[allow(clippy::missing_errors_doc, reason = "said once, at the top of the file")]
impl Tensor {
    /// The extents of a tensor that must have `N` axes; `what` is the caller's name in the error.
    pub fn extents<const N: usize>(&self, what: &'static str) -> Result<[usize; N]> {
        let shape = self.shape();
        let refused = |_| kernels::Error::Shape {
            op: what,
            what: "input".into(),
            got: shape,
            expected: format!("{N} axes"),
        };
        Ok(shape[..].try_into().map_err(refused)?)
    }

    /// The same elements with another shape of equal count. Nothing is copied.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        let shape = Shape::new(shape);
        if shape.count() != self.count() {
            return Err(Error::Count {
                what: "Tensor::reshape",
                got: self.count(),
                expected: shape,
            });
        }
        let out = self.reshaped(shape);
        match Tape::of(&[self])? {
            None => Ok(out),
            Some(tape) => tape.record(&[self], out, Step::Reshape(self.shape())),
        }
    }

    /// [`Activation`] of each element.
    pub fn activation(&self, kind: Activation) -> Result<Tensor> {
        one(kind, &[self], &[])
    }

    /// max(x, 0).
    pub fn relu(&self) -> Result<Tensor> {
        self.activation(Activation::Relu)
    }

    /// [`Prelu`] with one slope, or one for each feature.
    pub fn prelu(&self, weight: &Tensor) -> Result<Tensor> {
        one(Prelu, &[self, weight], &[])
    }

    /// [`Gate`] over the parts of the last axis.
    pub fn gate(&self, gate: Gate) -> Result<Tensor> {
        one(gate, &[self], &[])
    }

    /// a + b; b's shape must be the trailing axes of a's.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Add, &[self, other], &[])
    }

    /// a - b; b's shape must be the trailing axes of a's.
    pub fn subtract(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Subtract, &[self, other], &[])
    }

    /// a b, element by element; b's shape must be the trailing axes of a's.
    pub fn multiply(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Multiply, &[self, other], &[])
    }

    /// scale x + shift.
    pub fn affine(&self, scale: f64, shift: f64) -> Result<Tensor> {
        one(Affine { scale, shift }, &[self], &[])
    }

    /// [`Softmax`] over the last axis.
    pub fn softmax(&self) -> Result<Tensor> {
        one(Softmax, &[self], &[])
    }

    /// [`Dropout`] with random words of a stream.
    pub fn dropout(&self, probability: f64, stream: Philox) -> Result<Tensor> {
        one(Dropout { probability, stream }, &[self], &[])
    }

    /// [`Linear`] over the last axis.
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>, relu: bool) -> Result<Tensor> {
        one(Linear { bias: bias.is_some(), relu }, &with(&[self, weight], bias), &[])
    }

    /// [`Matmul`]: the product of this matrix, or of each of a batch, and another, [.., M, K] and [.., K, N].
    pub fn matmul(&self, op: Matmul, right: &Tensor) -> Result<Tensor> {
        one(op, &[self, right], &[])
    }

    /// [`Conv3d`] of [N, D, H, W, C].
    pub fn conv3d(&self, op: Conv3d, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        one(op, &with(&[self, weight], bias), &[])
    }

    /// [`ConvTranspose3d`] of [N, D, H, W, C].
    pub fn conv_transpose3d(
        &self,
        op: ConvTranspose3d,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        one(op, &with(&[self, weight], bias), &[])
    }

    /// [`DepthwiseConv`] of [N, T, C].
    pub fn depthwise_conv(
        &self,
        op: DepthwiseConv,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        one(op, &with(&[self, weight], bias), &[])
    }

    /// [`GraphConv`] of `[.., V, C]` over edges with weights `[E]` and structure: targets, sources, partitions.
    pub fn graph_conv(
        &self,
        values: &Tensor,
        structure: &[Tensor; 3],
        weight: &Tensor,
        bias: Option<&Tensor>,
        relu: bool,
    ) -> Result<Tensor> {
        let op = GraphConv { adjacency: graph_conv::Adjacency::Sparse, bias: bias.is_some(), relu };
        let mut inputs = with(&[self, weight], bias);
        inputs.push(values);
        one(op, &inputs, &structure.each_ref())
    }

    /// [`Attention`] of queries to keys and values; give `lengths` if and only if `op.masked`.
    pub fn attention(
        &self,
        op: Attention,
        keys: &Tensor,
        values: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Tensor> {
        one(op, &[self, keys, values], &with(&[], lengths))
    }

    /// [`LayerNorm`] over the last one or two axes.
    pub fn layer_norm(&self, op: LayerNorm, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        one(op, &[self, weight, bias], &[])
    }

    /// [`Pool`] of `[N, D, H, W, C]`.
    pub fn pool(&self, op: Pool) -> Result<Tensor> {
        one(op, &[self], &[])
    }

    /// [`Pool`] of [N, D, H, W, C] for the largest elements, and their indices in D·H·W of their sample, u32 in the shape
    /// of the output: what [`max_unpool`](Tensor::max_unpool) takes.
    pub fn pool_with_indices(&self, op: Pool) -> Result<(Tensor, Tensor)> {
        let Applied { output, mut saved } = Tensor::apply(op, &[self], &[])?;
        match saved.pop() {
            Some(indices) => Ok((output, indices)),
            None => Err(Error::Op(kernels::Error::Setting {
                op: "pool",
                what: "averages have no indices: pool with PoolKind::Max".into(),
            })),
        }
    }

    /// [`MaxUnpool`]: each number of [N, D', H', W', C] at its index, zeros elsewhere.
    pub fn max_unpool(&self, op: MaxUnpool, indices: &Tensor) -> Result<Tensor> {
        one(op, &[self], &[indices])
    }

    /// [N, T, C] to [N, C]: the mean over all steps, or over the first `lengths` of each.
    pub fn mean_over_steps(&self, lengths: Option<&Tensor>) -> Result<Tensor> {
        one(SequencePool { std: false, masked: lengths.is_some() }, &[self], &with(&[], lengths))
    }

    /// `[N, T, C]` to `[N, 2 C]`: mean and standard deviation of each feature over all steps.
    pub fn mean_and_std_over_steps(&self) -> Result<Tensor> {
        one(SequencePool { std: true, masked: false }, &[self], &[])
    }

    /// [`Embedding`]: rows of this table `[V, C]` by index.
    pub fn embedding(&self, rows: &Tensor) -> Result<Tensor> {
        one(Embedding, &[self], &[rows])
    }

    /// [`ScatterRows`]: rows of [.., C] summed into `rows` rows by number, [rows, C].
    pub fn scatter_rows(&self, numbers: &Tensor, rows: usize) -> Result<Tensor> {
        one(ScatterRows { rows }, &[self], &[numbers])
    }

    /// The axes in another order.
    pub fn permute(&self, axes: &[usize]) -> Result<Tensor> {
        one(Permute::new(axes), &[self], &[])
    }

    /// [`Concat`] of tensors along an axis.
    pub fn concat(tensors: &[&Tensor], axis: usize) -> Result<Tensor> {
        one(Concat { axis }, tensors, &[])
    }

    /// [`Slice`]: `length` elements of an axis from `start` on.
    pub fn slice(&self, axis: usize, start: usize, length: usize) -> Result<Tensor> {
        one(Slice { axis, start, length }, &[self], &[])
    }

    /// [`CrossEntropy`] of logits `[N, C]` with classes `[N]`.
    pub fn cross_entropy(&self, classes: &Tensor) -> Result<Tensor> {
        one(CrossEntropy, &[self], &[classes])
    }

    /// [`Bce`] of logits `[N, C]` with targets `[N, C]` and weights of the positives `[C]`.
    pub fn bce(&self, targets: &Tensor, positive_weights: &Tensor) -> Result<Tensor> {
        one(Bce, &[self, targets, positive_weights], &[])
    }

    /// [`Mse`] with a target of the same shape.
    pub fn mse(&self, target: &Tensor) -> Result<Tensor> {
        one(Mse, &[self, target], &[])
    }

    /// [`Ccc`] loss of predictions `[N, A]` with targets `[N, A]`.
    pub fn ccc(&self, target: &Tensor) -> Result<Tensor> {
        one(Ccc, &[self, target], &[])
    }
}
