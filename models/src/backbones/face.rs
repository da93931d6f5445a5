//! Face backbone: R(2+1)D (Tran et al. 2018) as in torchvision, with torchvision's parameter names.

use super::refuse;
use engine::nn::{BatchNorm, Conv, ConvSettings, Dropout, Linear, StepMask, padded_channels};
use engine::{Init, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Settings of [`R2Plus1d`]; the defaults make R(2+1)D-18.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct R2Plus1dSettings {
    /// Channels of the first stage; each further stage has twice as many.
    pub width: usize,
    /// Channels between the two convolutions of the stem.
    pub stem: usize,
    /// Residual blocks of each stage.
    pub blocks: Vec<usize>,
    /// Dropout before the last layer.
    pub dropout: f64,
    /// Features of the output.
    pub features: usize,
    /// Whether the steps after the end of a sample are left out, so that padding changes no feature; otherwise they are data.
    /// In training, batch norm also measures them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

impl Default for R2Plus1dSettings {
    fn default() -> Self {
        R2Plus1dSettings {
            width: 64,
            stem: 45,
            blocks: vec![2; 4],
            dropout: 0.1,
            features: 512,
            masked: false,
        }
    }
}

/// The most input channels of a convolution over space whose output the backward pass may recompute instead of keeping
/// it; the device chooses.
const FEW: usize = 64;

/// A residual network whose 3-D convolutions are factored into one over space and one over time.
#[derive(Debug, Clone)]
pub struct R2Plus1d {
    stem: Split,
    stem_norm: BatchNorm,
    blocks: Vec<Block>,
    dropout: Dropout,
    output: Linear,
    features: usize,
    masked: bool,
}

/// A factored convolution: spatial convolution, batch norm, ReLU, temporal convolution.
#[derive(Debug, Clone)]
struct Split {
    space: Conv,
    norm: BatchNorm,
    time: Conv,
}

/// The sizes of a [`Split`]: input, middle and output channels; extents and strides in space and time.
struct SplitSettings {
    channels: [usize; 3],
    kernel: usize,
    space_stride: usize,
    time_stride: usize,
}

impl Split {
    /// Makes `0.weight`, `1.*` and `3.weight`, named by their positions in torchvision's Sequential.
    fn new(scope: &mut Scope<'_>, settings: &SplitSettings) -> Result<Self> {
        let SplitSettings {
            channels: [inputs, middle, outputs],
            kernel,
            space_stride,
            time_stride,
        } = *settings;
        // The image's three channels are not padded; all later channels are.
        let stored_inputs = if inputs == 3 { 3 } else { padded_channels(inputs) };
        let (stored_middle, stored_outputs) = (padded_channels(middle), padded_channels(outputs));
        let space = ConvSettings::new([1, kernel, kernel])
            .stride([1, space_stride, space_stride])
            .padding([0, kernel / 2, kernel / 2]);
        let time = ConvSettings::new([3, 1, 1]).stride([time_stride, 1, 1]).padding([1, 0, 0]);
        let (space_init, time_init) = (kaiming(space, middle), kaiming(time, outputs));
        Ok(Split {
            space: Conv::padded(
                scope.sub(0),
                space,
                [inputs, middle],
                [stored_inputs, stored_middle],
                space_init,
            )?,
            norm: BatchNorm::padded(scope.sub(1), middle, stored_middle)?,
            time: Conv::padded(
                scope.sub(3),
                time,
                [middle, outputs],
                [stored_middle, stored_outputs],
                time_init,
            )?,
        })
    }

    /// With a mask, the convolution over time reads zeros in place of padding.
    fn forward(&self, pass: &Pass<'_>, x: &Tensor, mask: Option<&StepMask>) -> Result<Tensor> {
        // Few input channels: the output is large and cheap, so it is recomputed.
        let few = x.shape().features() <= FEW;
        let wide = if few {
            self.space.forward_recomputable(pass, x)?
        } else {
            self.space.forward(pass, x)?
        };
        let between = self.norm.forward_relu(pass, &wide)?;
        let between = mask.map_or(Ok(between.clone()), |mask| mask.zero_padding(&between))?;
        self.time.forward(pass, &between)
    }
}

/// He et al. 2015, fan-out, as in torchvision's video networks.
fn kaiming(settings: ConvSettings, outputs: usize) -> Init {
    Init::kaiming_fan_out(settings.taps() * outputs)
}

#[derive(Debug, Clone)]
struct Block {
    conv1: Split,
    norm1: BatchNorm,
    conv2: Split,
    norm2: BatchNorm,
    downsample: Option<(Conv, BatchNorm)>,
    stride: usize,
}

impl Block {
    fn new(mut scope: Scope<'_>, inputs: usize, outputs: usize, stride: usize) -> Result<Self> {
        // As many parameters as a full 3-D convolution; both factored convolutions of the block use this number.
        let middle = inputs * outputs * 27 / (inputs * 9 + 3 * outputs);
        let first = SplitSettings {
            channels: [inputs, middle, outputs],
            kernel: 3,
            space_stride: stride,
            time_stride: stride,
        };
        let second = SplitSettings {
            channels: [outputs, middle, outputs],
            kernel: 3,
            space_stride: 1,
            time_stride: 1,
        };
        let stored = [padded_channels(inputs), padded_channels(outputs)];
        let mut conv1 = scope.sub("conv1");
        let (split1, norm1) = (
            Split::new(&mut conv1.sub(0), &first)?,
            BatchNorm::padded(conv1.sub(1), outputs, stored[1])?,
        );
        let mut conv2 = scope.sub("conv2");
        let (split2, norm2) = (
            Split::new(&mut conv2.sub(0), &second)?,
            BatchNorm::padded(conv2.sub(1), outputs, stored[1])?,
        );
        let downsample = if stride == 1 && inputs == outputs {
            None
        } else {
            let geometry = ConvSettings::new([1; 3]).stride([stride; 3]);
            let mut inner = scope.sub("downsample");
            let init = kaiming(geometry, outputs);
            let conv = Conv::padded(inner.sub(0), geometry, [inputs, outputs], stored, init)?;
            Some((conv, BatchNorm::padded(inner.sub(1), outputs, stored[1])?))
        };
        Ok(Block { conv1: split1, norm1, conv2: split2, norm2, downsample, stride })
    }

    /// The mask of x becomes that of the output.
    fn forward(&self, pass: &Pass<'_>, x: &Tensor, mask: &mut Option<StepMask>) -> Result<Tensor> {
        let y = self.norm1.forward_relu(pass, &self.conv1.forward(pass, x, mask.as_ref())?)?;
        if let Some(mask) = mask.as_mut().filter(|_| self.stride > 1) {
            *mask = mask.after(pass, 3, self.stride)?;
        }
        let y = self.conv2.forward(pass, &y, mask.as_ref())?;
        match &self.downsample {
            None => self.norm2.forward_residual_relu(pass, &y, x),
            Some((conv, norm)) => {
                let shortcut = norm.forward(pass, &conv.forward(pass, x)?)?;
                self.norm2.forward_residual_relu(pass, &y, &shortcut)
            }
        }
    }
}

impl R2Plus1d {
    /// A network for samples `[T, H, W, 3]`.
    ///
    /// # Errors
    /// When `input` is not `[T, H, W, 3]`, or there is no stage.
    pub fn new(settings: &R2Plus1dSettings, mut scope: Scope<'_>, input: &[usize]) -> Result<Self> {
        let &[_, _, _, 3] = input else {
            return Err(refuse("r2plus1d", input, "[frames, height, width, 3]"));
        };
        let mut stem_scope = scope.sub("stem");
        let stem = SplitSettings {
            channels: [3, settings.stem, settings.width],
            kernel: 7,
            space_stride: 2,
            time_stride: 1,
        };
        let stem = Split::new(&mut stem_scope, &stem)?;
        let stem_norm =
            BatchNorm::padded(stem_scope.sub(4), settings.width, padded_channels(settings.width))?;
        let mut blocks = Vec::new();
        let mut inputs = settings.width;
        for (stage, &count) in settings.blocks.iter().enumerate() {
            let outputs = settings.width << stage;
            for number in 0..count {
                let stride = if stage > 0 && number == 0 { 2 } else { 1 };
                let name = format!("layer{}.{number}", stage + 1);
                blocks.push(Block::new(scope.sub(name), inputs, outputs, stride)?);
                inputs = outputs;
            }
        }
        let mut fc = scope.sub("fc");
        let zero = Init::Constant(0.0);
        let shape = [inputs, settings.features];
        let stored = [padded_channels(inputs), settings.features];
        let output = Linear::padded(&mut fc, shape, stored, Init::Normal(0.01), zero)?;
        Ok(R2Plus1d {
            stem,
            stem_norm,
            blocks,
            dropout: Dropout { probability: settings.dropout },
            output,
            features: settings.features,
            masked: settings.masked,
        })
    }

    /// Features of the output.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Normalised clips `[N, T, H, W, 3]` to `[N, features]`. If the network is masked, frames after the first `lengths`
    /// `[N]` change nothing; lengths on a GPU are copied to the CPU.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(
        &self,
        pass: &Pass<'_>,
        clip: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut mask = StepMask::new(pass, lengths.filter(|_| self.masked), clip.shape()[1])?;
        let stem = self.stem.forward(pass, clip, mask.as_ref())?;
        let mut x = self.stem_norm.forward_relu(pass, &stem)?;
        for block in &self.blocks {
            x = block.forward(pass, &x, &mut mask)?;
        }
        let [n, t, h, w, c] = x.extents("r2plus1d")?;
        let lengths = mask.map(|mask| mask.lengths(pass, h * w)).transpose()?;
        let pooled = x.reshape(&[n, t * h * w, c])?.mean_over_steps(lengths.as_ref())?;
        self.output.forward(pass, &self.dropout.forward(pass, &pooled)?)
    }
}
