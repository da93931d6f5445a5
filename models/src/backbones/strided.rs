//! Backbone for any sequence: strided temporal convolutions, pooled by mean and standard deviation. In the synthetic
//! world it is as accurate as the paper's larger networks, in a fraction of the time.

use super::refuse;
use engine::nn::{BatchNorm, Conv, ConvSettings, StepMask};
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
    /// Whether the steps after the end of a sample are left out, so that padding changes no feature; otherwise they are data.
    /// In training, batch norm also measures them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

impl Default for StridedConvNetSettings {
    fn default() -> Self {
        StridedConvNetSettings { width: 64, layers: 3, masked: false }
    }
}

/// Convolutions of stride 2 with batch norm and ReLU, then mean and standard deviation over time.
#[derive(Debug, Clone)]
pub struct StridedConvNet {
    layers: Vec<Layer>,
    width: usize,
    masked: bool,
}

#[derive(Debug, Clone)]
struct Layer {
    conv: Conv,
    norm: BatchNorm,
    taps: usize,
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
            let norm = BatchNorm::new(inner.sub("norm"), settings.width)?;
            layers.push(Layer { conv, norm, taps });
            channels = settings.width;
        }
        Ok(StridedConvNet { layers, width: channels, masked: settings.masked })
    }

    /// Features of the output.
    pub fn features(&self) -> usize {
        2 * self.width
    }

    /// Features of a step of [`steps`](Self::steps).
    pub fn step_features(&self) -> usize {
        self.width
    }

    /// x `[N, T, ..]` to `[N, features]`. If the network is masked, steps after the first `lengths` `[N]` change nothing;
    /// lengths on a GPU are copied to the CPU.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
        let (x, mask) = self.convolved(pass, x, lengths)?;
        match mask {
            None => x.mean_and_std_over_steps(),
            Some(mask) => x.mean_and_std_over_valid_steps(&mask.lengths(pass, 1)?),
        }
    }

    /// x `[N, T, ..]` to `[N, T', width]`, where every layer halves the steps, rounded up. If the network is masked, steps
    /// after the first `lengths` `[N]` do not change those before.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn steps(&self, pass: &Pass<'_>, x: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
        Ok(self.convolved(pass, x, lengths)?.0)
    }

    fn convolved(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<(Tensor, Option<StepMask>)> {
        let shape = x.shape();
        let mut mask = StepMask::new(pass, lengths.filter(|_| self.masked), shape[1])?;
        let mut x = x.reshape(&[shape[0], shape[1], shape[2..].iter().product()])?;
        for Layer { conv, norm, taps } in &self.layers {
            if let Some(mask) = &mut mask {
                // A convolution reads zeros beyond the end of a sequence: so it must beyond the end of a sample.
                x = mask.zero_padding(&x)?;
                *mask = mask.after(pass, *taps, 2)?;
            }
            x = norm.forward_relu(pass, &conv.forward(pass, &x)?)?;
        }
        Ok((x, mask))
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{DType, Parameters};

    const FEATURES: usize = 3;

    /// The features of samples with these numbers of steps, cut to `steps` and padded with `fill`.
    fn features(masked: bool, samples: &[usize], steps: usize, fill: f64) -> Result<Vec<f64>> {
        let mut parameters = Parameters::new(DType::F64, 5);
        let settings = StridedConvNetSettings { width: 4, layers: 3, masked };
        let net = StridedConvNet::new(&settings, parameters.scope(), &[steps, FEATURES])?;
        let mut values = Vec::new();
        for (sample, &length) in samples.iter().enumerate() {
            let number = |i: usize| ((i + 1) as f64 * (sample + 2) as f64 * 0.7).sin();
            values.extend((0..length * FEATURES).map(number));
            values.resize((sample + 1) * steps * FEATURES, fill);
        }
        let x = Tensor::from_slice(&values, &[samples.len(), steps, FEATURES])?;
        let lengths: Vec<u32> = samples.iter().map(|&length| length as u32).collect();
        let lengths = Tensor::from_slice(&lengths, &[lengths.len()])?;
        net.forward(&Pass::evaluate(&parameters), &x, Some(&lengths))?.to_vec()
    }

    #[test]
    fn padding_changes_no_feature_of_a_masked_network_alone() -> Result<()> {
        for length in 1..=11 {
            for steps in [11, 16] {
                let padded = features(true, &[11, length], steps, 9.0)?;
                let plain = features(true, &[11], 11, 0.0)?;
                let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-9;
                assert!(padded[..8].iter().zip(&plain).all(close), "{steps}: {padded:?} {plain:?}");
                let other = features(true, &[11, length], steps, -2.0)?;
                assert!(padded.iter().zip(&other).all(close), "{length} of {steps}");
            }
        }
        let whole = features(true, &[11, 11], 11, 0.0)?;
        assert_eq!(whole, features(false, &[11, 11], 11, 0.0)?, "without padding nothing changes");
        assert_ne!(features(false, &[7], 11, 9.0)?, features(false, &[7], 11, -2.0)?);
        Ok(())
    }
}
