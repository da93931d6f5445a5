//! CAE-LR: a convolutional autoencoder on word-aligned features of all modalities, whose code a linear layer reads
//! (Koromilas & Giannakopoulos 2021).

use super::{Batch, Definition, Input, Loss, Needs, Outputs, Parts, Refusal, System};
use engine::nn::{BatchNorm, Conv, ConvSettings, ConvTranspose};
use engine::{Error, Pass, Result, Scope, Tensor};
use kernels::ops::pool::PoolKind;
use kernels::ops::{Activation, MaxUnpool, Pool};
use serde::{Deserialize, Serialize};

/// The settings of [`CaeLr`]; the defaults are the authors'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaeLrSettings {
    /// Channels of the first three layers of the encoder.
    pub channels: [usize; 3],
    /// Channels of the code.
    pub code: usize,
}

impl Default for CaeLrSettings {
    fn default() -> Self {
        CaeLrSettings { channels: [32, 64, 128], code: 15 }
    }
}

/// Taps of each convolution of the encoder, and the window of the max pooling after it.
const LAYERS: [(usize, usize); 4] = [(3, 2), (3, 2), (5, 3), (5, 2)];

/// Four convolutions with max pooling, and the way back with unpooling and transposed convolutions.
///
/// The modalities' features are stacked to an image of steps x features, so they need as many steps each. A modality
/// that a sample lacks is zeros. It has no backbones.
#[derive(Debug, Clone)]
pub struct CaeLr {
    encoder: Vec<(Conv, Option<BatchNorm>)>,
    decoder: Vec<(ConvTranspose, Option<BatchNorm>)>,
}

impl Definition for CaeLr {
    const NAME: &'static str = "cae_lr";
    type Settings = CaeLrSettings;

    fn check(settings: &CaeLrSettings) -> std::result::Result<(), Refusal> {
        for (key, channels) in settings
            .channels
            .map(|channels| ("channels", channels))
            .into_iter()
            .chain([("code", settings.code)])
        {
            if channels == 0 {
                return Err(Refusal::new(key, "is 0; it must be at least 1"));
            }
        }
        Ok(())
    }

    fn needs(_: &CaeLrSettings) -> Needs {
        Needs { unpaired: true, ..Needs::default() }
    }

    /// Makes `encoder.{i}.conv.*`, `encoder.{i}.norm.*`, `decoder.{i}.conv.*` and `decoder.{i}.norm.*`.
    fn new(settings: &CaeLrSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let steps = parts.encoders.first().map_or(0, |encoder| encoder.input[0]);
        if parts.encoders.iter().any(|encoder| encoder.input[0] != steps) {
            let windows = parts.encoders.iter().map(|e| format!("{} {}", e.name, e.input[0]));
            let windows: Vec<String> = windows.collect();
            return Err(refuse(format!(
                "got windows of other lengths ({}), expected word-aligned features with one number of steps; set modality.NAME.window and evaluation_window",
                windows.join(", ")
            )));
        }
        let features = parts.encoders.iter().map(|e| e.input[1..].iter().product::<usize>()).sum();
        if code_extent(steps).is_none() || code_extent(features).is_none() {
            return Err(refuse(format!(
                "got {steps} steps of {features} features, expected at least {LEAST} of each; set the windows"
            )));
        }
        let [first, second, third] = settings.channels;
        let channels = [1, first, second, third, settings.code];
        let geometry = |layer: usize| ConvSettings::new([LAYERS[layer].0; 2]).padding([2, 2]);
        let norm = |scope: &mut Scope<'_>, channels: usize, has: bool| {
            has.then(|| BatchNorm::new(scope.sub("norm"), channels)).transpose()
        };
        let (mut encoder, mut decoder) = (Vec::new(), Vec::new());
        for layer in 0..LAYERS.len() {
            let mut inner = scope.sub(format!("encoder.{layer}"));
            let [from, to] = [channels[layer], channels[layer + 1]];
            let conv = Conv::new(inner.sub("conv"), geometry(layer), from, to, true)?;
            encoder.push((conv, norm(&mut inner, to, layer + 1 < LAYERS.len())?));
        }
        for (number, layer) in (0..LAYERS.len()).rev().enumerate() {
            let mut inner = scope.sub(format!("decoder.{number}"));
            let [from, to] = [channels[layer + 1], channels[layer]];
            let conv =
                ConvTranspose::new(inner.sub("conv"), geometry(layer), [0; 3], from, to, true)?;
            decoder.push((conv, norm(&mut inner, to, layer > 0)?));
        }
        Ok(CaeLr { encoder, decoder })
    }
}

impl System for CaeLr {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let (code, _) = self.encode(pass, &image(pass, batch)?)?;
        let width = code.count() / code.shape()[0];
        let joint = code.reshape(&[code.shape()[0], width])?;
        Ok(Outputs { joint: Some(joint), ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        let image = image(pass, batch)?;
        let (mut x, pooled) = self.encode(pass, &image)?;
        for ((conv, norm), (indices, [h, w])) in self.decoder.iter().zip(pooled.iter().rev()) {
            x = x.max_unpool(MaxUnpool { output: [1, *h, *w] }, indices)?;
            x = activated(pass, &conv.forward(pass, &x)?, norm.as_ref())?;
        }
        x.mse(&image).map(Loss::from)
    }
}

impl CaeLr {
    /// The code `[N, 1, H, W, C]` of an image, and its poolings.
    fn encode(&self, pass: &Pass<'_>, image: &Tensor) -> Result<(Tensor, Vec<Pooled>)> {
        let mut x = image.clone();
        let mut pooled = Vec::new();
        for ((conv, norm), (_, window)) in self.encoder.iter().zip(LAYERS) {
            x = activated(pass, &conv.forward(pass, &x)?, norm.as_ref())?;
            let [_, _, h, w, _] = x.extents(Self::NAME)?;
            let extents = [1, window, window];
            let op = Pool {
                kind: PoolKind::Max,
                kernel: extents,
                stride: extents,
                padding: [0; 3],
                ceil: false,
            };
            let (y, indices) = x.pool_with_indices(op)?;
            pooled.push((indices, [h, w]));
            x = y;
        }
        Ok((x, pooled))
    }
}

/// The indices of a max pooling, and height and width before it.
type Pooled = (Tensor, [usize; 2]);

/// Batch norm and GELU, except after the layers of code and output, which have no norm.
fn activated(pass: &Pass<'_>, x: &Tensor, norm: Option<&BatchNorm>) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(pass, x)?.activation(Activation::Gelu),
        None => Ok(x.clone()),
    }
}

