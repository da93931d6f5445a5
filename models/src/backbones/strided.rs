//! Any sequence: strided temporal convolutions, pooled by mean and deviation. The small network of the made-up
//! world, where it does as well as the paper's larger ones in a fraction of the time.

use super::refuse;
use engine::nn::{BatchNorm, Conv, ConvSettings};
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Sizes of [`StridedConvNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StridedConvNetSettings {
    /// Channels of every layer; twice as many features come out.
    pub width: usize,
    /// Layers: the first has 5 taps, the others 3, all stride 2.
    pub layers: usize,
}

impl Default for StridedConvNetSettings {
    fn default() -> Self {
        StridedConvNetSettings { width: 64, layers: 3 }
    }
}

/// Convolutions of stride 2 with batch norm and ReLU; mean and deviation over time.
#[derive(Debug, Clone)]
pub struct StridedConvNet {
    layers: Vec<(Conv, BatchNorm)>,
    width: usize,
}

impl StridedConvNet {
    /// For samples [T, ..]; all axes but time are features.
    ///
    /// # Errors
    /// When a sample has no features.
    pub fn new(
        settings: &StridedConvNetSettings,
        mut scope: Scope<'_>,
        input: &[usize],
    ) -> Result<Self> {
        if input.len() < 2 {
            return Err(refuse("strided-conv", input, "[steps, features..]"));
        }
        let mut channels: usize = input[1..].iter().product();
        let mut layers = Vec::new();
        for number in 0..settings.layers {
            let taps = if number == 0 { 5 } else { 3 };
            let geometry =
                ConvSettings::new([1, 1, taps]).stride([1, 1, 2]).padding([0, 0, taps / 2]);
            let mut inner = scope.sub(format!("layers.{number}"));
            let conv = Conv::new(inner.sub("conv"), geometry, channels, settings.width, true)?;
            layers.push((conv, BatchNorm::new(inner.sub("norm"), settings.width)?));
            channels = settings.width;
        }
        Ok(StridedConvNet { layers, width: channels })
    }

    /// Features at the end.
    pub fn features(&self) -> usize {
        2 * self.width
    }

    /// x [N, T, ..] to [N, features].
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let shape = x.shape();
        let mut x = x.reshape(&[shape[0], shape[1], shape[2..].iter().product()])?;
        for (conv, norm) in &self.layers {
            x = norm.forward_relu(pass, &conv.forward_sequence(pass, &x)?)?;
        }
        x.mean_and_deviation_over_steps()
    }
}
