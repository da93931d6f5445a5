//! Backbones: networks that map one modality to a feature vector.

mod audio;
mod clip;
mod conformer;
mod face;
mod graph;
mod landmarks;
mod skeleton;
mod strided;
mod text;

pub use audio::{TemporalConvNet, TemporalConvNetSettings};
pub use clip::{StridedClipNet, StridedClipNetSettings};
pub use conformer::{Conformer, ConformerSettings};
pub use face::{R2Plus1d, R2Plus1dSettings};
pub use graph::{FaceGraph, Partition};
pub use landmarks::{Stgcn, StgcnSettings};
pub use skeleton::{SpatialTemporalGraphNet, SpatialTemporalGraphNetSettings};
pub use strided::{StridedConvNet, StridedConvNetSettings};
pub use text::{TextTransformer, TextTransformerSettings};

use engine::{Error, Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// The kind of a modality's network and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum BackboneSettings {
    /// Transformer encoder on word vectors `[N, T, width]`.
    TextTransformer(TextTransformerSettings),
    /// R(2+1)D on face clips `[N, T, H, W, 3]`.
    R2plus1d(R2Plus1dSettings),
    /// Yu et al.'s spatio-temporal graph network on landmarks `[N, T, V, 2]`.
    Stgcn(StgcnSettings),
    /// Yan et al.'s spatio-temporal graph network on landmarks `[N, T, V, 2]`.
    StGcn(SpatialTemporalGraphNetSettings),
    /// Temporal convolutions on log-mels `[N, T, F]`.
    Tcn(TemporalConvNetSettings),
    /// Strided temporal convolutions on any sequence `[N, T, ..]`, pooled by mean and standard deviation.
    StridedConv(StridedConvNetSettings),
    /// Strided convolutions on small clips `[N, T, H, W, C]`, pooled by mean and standard deviation.
    StridedClip(StridedClipNetSettings),
    /// Conformer on any sequence `[N, T, ..]`, pooled by the mean.
    Conformer(ConformerSettings),
}

impl BackboneSettings {
    /// Whether [`Backbone::steps`] gives a sequence; the others pool time inside their layers, and give one step.
    pub fn has_steps(&self) -> bool {
        matches!(
            self,
            BackboneSettings::Tcn(_)
                | BackboneSettings::StridedConv(_)
                | BackboneSettings::Conformer(_)
        )
    }

    /// Refuses what no network can have: an integer of 0 or a number below 0.
    ///
    /// # Errors
    /// The first such setting.
    pub fn check(&self) -> Result<()> {
        let refused = |what: String| Error::Model { model: "backbone".into(), what };
        let settings = serde_json::to_value(self).map_err(|error| refused(error.to_string()))?;
        let settings = settings.as_object().into_iter().flatten();
        for (key, value) in settings {
            let single = std::slice::from_ref(value);
            for number in value.as_array().map_or(single, Vec::as_slice) {
                let wrong = match number {
                    serde_json::Value::Number(number) if number.is_u64() => {
                        number.as_u64() == Some(0)
                    }
                    serde_json::Value::Number(number) => number.as_f64().is_none_or(|v| v < 0.0),
                    _ => false,
                };
                if wrong {
                    return Err(refused(format!("`{key}` is {number}; it must be above 0")));
                }
            }
        }
        Ok(())
    }
}

/// A network built from [`BackboneSettings`].
#[allow(clippy::large_enum_variant, reason = "a program holds a handful")]
#[derive(Debug, Clone)]
pub enum Backbone {
    /// See [`BackboneSettings::TextTransformer`].
    TextTransformer(TextTransformer),
    /// See [`BackboneSettings::R2plus1d`].
    R2plus1d(R2Plus1d),
    /// See [`BackboneSettings::Stgcn`].
    Stgcn(Stgcn),
    /// See [`BackboneSettings::StGcn`].
    StGcn(SpatialTemporalGraphNet),
    /// See [`BackboneSettings::Tcn`].
    Tcn(TemporalConvNet),
    /// See [`BackboneSettings::StridedConv`].
    StridedConv(StridedConvNet),
    /// See [`BackboneSettings::StridedClip`].
    StridedClip(StridedClipNet),
    /// See [`BackboneSettings::Conformer`].
    Conformer(Conformer),
}

