//! The ops as methods of tensors. Shapes and definitions are documented in [`kernels::ops`]. Every method returns an
//! error when the op does not accept the shapes.

use super::{Applied, Tensor};
use crate::tape::{Step, Tape};
use crate::{Error, Philox, Result};
use kernels::Shape;
use kernels::ops::reduce::ReduceKind;
use kernels::ops::*;

impl Applied {
    /// The output, without the saved buffers.
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

#[allow(clippy::missing_errors_doc, reason = "documented once, at the top of the file")]
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

    /// [`Unary`] function of each number.
    pub fn unary(&self, function: Unary) -> Result<Tensor> {
        one(function, &[self], &[])
    }

    /// e^x.
    pub fn exp(&self) -> Result<Tensor> {
        self.unary(Unary::Exp)
    }

    /// ln x, for x > 0.
    pub fn log(&self) -> Result<Tensor> {
        self.unary(Unary::Log)
    }

    /// √x, for x ≥ 0; its gradient at 0 is infinite.
    pub fn sqrt(&self) -> Result<Tensor> {
        self.unary(Unary::Sqrt)
    }

    /// x².
    pub fn square(&self) -> Result<Tensor> {
        self.unary(Unary::Square)
    }

    /// |x|; its gradient at 0 is 0.
    pub fn abs(&self) -> Result<Tensor> {
        self.unary(Unary::Abs)
    }

    /// -x.
    pub fn negate(&self) -> Result<Tensor> {
        self.unary(Unary::Negate)
    }

    /// 1 / x, for x ≠ 0.
    pub fn reciprocal(&self) -> Result<Tensor> {
        self.unary(Unary::Reciprocal)
    }

    /// ln(1 + e^x).
    pub fn softplus(&self) -> Result<Tensor> {
        self.unary(Unary::Softplus)
    }

    /// min(max(x, low), high).
    pub fn clamp(&self, low: f64, high: f64) -> Result<Tensor> {
        self.unary(Unary::Clamp { low, high })
    }

