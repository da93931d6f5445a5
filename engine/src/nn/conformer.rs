//! The Conformer's block (Gulati et al. 2020), with the relative attention of Transformer-XL (Dai et al. 2019).

use super::{BatchNorm, Dropout, LayerNorm, Linear, StepMask, positional_encoding};
use crate::{Constants, Init, ParameterId, Pass, Result, Scope, Tensor};
use kernels::ops::{Activation, DepthwiseConv as DepthwiseOp, Gate, Matmul};

/// The sizes of a [`ConformerBlock`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConformerSizes {
    /// Features of a step.
    pub width: usize,
    /// Attention heads; the width must be a multiple of this.
    pub heads: usize,
    /// Features between the two linear maps of a feed-forward module.
    pub hidden: usize,
    /// Taps of the depthwise convolution, an odd number.
    pub kernel: usize,
    /// Dropout probability after each module, inside the feed-forward modules, and of the attention's weights.
    pub dropout: f64,
}

/// x + ½ F(x), x + attention(x), x + convolution(x), x + ½ F'(x), then layer norm; every module begins with a layer norm.
#[derive(Debug, Clone)]
pub struct ConformerBlock {
    feed_forward: [FeedForward; 2],
    attention: RelativeAttention,
    convolution: ConvolutionModule,
    norm: LayerNorm,
}

impl ConformerBlock {
    /// Makes `feed_forward1.*`, `attention.*`, `convolution.*`, `feed_forward2.*` and `norm.*`. Weights of linear layers are
    /// Xavier uniform, biases 0.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(mut scope: Scope<'_>, sizes: ConformerSizes) -> Result<Self> {
        Ok(ConformerBlock {
            feed_forward: [
                FeedForward::new(scope.sub("feed_forward1"), sizes)?,
                FeedForward::new(scope.sub("feed_forward2"), sizes)?,
            ],
            attention: RelativeAttention::new(scope.sub("attention"), sizes)?,
            convolution: ConvolutionModule::new(scope.sub("convolution"), sizes)?,
            norm: LayerNorm::new(scope.sub("norm"), sizes.width)?,
        })
    }

    /// x `[N, T, width]` to the same shape. Padding is no key of the attention and counts as zeros in the convolution; its
    /// own outputs have no meaning.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor, mask: Option<&StepMask>) -> Result<Tensor> {
        let half =
            |module: &FeedForward, x: &Tensor| x.add(&module.forward(pass, x)?.affine(0.5, 0.0)?);
        let x = half(&self.feed_forward[0], x)?;
        let x = x.add(&self.attention.forward(pass, &x, mask)?)?;
        let x = x.add(&self.convolution.forward(pass, &x, mask)?)?;
        self.norm.forward(pass, &half(&self.feed_forward[1], &x)?)
    }
}

/// A linear layer with Xavier's initial weights and a bias of 0.
fn xavier(mut scope: Scope<'_>, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
    let (init, zero) = (Init::xavier_uniform(inputs, outputs), Init::Constant(0.0));
    let bias = bias.then_some("bias");
    Linear::with_init(&mut scope, "weight", bias, [inputs, outputs], init, zero)
}

/// Layer norm, linear, SiLU, linear.
#[derive(Debug, Clone)]
struct FeedForward {
    norm: LayerNorm,
    linear: [Linear; 2],
    dropout: Dropout,
}

impl FeedForward {
    fn new(mut scope: Scope<'_>, sizes: ConformerSizes) -> Result<Self> {
        let ConformerSizes { width, hidden, dropout, .. } = sizes;
        Ok(FeedForward {
            norm: LayerNorm::new(scope.sub("norm"), width)?,
            linear: [
                xavier(scope.sub("linear1"), width, hidden, true)?,
                xavier(scope.sub("linear2"), hidden, width, true)?,
            ],
            dropout: Dropout { probability: dropout },
        })
    }

    fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let x = self.linear[0].forward(pass, &self.norm.forward(pass, x)?)?;
        let x = self.dropout.forward(pass, &x.activation(Activation::Silu)?)?;
        self.dropout.forward(pass, &self.linear[1].forward(pass, &x)?)
    }
}

/// Layer norm, pointwise convolution, GLU, depthwise convolution, batch norm, SiLU, pointwise convolution.
#[derive(Debug, Clone)]
struct ConvolutionModule {
    norm: LayerNorm,
    inner: Linear,
    depthwise: ParameterId,
    kernel: usize,
    batch_norm: BatchNorm,
    outer: Linear,
    dropout: Dropout,
}

