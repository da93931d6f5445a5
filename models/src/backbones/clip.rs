//! Small face clips: strided convolutions over space and time, pooled by mean and deviation. The made-up world's
//! faces need no more, at a hundredth of R(2+1)D-18's cost.

use super::refuse;
use engine::nn::{BatchNorm, Conv, ConvSettings};
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Sizes of [`StridedClipNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StridedClipNetSettings {
    /// Channels of the last layer, four times those of the first; twice as many features come out.
    pub width: usize,
}

impl Default for StridedClipNetSettings {
    fn default() -> Self {
        StridedClipNetSettings { width: 64 }
    }
}

/// Space, time, space, space, each with stride 2, batch norm and ReLU; mean and deviation over what is left.
#[derive(Debug, Clone)]
pub struct StridedClipNet {
    layers: Vec<(Conv, BatchNorm)>,
    width: usize,
}

impl StridedClipNet {
    /// For samples [T, H, W, C].
    ///
    /// # Errors
    /// When a sample is not [T, H, W, C], or the width is no multiple of 4.
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
            return Err(refuse("strided_clip", input, "a width that is a multiple of 4"));
        }
        let space = ConvSettings::new([1, 3, 3]).stride([1, 2, 2]).padding([0, 1, 1]);
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
        Ok(StridedClipNet { layers, width })
    }

    /// Features at the end.
    pub fn features(&self) -> usize {
        2 * self.width
    }

    /// Clips [N, T, H, W, C] to [N, features].
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, pass: &Pass<'_>, clip: &Tensor) -> Result<Tensor> {
        let mut x = clip.clone();
        for (conv, norm) in &self.layers {
            x = norm.forward_relu(pass, &conv.forward(pass, &x)?)?;
        }
        let [n, t, h, w, c] = x.extents("strided_clip")?;
        x.reshape(&[n, t * h * w, c])?.mean_and_deviation_over_steps()
    }
}