    /// a + b; shapes broadcast as [`Arithmetic`] says.
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Add, &[self, other], &[])
    }

    /// a - b; shapes broadcast as [`Arithmetic`] says.
    pub fn subtract(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Subtract, &[self, other], &[])
    }

    /// a b, elementwise; shapes broadcast as [`Arithmetic`] says.
    pub fn multiply(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Multiply, &[self, other], &[])
    }

    /// a / b, for b ≠ 0; shapes broadcast as [`Arithmetic`] says.
    pub fn divide(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Divide, &[self, other], &[])
    }

    /// The larger of a and b, elementwise; shapes broadcast as [`Arithmetic`] says.
    pub fn maximum(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Maximum, &[self, other], &[])
    }

    /// The smaller of a and b, elementwise; shapes broadcast as [`Arithmetic`] says.
    pub fn minimum(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Minimum, &[self, other], &[])
    }

    /// 1 where a > b, else 0: a constant, not on the tape.
    pub fn greater(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Greater, &[&self.detached(), &other.detached()], &[])
    }

    /// 1 where a < b, else 0: a constant, not on the tape.
    pub fn less(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Less, &[&self.detached(), &other.detached()], &[])
    }

    /// 1 where a = b, else 0: a constant, not on the tape.
    pub fn equal(&self, other: &Tensor) -> Result<Tensor> {
        one(Arithmetic::Equal, &[&self.detached(), &other.detached()], &[])
    }

    /// [`Reduce`] over some axes.
    pub fn reduce(&self, op: Reduce) -> Result<Tensor> {
        one(op, &[self], &[])
    }

    /// The sum over these axes, which are removed.
    pub fn sum(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::new(ReduceKind::Sum, axes))
    }

    /// [`sum`](Self::sum) with extent 1 on these axes, so that it broadcasts against x.
    pub fn sum_keeping(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::new(ReduceKind::Sum, axes).keeping())
    }

    /// The mean over these axes, which are removed.
    pub fn mean(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::new(ReduceKind::Mean, axes))
    }

    /// [`mean`](Self::mean) with extent 1 on these axes, so that it broadcasts against x.
    pub fn mean_keeping(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::new(ReduceKind::Mean, axes).keeping())
    }

    /// The maximum over these axes, which are removed; the gradient goes to the first maximum in index order.
    pub fn max(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::new(ReduceKind::Max, axes))
    }

    /// [`max`](Self::max) with extent 1 on these axes, so that it broadcasts against x.
    pub fn max_keeping(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::new(ReduceKind::Max, axes).keeping())
    }

    /// ln Σ e^x over these axes, which are removed.
    pub fn log_sum_exp(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::new(ReduceKind::LogSumExp, axes))
    }

    /// [`log_sum_exp`](Self::log_sum_exp) with extent 1 on these axes, so that it broadcasts against x.
    pub fn log_sum_exp_keeping(&self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::new(ReduceKind::LogSumExp, axes).keeping())
    }

    /// The index of the first maximum along the last axis, as u32; the shape is that of x without its last axis. NaN
    /// counts as larger than any number. The result is a constant on the CPU.
    pub fn argmax(&self) -> Result<Tensor> {
        let shape = self.shape();
        let above = |x: f64, largest: f64| x > largest || x.is_nan() && !largest.is_nan();
        let first = |row: &[f64]| {
            let better = |best: usize, i: usize| if above(row[i], row[best]) { i } else { best };
            (0..row.len()).fold(0, better) as u32
        };
        let rows: Vec<u32> =
            self.to_vec()?.chunks_exact(shape.features().max(1)).map(first).collect();
        Tensor::from_slice(&rows, &shape[..shape.len().saturating_sub(1)])
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

    /// [`Matmul`]: the matrix product of `[.., M, K]` and `[.., K, N]`, also in batches.
    pub fn matmul(&self, op: Matmul, right: &Tensor) -> Result<Tensor> {
        one(op, &[self, right], &[])
    }

    /// [`Conv3d`] of `[N, D, H, W, C]`.
    pub fn conv3d(&self, op: Conv3d, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        one(op, &with(&[self, weight], bias), &[])
    }

    /// [`ConvTranspose3d`] of `[N, D, H, W, C]`.
    pub fn conv_transpose3d(
        &self,
        op: ConvTranspose3d,
        weight: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        one(op, &with(&[self, weight], bias), &[])
    }

    /// Convolution of a sequence `[N, T, C]` with a weight `[K, C, outputs]` and an optional bias `[outputs]`, with
    /// `padding` zeros on both sides: `[N, T', outputs]`.
    pub fn conv1d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: usize,
    ) -> Result<Tensor> {
        let [n, t, c] = self.extents("Tensor::conv1d")?;
        let [taps, inputs, outputs] = weight.extents("Tensor::conv1d: weight")?;
        let weight = weight.reshape(&[1, 1, taps, inputs, outputs])?;
        let op = Conv3d { bias: bias.is_some(), ..Conv3d::new([1, 1, stride], [0, 0, padding]) };
        let y = self.reshape(&[n, 1, 1, t, c])?.conv3d(op, &weight, bias)?;
        y.reshape(&[n, y.shape()[3], outputs])
    }

    /// Convolution of images `[N, H, W, C]` with a weight `[KH, KW, C, outputs]` and an optional bias `[outputs]`, with
    /// `padding` zeros on both sides of height and width: `[N, H', W', outputs]`.
    pub fn conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Result<Tensor> {
        let [n, h, w, c] = self.extents("Tensor::conv2d")?;
        let [rows, columns, inputs, outputs] = weight.extents("Tensor::conv2d: weight")?;
        let weight = weight.reshape(&[1, rows, columns, inputs, outputs])?;
        let op = Conv3d::new([1, stride[0], stride[1]], [0, padding[0], padding[1]]);
        let op = Conv3d { bias: bias.is_some(), ..op };
        let y = self.reshape(&[n, 1, h, w, c])?.conv3d(op, &weight, bias)?;
        y.reshape(&[n, y.shape()[2], y.shape()[3], outputs])
    }

    /// [`DepthwiseConv`] of `[N, T, C]`.
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

    /// Max [`Pool`] of `[N, D, H, W, C]`, and the index in D·H·W of each maximum: u32, of the shape of the output, for
    /// [`max_unpool`](Tensor::max_unpool).
    pub fn pool_with_indices(&self, op: Pool) -> Result<(Tensor, Tensor)> {
        let Applied { output, mut saved } = Tensor::apply(op, &[self], &[])?;
        match saved.pop() {
            Some(indices) => Ok((output, indices)),
            None => Err(Error::Op(kernels::Error::Setting {
                op: "pool",
                what: "an average pool has no indices; use PoolKind::Max".into(),
            })),
        }
    }

    /// [`MaxUnpool`]: each number of `[N, D', H', W', C]` at its index, zeros elsewhere.
    pub fn max_unpool(&self, op: MaxUnpool, indices: &Tensor) -> Result<Tensor> {
        one(op, &[self], &[indices])
    }

    /// `[N, T, C]` to `[N, C]`: the mean over all steps, or over the first `lengths` `[N]` steps of each sample.
    pub fn mean_over_steps(&self, lengths: Option<&Tensor>) -> Result<Tensor> {
        one(SequencePool { std: false, masked: lengths.is_some() }, &[self], &with(&[], lengths))
    }

    /// `[N, T, C]` to `[N, 2 C]`: mean and standard deviation of each feature over all steps.
    pub fn mean_and_std_over_steps(&self) -> Result<Tensor> {
        one(SequencePool { std: true, masked: false }, &[self], &[])
    }

    /// As [`mean_and_std_over_steps`](Self::mean_and_std_over_steps), over the first `lengths` `[N]` steps of each sample.
    pub fn mean_and_std_over_valid_steps(&self, lengths: &Tensor) -> Result<Tensor> {
        one(SequencePool { std: true, masked: true }, &[self], &[lengths])
    }

    /// [`Embedding`]: rows of this table `[V, C]` by index.
    pub fn embedding(&self, rows: &Tensor) -> Result<Tensor> {
        one(Embedding, &[self], &[rows])
    }

    /// [`ScatterRows`]: adds each row of `[.., C]` to the row of `[rows, C]` with the index in `numbers`.
    pub fn scatter_rows(&self, numbers: &Tensor, rows: usize) -> Result<Tensor> {
        one(ScatterRows { rows }, &[self], &[numbers])
    }

    /// [`Permute`]: axis i of the result is axis `axes[i]` of this tensor.
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

    /// The mean of (x - target)², with a target of the same shape.
    pub fn mse(&self, target: &Tensor) -> Result<Tensor> {
        one(Regression::Mse, &[self, target], &[])
    }

    /// The mean of |x - target|, with a target of the same shape.
    pub fn l1(&self, target: &Tensor) -> Result<Tensor> {
        one(Regression::L1, &[self, target], &[])
    }

    /// [`Ccc`] loss of predictions `[N, A]` with targets `[N, A]`.
    pub fn ccc(&self, target: &Tensor) -> Result<Tensor> {
        one(Ccc, &[self, target], &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    fn counted(shape: &[usize]) -> Result<Tensor> {
        let numbers: Vec<f64> =
            (0..Shape::new(shape).count()).map(|i| (i * 7 % 11) as f64).collect();
        Tensor::from_slice(&numbers, shape)
    }

    #[test]
    fn argmax_is_the_first_maximum_of_each_row() -> Result<()> {
        let x = [1.0f32, 3.0, 3.0, -1.0, f32::NAN, 9.0, -4.0, -5.0, -6.0];
        let tape = Tape::new();
        let best = tape.leaf(&Tensor::from_slice(&x, &[3, 1, 3])?).argmax()?;
        assert_eq!((&best.shape()[..], best.as_slice::<u32>()?), (&[3, 1][..], &[1, 1, 0][..]));
        assert_eq!(Tensor::scalar(2.0f32).argmax()?.item()?, 0.0);
        assert!(tape.is_empty());
        Ok(())
    }

    #[test]
    fn comparisons_leave_the_tape() -> Result<()> {
        let tape = Tape::new();
        let x = tape.leaf(&Tensor::from_slice(&[1.0f32, 2.0, 3.0], &[3])?);
        let two = Tensor::scalar(2.0f32);
        assert_eq!(x.greater(&two)?.to_vec()?, [0.0, 0.0, 1.0]);
        assert_eq!(x.less(&two)?.to_vec()?, [1.0, 0.0, 0.0]);
        assert_eq!(x.equal(&two)?.to_vec()?, [0.0, 1.0, 0.0]);
        assert!(tape.is_empty());
        Ok(())
    }

    #[test]
    fn what_is_kept_divides_what_it_came_from() -> Result<()> {
        let x = counted(&[2, 3, 4])?.affine(1.0, 1.0)?;
        for axes in [&[1][..], &[0, 2], &[0, 1, 2]] {
            let shares = x.divide(&x.sum_keeping(axes)?)?;
            let sums = shares.sum(axes)?.to_vec()?;
            assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-12), "{axes:?}: {sums:?}");
        }
        Ok(())
    }

    #[test]
    fn convolutions_of_fewer_axes_are_conv3d() -> Result<()> {
        let (x, weight, bias) = (counted(&[2, 6, 5, 3])?, counted(&[3, 2, 3, 4])?, counted(&[4])?);
        let op = Conv3d { bias: true, ..Conv3d::new([1, 2, 1], [0, 1, 0]) };
        let flat = x.reshape(&[2, 1, 6, 5, 3])?;
        let wide = flat.conv3d(op, &weight.reshape(&[1, 3, 2, 3, 4])?, Some(&bias))?;
        let y = x.conv2d(&weight, Some(&bias), [2, 1], [1, 0])?;
        assert_eq!(y.shape()[..], [2, 3, 4, 4]);
        assert_eq!(y.to_vec()?, wide.to_vec()?);

        let (x, weight) = (counted(&[2, 9, 3])?, counted(&[4, 3, 5])?.to(DType::F32)?);
        let y = x.to(DType::F32)?.conv1d(&weight, None, 2, 1)?;
        let image = x.to(DType::F32)?.reshape(&[2, 1, 9, 3])?;
        let wide = image.conv2d(&weight.reshape(&[1, 4, 3, 5])?, None, [1, 2], [0, 1])?;
        assert_eq!(y.shape()[..], [2, 4, 5]);
        assert_eq!(y.to_vec()?, wide.to_vec()?);
        Ok(())
    }
}
