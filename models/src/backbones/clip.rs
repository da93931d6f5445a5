//! Backbone for small face clips: strided convolutions over space and time, pooled by mean and standard deviation.
//! It is enough for the faces of the synthetic world, at a hundredth of R(2+1)D-18's cost.

use super::refuse;
use engine::nn::{BatchNorm, Conv, ConvSettings, StepMask};
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Settings of [`StridedClipNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StridedClipNetSettings {
    /// Channels of the last layer, a multiple of 4; the first layer has a quarter of them. The output has 2 width
    /// features.
    pub width: usize,
    /// Whether the steps after the end of a sample are left out, so that padding changes no feature; otherwise they are data.
    /// In training, batch norm also measures them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

impl Default for StridedClipNetSettings {
    fn default() -> Self {
        StridedClipNetSettings { width: 64, masked: false }
    }
}

/// Convolutions over space, time, space and space, each with stride 2, batch norm and ReLU; then mean and standard
/// deviation over all positions.
#[derive(Debug, Clone)]
pub struct StridedClipNet {
    layers: Vec<(Conv, BatchNorm)>,
    width: usize,
    masked: bool,
}

/// The number of the layer that convolves over time.
const TIME: usize = 1;

impl StridedClipNet {
    /// A network for samples `[T, H, W, C]`.
    ///
    /// # Errors
    /// When `input` does not have 4 axes, or the width is not a multiple of 4.
    pub fn new(
        settings: &StridedClipNetSettings,
        mut scope: Scope<'_>,
        input: &[usize],
    ) -> Result<Self> {
        let &[_, _, _, channels] = input else {
            return Err(refuse("strided_clip", input, "[frames, height, width, channels]"));
        };
        let width = settings.width;
        if width == 0 || !width.is_multiple_of(4) {
            return Err(engine::Error::Parameter {
                name: "strided_clip".into(),
                what: format!("got width {width}, expected a multiple of 4"),
            });
        }
        let space = ConvSettings::new([3, 3]).stride([2, 2]).padding([1, 1]);
        let time = ConvSettings::new([3, 1, 1]).stride([2, 1, 1]).padding([1, 0, 0]);
        let plan = [
            (space, channels, width / 4),
            (time, width / 4, width / 4),
            (space, width / 4, width / 2),
            (space, width / 2, width),
        ];
        let mut layers = Vec::new();
        for (number, (geometry, inputs, outputs)) in plan.into_iter().enumerate() {
            let mut inner = scope.sub(format!("layers.{number}"));
            let conv = Conv::new(inner.sub("conv"), geometry, inputs, outputs, false)?;
            layers.push((conv, BatchNorm::new(inner.sub("norm"), outputs)?));
        }
        Ok(StridedClipNet { layers, width, masked: settings.masked })
    }

    /// Features of the output.
    pub fn features(&self) -> usize {
        2 * self.width
    }

    /// Clips `[N, T, H, W, C]` to `[N, features]`. If the network is masked, frames after the first `lengths` `[N]` change
    /// nothing; lengths on a GPU are copied to the CPU.
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
        let mut x = clip.clone();
        for (number, (conv, norm)) in self.layers.iter().enumerate() {
            if let Some(mask) = mask.as_mut().filter(|_| number == TIME) {
                x = mask.zero_padding(&x)?;
                *mask = mask.after(pass, 3, 2)?;
            }
            x = norm.forward_relu(pass, &conv.forward(pass, &x)?)?;
        }
        let [n, t, h, w, c] = x.extents("strided_clip")?;
        let positions = x.reshape(&[n, t * h * w, c])?;
        match mask {
            None => positions.mean_and_std_over_steps(),
            Some(mask) => positions.mean_and_std_over_valid_steps(&mask.lengths(pass, h * w)?),
        }
    }
}
