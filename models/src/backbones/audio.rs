//! Voice backbone: Conv-TasNet's temporal convolutions (Luo & Mesgarani 2019) on log-mel spectrograms.

use super::refuse;
use engine::nn::{DepthwiseConv, Dropout, LayerNorm, Linear, Prelu, StepMask};
use engine::{Error, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// The dilation of a block is two to the power of its number: more blocks see nothing but padding.
const MOST_BLOCKS: usize = 24;

/// Settings of [`TemporalConvNet`]; the defaults are those of the paper's authors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemporalConvNetSettings {
    /// Features between the blocks.
    pub channels: usize,
    /// Features inside a block.
    pub hidden: usize,
    /// Blocks with dilations 1, 2, 4, ...
    pub blocks: usize,
    /// Repetitions of the sequence of blocks.
    pub repeats: usize,
    /// Taps of the depthwise convolution.
    pub kernel: usize,
    /// Dropout after the bottleneck and after each block.
    pub dropout: f64,
    /// Features of the output.
    pub features: usize,
    /// Whether the steps after the end of a sample are left out of convolutions, norms and the mean, so that padding changes
    /// no feature; otherwise they are data.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

impl Default for TemporalConvNetSettings {
    fn default() -> Self {
        TemporalConvNetSettings {
            channels: 64,
            hidden: 128,
            blocks: 5,
            repeats: 2,
            kernel: 3,
            dropout: 0.1,
            features: 512,
            masked: false,
        }
    }
}

/// Dilated depthwise-separable convolutions with residual sums, averaged over time.
#[derive(Debug, Clone)]
pub struct TemporalConvNet {
    norm: LayerNorm,
    bottleneck: Linear,
    blocks: Vec<Block>,
    prelu: Prelu,
    output: Linear,
    dropout: Dropout,
    features: usize,
    masked: bool,
}

#[derive(Debug, Clone)]
struct Block {
    expand: Linear,
    prelu1: Prelu,
    norm1: LayerNorm,
    depthwise: DepthwiseConv,
    prelu2: Prelu,
    norm2: LayerNorm,
    reduce: Linear,
}

impl Block {
    fn new(
        mut scope: Scope<'_>,
        settings: &TemporalConvNetSettings,
        dilation: usize,
    ) -> Result<Self> {
        let TemporalConvNetSettings { channels, hidden, kernel, .. } = *settings;
        Ok(Block {
            expand: Linear::new(scope.sub("expand"), channels, hidden)?,
            prelu1: Prelu::new(scope.sub("prelu1"))?,
            norm1: LayerNorm::global(scope.sub("norm1"), hidden)?,
            depthwise: DepthwiseConv::new(scope.sub("depthwise"), kernel, dilation, hidden)?,
            prelu2: Prelu::new(scope.sub("prelu2"))?,
            norm2: LayerNorm::global(scope.sub("norm2"), hidden)?,
            reduce: Linear::new(scope.sub("reduce"), hidden, channels)?,
        })
    }

    fn forward(&self, pass: &Pass<'_>, x: &Tensor, mask: Option<&StepMask>) -> Result<Tensor> {
        let y = self.prelu1.forward(pass, &self.expand.forward(pass, x)?)?;
        let y = self.depthwise.forward(pass, &self.norm1.forward_masked(pass, &y, mask)?)?;
        let y = self.norm2.forward_masked(pass, &self.prelu2.forward(pass, &y)?, mask)?;
        self.reduce.forward(pass, &y)
    }
}

impl TemporalConvNet {
    /// A network for samples `[T, F]`: frames and mel bands.
    ///
    /// # Errors
    /// When `input` does not have 2 axes.
    pub fn new(
        settings: &TemporalConvNetSettings,
        mut scope: Scope<'_>,
        input: &[usize],
    ) -> Result<Self> {
        let &[_, bands] = input else { return Err(refuse("tcn", input, "[frames, bands]")) };
        let norm = LayerNorm::global(scope.sub("norm"), bands)?;
        let bottleneck = Linear::new(scope.sub("bottleneck"), bands, settings.channels)?;
        let mut inner = scope.sub("blocks");
        if settings.blocks > MOST_BLOCKS {
            let what = format!("`blocks` is {}; it must be at most {MOST_BLOCKS}", settings.blocks);
            return Err(Error::Model { model: "temporal convolutions".into(), what });
        }
        let block = |i: usize| Block::new(inner.sub(i), settings, 1 << (i % settings.blocks));
        let blocks = (0..settings.blocks * settings.repeats).map(block).collect::<Result<_>>()?;
        Ok(TemporalConvNet {
            norm,
            bottleneck,
            blocks,
            prelu: Prelu::new(scope.sub("prelu"))?,
            output: Linear::new(scope.sub("output"), settings.channels, settings.features)?,
            dropout: Dropout { probability: settings.dropout },
            features: settings.features,
            masked: settings.masked,
        })
    }

    /// Features of the output.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Log-mels `[N, T, F]` to `[N, features]`. If the network is masked, steps after the first `lengths` `[N]` change
    /// nothing; lengths on a GPU are copied to the CPU.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(
        &self,
        pass: &Pass<'_>,
        mel: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (x, mask) = self.convolved(pass, mel, lengths)?;
        let mean = mask.map_or_else(|| x.mean_over_steps(None), |mask| mask.mean(&x))?;
        self.output.forward(pass, &self.prelu.forward(pass, &mean)?)
    }

    /// Log-mels `[N, T, F]` to `[N, T, features]`: the last layers on each step, not on their mean. If the network is
    /// masked, steps after the first `lengths` `[N]` do not change those before.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn steps(&self, pass: &Pass<'_>, mel: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
        let (x, _) = self.convolved(pass, mel, lengths)?;
        self.output.forward(pass, &self.prelu.forward(pass, &x)?)
    }

    /// Log-mels `[N, T, F]` to `[N, T, channels]`.
    fn convolved(
        &self,
        pass: &Pass<'_>,
        mel: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<(Tensor, Option<StepMask>)> {
        let mask = StepMask::new(pass, lengths.filter(|_| self.masked), mel.shape()[1])?;
        let x = self.norm.forward_masked(pass, mel, mask.as_ref())?;
        let mut x = self.dropout.forward(pass, &self.bottleneck.forward(pass, &x)?)?;
        for block in &self.blocks {
            let y = block.forward(pass, &x, mask.as_ref())?;
            x = x.add(&self.dropout.forward(pass, &y)?)?;
        }
        Ok((x, mask))
    }
}
