//! Whole systems: which networks there are, and what loss ties them together.

mod late_fusion;
mod mpuc;

pub use late_fusion::{LateFusion, LateFusionSettings};
pub use mpuc::{ContrastiveSettings, Denominator, Mpuc, Reduction};

use crate::backbones::{Backbone, BackboneSettings};
use engine::nn::Dropout;
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// What a system is trained on in one step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// One entry a modality, in the order of the system's.
    pub modalities: Vec<Input>,
    /// The samples' targets, as [`crate::targets::Targets::tensor`] gives them; supervised systems alone read them.
    pub labels: Option<Tensor>,
    /// Samples in the batch; each has `views` rows.
    pub samples: usize,
    /// Windows drawn of each sample: the rows of the second view follow those of the first.
    pub views: usize,
}

/// One modality of a batch.
#[derive(Debug, Clone)]
pub struct Input {
    /// Rows [R, T, ..] of the samples that have this modality.
    pub data: Tensor,
    /// How many of the T steps are real `[R]`, where rows are padded.
    pub lengths: Option<Tensor>,
    /// Where some samples lack the modality: for each of the N rows of the batch the row of `data`, and any
    /// row for those that lack it.
    pub rows: Option<Tensor>,
    /// Which rows of the batch have it `[N]`, where some lack it.
    pub present: Option<Vec<u32>>,
}

impl Batch {
    /// Rows of every modality, present or not.
    pub fn rows(&self) -> usize {
        self.samples * self.views
    }

    /// The presence flags [M, N] of all modalities, if any sample lacks one.
    fn presence(&self) -> Result<Option<Tensor>> {
        if self.modalities.iter().all(|input| input.present.is_none()) {
            return Ok(None);
        }
        let rows = self.rows();
        let flags = |input: &Input| input.present.clone().unwrap_or_else(|| vec![1; rows]);
        let flags: Vec<u32> = self.modalities.iter().flat_map(flags).collect();
        Tensor::from_slice(&flags, &[self.modalities.len(), rows]).map(Some)
    }
}

/// One modality of a system: its name, its network and the shape of its samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSettings {
    /// The modality's name, which prefixes its parameters' names.
    pub name: String,
    /// Its network.
    pub backbone: BackboneSettings,
    /// Dropout on the features, in training.
    pub dropout: f64,
    /// Shape of one sample [T, ..] in training.
    pub input: Vec<usize>,
}

/// The networks of all modalities.
#[derive(Debug, Clone)]
pub struct Encoders {
    encoders: Vec<(Backbone, Dropout)>,
}

impl Encoders {
    /// Makes all networks' parameters, each in the scope of its modality's name.
    ///
    /// # Errors
    /// When settings do not go together.
    pub fn new(settings: &[EncoderSettings], scope: &mut Scope<'_>) -> Result<Self> {
        let encoder = |s: &EncoderSettings| {
            let backbone = Backbone::new(&s.backbone, scope.sub(&s.name), &s.input)?;
            Ok((backbone, Dropout { probability: s.dropout }))
        };
        Ok(Encoders { encoders: settings.iter().map(encoder).collect::<Result<_>>()? })
    }

    /// How many features each modality has.
    pub fn widths(&self) -> Vec<usize> {
        self.encoders.iter().map(|(backbone, _)| backbone.features()).collect()
    }

    /// The features of each modality, for the rows of the batch that have it; one row of zeros where none has.
    ///
    /// # Errors
    /// When the shapes do not fit.
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

    /// The features of each modality for every row of the batch; zeros where a row lacks the modality.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward_filled(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Vec<Tensor>> {
        let fill = |(features, input): (Tensor, &Input)| {
            let (Some(rows), Some(present)) = (&input.rows, &input.present) else {
                return Ok(features);
            };
            let width = features.shape().features();
            let spread = features.embedding(rows)?;
            let mask: Vec<f64> =
                present.iter().flat_map(|&p| std::iter::repeat_n(f64::from(p), width)).collect();
            spread
                .multiply(&Tensor::from_slice(&mask, &[present.len(), width])?.to(spread.dtype())?)
        };
        self.forward(pass, batch)?.into_iter().zip(&batch.modalities).map(fill).collect()
    }
}

/// What a system's loss came to.
#[derive(Debug)]
pub struct Loss {
    /// The number to be minimised.
    pub total: Tensor,
    /// The loss of each ordered pair of modalities [M, M], for contrastive systems.
    pub pairs: Option<Tensor>,
}

/// A system that can be trained: networks and a loss.
pub trait System {
    /// The loss of a batch.
    ///
    /// # Errors
    /// When the shapes do not fit.
    fn loss(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Loss>;

    /// The networks whose features a probe reads.
    fn encoders(&self) -> &Encoders;
}
