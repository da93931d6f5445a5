//! Backbone for any sequence: strided temporal convolutions, pooled by mean and standard deviation. In the synthetic
//! world it is as accurate as the paper's larger networks, in a fraction of the time.

use super::refuse;
use engine::nn::{BatchNorm, Conv, ConvSettings};
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// Settings of [`StridedConvNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StridedConvNetSettings {
    /// Channels of every layer. The output has 2 width features.
    pub width: usize,
    /// Number of layers. The first has 5 taps, the others 3; all have stride 2.
    pub layers: usize,
}

impl Default for StridedConvNetSettings {
    fn default() -> Self {
        StridedConvNetSettings { width: 64, layers: 3 }
    }
}

/// Convolutions of stride 2 with batch norm and ReLU, then mean and standard deviation over time.
#[derive(Debug, Clone)]
pub struct StridedConvNet {
    layers: Vec<(Conv, BatchNorm)>,
    width: usize,
}

impl StridedConvNet {
    /// A network for samples `[T, ..]`; all axes but time are features.
    ///
    /// # Errors
    /// When `input` has no features.
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
            let geometry = ConvSettings::new([taps]).stride([2]).padding([taps / 2]);
            let mut inner = scope.sub(format!("layers.{number}"));
            let conv = Conv::new(inner.sub("conv"), geometry, channels, settings.width, true)?;
            layers.push((conv, BatchNorm::new(inner.sub("norm"), settings.width)?));
            channels = settings.width;
        }
        Ok(StridedConvNet { layers, width: channels })
    }

    /// Features of the output.
    pub fn features(&self) -> usize {
        2 * self.width
    }

    /// Features of a step of [`steps`](Self::steps).
    pub fn step_features(&self) -> usize {
        self.width
    }

    /// x `[N, T, ..]` to `[N, features]`.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        self.steps(pass, x)?.mean_and_std_over_steps()
    }

    /// x `[N, T, ..]` to `[N, T', width]`, where every layer halves the steps, rounded up.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn steps(&self, pass: &Pass<'_>, x: &Tensor) -> Result<Tensor> {
        let shape = x.shape();
        let mut x = x.reshape(&[shape[0], shape[1], shape[2..].iter().product()])?;
        for (conv, norm) in &self.layers {
            x = norm.forward_relu(pass, &conv.forward(pass, &x)?)?;
        }
        Ok(x)
    }

    /// The valid steps of [`steps`](Self::steps) for lengths `[N]` of its input.
    ///
    /// # Errors
    /// When work on a GPU failed.
    pub fn lengths(&self, lengths: &Tensor) -> Result<Tensor> {
        let halved = |length: f64| self.layers.iter().fold(length as u32, |l, _| l.div_ceil(2));
        let halved: Vec<u32> = lengths.to_vec()?.into_iter().map(halved).collect();
        Tensor::from_slice(&halved, &[halved.len()])
    }
}