/// The modalities' features side by side: `[N, 1, T, features, 1]`.
fn image(pass: &Pass<'_>, batch: &Batch) -> Result<Tensor> {
    let steps = batch.modalities.first().map_or(0, |input| input.data.shape()[1]);
    let flat = |input: &Input| {
        let shape = input.data.shape();
        if shape[1] != steps {
            return Err(refuse(format!(
                "got modalities of {steps} and {} steps, expected word-aligned features of one number of steps; set the windows",
                shape[1]
            )));
        }
        let features: usize = shape[2..].iter().product();
        let rows = shape[0].max(1);
        // No row at all: one row of zeros, which fills every row.
        let data = match shape[0] {
            0 => Tensor::zeros_on(&[1, steps * features], pass.dtype(), pass.device())?,
            _ => input.data.on(pass.device())?.reshape(&[rows, steps * features])?,
        };
        input.fill(&data)?.reshape(&[batch.rows(), steps, features])
    };
    let all: Vec<Tensor> = batch.modalities.iter().map(flat).collect::<Result<_>>()?;
    let joined = Tensor::concat(&all.iter().collect::<Vec<_>>(), 2)?;
    let [n, t, features] = joined.extents(CaeLr::NAME)?;
    joined.reshape(&[n, 1, t, features, 1])
}

/// The least steps and features whose code is not empty.
const LEAST: usize = 18;

/// The extent of the code along an axis of the image; `None` if a pooling has less than one window.
fn code_extent(extent: usize) -> Option<usize> {
    LAYERS.iter().try_fold(extent, |extent, (taps, window)| {
        let convolved = (extent + 4).checked_sub(taps - 1)?;
        Some(convolved / window).filter(|&pooled| pooled > 0)
    })
}

fn refuse(what: String) -> Error {
    Error::Model { model: CaeLr::NAME.into(), what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systems::EncoderSettings;
    use engine::{DType, Device, Parameters};

    #[test]
    fn it_has_the_published_parameters_and_codes() -> Result<()> {
        let mut parameters = Parameters::planned(DType::F32, &Device::Cpu);
        let encoders = [EncoderSettings::strided("all", &[20, 409])];
        let parts = Parts::new(&encoders, None);
        CaeLr::new(&CaeLrSettings::default(), parts, parameters.scope())?;
        let count = |prefix: &str| -> usize {
            let ids = parameters.trainable().filter(|id| parameters.name(*id).starts_with(prefix));
            ids.map(|id| parameters.logical(id).count()).sum()
        };
        assert_eq!((count("encoder."), count("decoder.")), (272_207, 272_193));
        // 15 channels of 1 x 17, and of 1 x 15 without 35 features of FACET.
        assert_eq!([20, 409, 374].map(code_extent), [Some(1), Some(17), Some(15)]);
        assert!(code_extent(LEAST).is_some() && code_extent(LEAST - 1).is_none());
        Ok(())
    }

    #[test]
    fn windows_that_are_not_aligned_are_refused() -> Result<()> {
        let mut parameters = Parameters::new(DType::F32, 0);
        let encoders =
            [EncoderSettings::strided("a", &[20, 12]), EncoderSettings::strided("b", &[20, 9])];
        let system =
            CaeLr::new(&CaeLrSettings::default(), Parts::new(&encoders, None), parameters.scope())?;
        let pass = Pass::evaluate(&parameters);
        let zeros = |steps, features| Tensor::zeros(&[2, steps, features], DType::F32);
        let outputs = system.outputs(&pass, &Batch::new(vec![zeros(20, 12), zeros(20, 9)]))?;
        assert_eq!(outputs.joint.map(|joint| joint.shape().to_vec()), Some(vec![2, 15]));
        let refused = system.outputs(&pass, &Batch::new(vec![zeros(20, 12), zeros(21, 9)]));
        assert!(refused.unwrap_err().to_string().contains("20 and 21 steps"));
        let odd =
            [EncoderSettings::strided("a", &[20, 12]), EncoderSettings::strided("b", &[21, 9])];
        let odd = CaeLr::new(
            &CaeLrSettings::default(),
            Parts::new(&odd, None),
            Parameters::new(DType::F32, 0).scope(),
        );
        assert!(odd.unwrap_err().to_string().contains("a 20, b 21"));
        let short = [EncoderSettings::strided("a", &[6, 40])];
        let short = CaeLr::new(
            &CaeLrSettings::default(),
            Parts::new(&short, None),
            Parameters::new(DType::F32, 0).scope(),
        );
        assert!(short.unwrap_err().to_string().contains("6 steps of 40 features"));
        Ok(())
    }
}