impl Backbone {
    /// Makes a network and its parameters in the scope. `input` is the shape of one sample, `[T, ..features]`.
    ///
    /// # Errors
    /// When the settings do not match the input or each other.
    pub fn new(settings: &BackboneSettings, scope: Scope<'_>, input: &[usize]) -> Result<Self> {
        settings.check()?;
        Ok(match settings {
            BackboneSettings::TextTransformer(s) => {
                Backbone::TextTransformer(TextTransformer::new(s, scope, input)?)
            }
            BackboneSettings::R2plus1d(s) => Backbone::R2plus1d(R2Plus1d::new(s, scope, input)?),
            BackboneSettings::Stgcn(s) => Backbone::Stgcn(Stgcn::new(s, scope, input)?),
            BackboneSettings::StGcn(s) => {
                Backbone::StGcn(SpatialTemporalGraphNet::new(s, scope, input)?)
            }
            BackboneSettings::Tcn(s) => Backbone::Tcn(TemporalConvNet::new(s, scope, input)?),
            BackboneSettings::Conformer(s) => Backbone::Conformer(Conformer::new(s, scope, input)?),
            BackboneSettings::StridedClip(s) => {
                Backbone::StridedClip(StridedClipNet::new(s, scope, input)?)
            }
            BackboneSettings::StridedConv(s) => {
                Backbone::StridedConv(StridedConvNet::new(s, scope, input)?)
            }
        })
    }

    /// The number of features of the output.
    pub fn features(&self) -> usize {
        match self {
            Backbone::TextTransformer(net) => net.features(),
            Backbone::R2plus1d(net) => net.features(),
            Backbone::Stgcn(net) => net.features(),
            Backbone::StGcn(net) => net.features(),
            Backbone::Tcn(net) => net.features(),
            Backbone::StridedConv(net) => net.features(),
            Backbone::StridedClip(net) => net.features(),
            Backbone::Conformer(net) => net.features(),
        }
    }

    /// x `[N, T, ..]` to features `[N, features]`. `lengths` `[N]` is the number of valid steps of each sample, at
    /// most T. Convolutional networks treat padding as data, as in the paper, unless their setting `masked` is true.
    ///
    /// # Errors
    /// When x does not have the shape for which the network was made.
    pub fn forward(&self, pass: &Pass<'_>, x: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
        let x = &x.on(pass.device())?;
        let on_device = || lengths.map(|lengths| lengths.on(pass.device())).transpose();
        match self {
            Backbone::TextTransformer(net) => net.forward(pass, x, on_device()?.as_ref()),
            // Their masks are made on the CPU.
            Backbone::R2plus1d(net) => net.forward(pass, x, lengths),
            Backbone::Stgcn(net) => net.forward(pass, x),
            Backbone::StGcn(net) => net.forward(pass, x, lengths),
            Backbone::Tcn(net) => net.forward(pass, x, lengths),
            Backbone::StridedConv(net) => net.forward(pass, x, lengths),
            Backbone::StridedClip(net) => net.forward(pass, x, lengths),
            Backbone::Conformer(net) => net.forward(pass, x, lengths),
        }
    }

    /// The number of features of a step of [`steps`](Self::steps).
    pub fn step_features(&self) -> usize {
        match self {
            Backbone::StridedConv(net) => net.step_features(),
            _ => self.features(),
        }
    }

    /// x `[N, T, ..]` to a sequence of features `[N, T', step_features]` and the valid steps of each sample. A backbone
    /// that [has no steps](BackboneSettings::has_steps) gives one.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn steps(
        &self,
        pass: &Pass<'_>,
        x: &Tensor,
        lengths: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let x = &x.on(pass.device())?;
        match self {
            Backbone::Conformer(net) => {
                return Ok((net.steps(pass, x, lengths)?, lengths.cloned()));
            }
            Backbone::Tcn(net) => {
                return Ok((net.steps(pass, x, lengths)?, lengths.cloned()));
            }
            Backbone::StridedConv(net) => {
                let valid = lengths.map(|lengths| net.lengths(lengths)).transpose()?;
                return Ok((net.steps(pass, x, lengths)?, valid));
            }
            _ => {}
        }
        let pooled = self.forward(pass, x, lengths)?;
        let [n, features] = pooled.extents("backbone")?;
        Ok((pooled.reshape(&[n, 1, features])?, None))
    }
}

/// An error about the shape of one sample.
fn refuse(name: &str, input: &[usize], expected: &str) -> engine::Error {
    engine::Error::Parameter {
        name: name.into(),
        what: format!("got a sample of shape {input:?}, expected {expected}"),
    }
}

#[cfg(test)]
mod tests;