impl ConvolutionModule {
    fn new(mut scope: Scope<'_>, sizes: ConformerSizes) -> Result<Self> {
        let ConformerSizes { width, kernel, dropout, .. } = sizes;
        let init = Init::fan_in(kernel);
        Ok(ConvolutionModule {
            norm: LayerNorm::new(scope.sub("norm"), width)?,
            inner: Linear::new(scope.sub("pointwise1"), width, 2 * width)?,
            depthwise: scope.sub("depthwise").parameter("weight", &[kernel, width], init)?,
            kernel,
            batch_norm: BatchNorm::new(scope.sub("batch_norm"), width)?,
            outer: Linear::new(scope.sub("pointwise2"), width, width)?,
            dropout: Dropout { probability: dropout },
        })
    }

    fn forward(&self, pass: &Pass<'_>, x: &Tensor, mask: Option<&StepMask>) -> Result<Tensor> {
        let x = self.inner.forward(pass, &self.norm.forward(pass, x)?)?.gate(Gate::Glu)?;
        let x = mask.map_or(Ok(x.clone()), |mask| mask.zero_padding(&x))?;
        let op = DepthwiseOp { bias: false, ..DepthwiseOp::same(self.kernel, 1) };
        let x = x.depthwise_conv(op, &pass.get(self.depthwise), None)?;
        let x = self.batch_norm.forward(pass, &x)?.activation(Activation::Silu)?;
        self.dropout.forward(pass, &self.outer.forward(pass, &x)?)
    }
}

/// Layer norm and self-attention whose scores also depend on the distance of query and key: q·k + u·k + (q + v)·p, with
/// learned u and v, and p from sinusoids. Scores are divided by √width, as in the implementation that VAVL uses, not by the
/// root of a head's width.
#[derive(Debug, Clone)]
struct RelativeAttention {
    norm: LayerNorm,
    queries: Linear,
    keys: Linear,
    values: Linear,
    positions: Linear,
    output: Linear,
    /// u and v, `[width]`.
    biases: [ParameterId; 2],
    sizes: ConformerSizes,
    dropout: Dropout,
    /// Keyed by the number of steps.
    encodings: Constants<usize>,
}

impl RelativeAttention {
    fn new(mut scope: Scope<'_>, sizes: ConformerSizes) -> Result<Self> {
        let ConformerSizes { width, heads, dropout, .. } = sizes;
        // Xavier's rule for a matrix [heads, width of a head].
        let init = Init::xavier_uniform(heads, width / heads.max(1));
        let bias = |name: &str, scope: &mut Scope<'_>| scope.parameter(name, &[width], init);
        Ok(RelativeAttention {
            norm: LayerNorm::new(scope.sub("norm"), width)?,
            queries: xavier(scope.sub("query"), width, width, true)?,
            keys: xavier(scope.sub("key"), width, width, true)?,
            values: xavier(scope.sub("value"), width, width, true)?,
            positions: xavier(scope.sub("position"), width, width, false)?,
            output: xavier(scope.sub("output"), width, width, true)?,
            biases: [bias("u", &mut scope)?, bias("v", &mut scope)?],
            sizes,
            dropout: Dropout { probability: dropout },
            encodings: Constants::default(),
        })
    }

    fn forward(&self, pass: &Pass<'_>, x: &Tensor, mask: Option<&StepMask>) -> Result<Tensor> {
        let [n, t, width] = x.extents("conformer")?;
        let heads = self.sizes.heads;
        let part = width / heads;
        let x = self.norm.forward(pass, x)?;
        // [N, T, width] to [heads, N, T, part].
        let split = |x: &Tensor| x.reshape(&[n, t, heads, part])?.permute(&[2, 0, 1, 3]);
        let queries = self.queries.forward(pass, &x)?;
        let [with_u, with_v] = self.biases.map(|bias| queries.add(&pass.get(bias)));
        let keys = split(&self.keys.forward(pass, &x)?)?;
        let values = split(&self.values.forward(pass, &x)?)?;
        let content = split(&with_u?)?.matmul(Matmul::TRANSPOSE_RIGHT, &keys)?;
        let encoding = pass.constant(&self.encodings, t, || {
            Tensor::from_slice(&positional_encoding(t, width), &[t, width])?.to(pass.dtype())
        })?;
        let positions = self.positions.forward(pass, &encoding)?;
        let positions = positions.reshape(&[t, heads, part])?.permute(&[1, 0, 2])?;
        let by_position = split(&with_v?)?
            .reshape(&[heads, n * t, part])?
            .matmul(Matmul::TRANSPOSE_RIGHT, &positions)?;
        let by_distance = shift(&by_position.reshape(&[heads, n, t, t])?)?;
        let scores = content.add(&by_distance)?.affine(1.0 / (width as f64).sqrt(), 0.0)?;
        let scores = mask.map_or(Ok(scores.clone()), |mask| scores.add(&mask.scores()?))?;
        let weights = self.dropout.forward(pass, &scores.softmax()?)?;
        let attended = weights.matmul(Matmul::PLAIN, &values)?;
        let joined = attended.permute(&[1, 2, 0, 3])?.reshape(&[n, t, width])?;
        self.dropout.forward(pass, &self.output.forward(pass, &joined)?)
    }
}

