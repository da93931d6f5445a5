//! The backbones of a system, one for each modality.

use super::{Batch, Input};
use crate::backbones::{Backbone, BackboneSettings, StridedConvNetSettings};
use engine::nn::Dropout;
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// One modality of a system: its name, its backbone and the shape of its samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSettings {
    /// The modality's name, which prefixes its parameters' names.
    pub name: String,
    /// The modality's backbone.
    pub backbone: BackboneSettings,
    /// Dropout probability of the features, in training.
    pub dropout: f64,
    /// Shape of one sample in training, `[T, ..]`.
    pub input: Vec<usize>,
}

impl EncoderSettings {
    /// A small network for any sequence: strided temporal convolutions, no dropout. `input` is the shape of a sample.
    pub fn strided(name: &str, input: &[usize]) -> Self {
        let backbone = BackboneSettings::StridedConv(StridedConvNetSettings::default());
        EncoderSettings { name: name.into(), backbone, dropout: 0.0, input: input.to_vec() }
    }
}

/// The backbones of all modalities.
#[derive(Debug, Clone)]
pub struct Encoders {
    encoders: Vec<(Backbone, Dropout)>,
}

impl Encoders {
    /// Makes all backbones' parameters, each in the scope of its modality's name.
    ///
    /// # Errors
    /// When a backbone does not accept its input's shape, or two modalities have the same name.
    pub fn new(settings: &[EncoderSettings], scope: &mut Scope<'_>) -> Result<Self> {
        let encoder = |s: &EncoderSettings| {
            let backbone = Backbone::new(&s.backbone, scope.sub(&s.name), &s.input)?;
            Ok((backbone, Dropout { probability: s.dropout }))
        };
        Ok(Encoders { encoders: settings.iter().map(encoder).collect::<Result<_>>()? })
    }

    /// The number of features of each modality.
    pub fn widths(&self) -> Vec<usize> {
        self.encoders.iter().map(|(backbone, _)| backbone.features()).collect()
    }

    /// The number of features of a step of each modality.
    pub fn step_widths(&self) -> Vec<usize> {
        self.encoders.iter().map(|(backbone, _)| backbone.step_features()).collect()
    }

    /// The features `[R, C]` of each modality, for the rows of the batch that have it; one row of zeros if none has it.
    ///
    /// # Errors
    /// When a backbone does not accept its input's shape.
    pub fn forward(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Vec<Tensor>> {
        let features = |((backbone, dropout), input): (&(Backbone, Dropout), &Input)| {
            if input.data.shape()[0] == 0 {
                let zeros = Tensor::zeros(&[1, backbone.features()], pass.dtype());
                return zeros.on(pass.device());
            }
            let features = backbone.forward(pass, &input.data, input.lengths.as_ref())?;
            dropout.forward(pass, &features)
        };
        self.encoders.iter().zip(&batch.modalities).map(features).collect()
    }

    /// The sequence of features `[R, T, C]` of one modality, for the rows of the batch that have it, and the valid steps of
    /// each row. At least one row must have it.
    ///
    /// # Errors
    /// When the backbone does not accept its input's shape.
    pub fn steps(
        &self,
        pass: &Pass<'_>,
        input: &Input,
        modality: usize,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (backbone, dropout) = &self.encoders[modality];
        let (steps, lengths) = backbone.steps(pass, &input.data, input.lengths.as_ref())?;
        Ok((dropout.forward(pass, &steps)?, lengths))
    }

    /// The features `[N, C]` of each modality for every row of the batch; zeros for rows without the modality.
    ///
    /// # Errors
    /// When a backbone does not accept its input's shape.
    pub fn forward_filled(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Vec<Tensor>> {
        let features = self.forward(pass, batch)?;
        features.iter().zip(&batch.modalities).map(|(f, input)| input.fill(f)).collect()
    }
}