/// Transformer-XL's shift of scores `[.., T, T]` (Dai et al. 2019, appendix B): row i moves left by T - 1 - i, so that
/// column j has the score of position T - 1 - i + j. Columns right of the diagonal, where there is no such position, get 0
/// and scores of the next row, as in the published implementations.
fn shift(scores: &Tensor) -> Result<Tensor> {
    let [heads, n, t, _] = scores.extents("conformer")?;
    let zeros = Tensor::zeros_on(&[heads, n, t, 1], scores.dtype(), &scores.device())?;
    let padded = Tensor::concat(&[&zeros, scores], 3)?;
    padded.reshape(&[heads, n, t + 1, t])?.slice(2, 1, t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Parameters, Philox};

    const SIZES: ConformerSizes =
        ConformerSizes { width: 12, heads: 3, hidden: 20, kernel: 5, dropout: 0.0 };

    fn input(n: usize, t: usize, seed: u64) -> Result<Tensor> {
        let random = Philox::new(seed, "input");
        let values: Vec<f64> = (0..n * t * 12).map(|i| random.normal(i as u64)).collect();
        Tensor::from_slice(&values, &[n, t, 12])
    }

    #[test]
    fn the_block_of_vavl_has_its_parameters() -> Result<()> {
        let mut parameters = Parameters::planned(DType::F32, &crate::Device::Cpu);
        let sizes = ConformerSizes { width: 512, heads: 8, hidden: 2048, kernel: 31, dropout: 0.1 };
        ConformerBlock::new(parameters.scope(), sizes)?;
        let trainable = parameters.trainable().map(|id| parameters.logical(id).count());
        assert_eq!(trainable.sum::<usize>(), 6_323_200);
        Ok(())
    }

    #[test]
    fn a_shift_moves_row_i_by_t_minus_1_minus_i() -> Result<()> {
        let scores: Vec<f64> = (0..9).map(f64::from).collect();
        let shifted = shift(&Tensor::from_slice(&scores, &[1, 1, 3, 3])?)?;
        assert_eq!(shifted.to_vec()?, [2.0, 0.0, 3.0, 4.0, 5.0, 0.0, 6.0, 7.0, 8.0]);
        Ok(())
    }

    #[test]
    fn padding_changes_nothing_before_it() -> Result<()> {
        let mut parameters = Parameters::new(DType::F64, 4);
        let block = ConformerBlock::new(parameters.scope(), SIZES)?;
        let pass = Pass::evaluate(&parameters);
        let (x, lengths) = (input(2, 9, 1)?, Tensor::from_slice(&[6u32, 9], &[2])?);
        let mut other = x.clone();
        // The padding of the first sample.
        other.as_mut_slice::<f64>()?[6 * 12..9 * 12].fill(7.0);
        let mask = StepMask::new(&pass, Some(&lengths), 9)?;
        let valid = |x: &Tensor| -> Result<Vec<f64>> {
            let y = block.forward(&pass, x, mask.as_ref())?.to_vec()?;
            Ok([&y[..6 * 12], &y[9 * 12..]].concat())
        };
        assert_eq!(valid(&x)?, valid(&other)?);
        let full = Tensor::from_slice(&[9u32, 12], &[2])?;
        assert!(StepMask::new(&pass, Some(&full), 9)?.is_none());
        Ok(())
    }

    #[test]
    fn every_parameter_gets_a_gradient() -> Result<()> {
        let mut parameters = Parameters::new(DType::F64, 4);
        let block = ConformerBlock::new(parameters.scope(), SIZES)?;
        let pass = Pass::train(&parameters, Philox::new(1, "pass"));
        let lengths = Tensor::from_slice(&[3u32, 7], &[2])?;
        let mask = StepMask::new(&pass, Some(&lengths), 7)?;
        let y = block.forward(&pass, &input(2, 7, 2)?, mask.as_ref())?;
        // Fails where a parameter has no gradient.
        pass.backward(&y.mse(&input(2, 7, 3)?)?)?;
        Ok(())
    }
}
