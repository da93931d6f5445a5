//! MPUC: a contrastive loss between the embeddings of every ordered pair of modalities (Franceschini et al., ICPR
//! 2022, equations 1 and 2).

use super::{Batch, Definition, EncoderSettings, Encoders, Loss, Needs, Outputs, Parts};
use super::{Plateau, Refusal, System};
use crate::contrast::{Adversary, AdversarySettings, Contrast, LossKind, Positives};
use crate::heads::{Projection, ProjectionSettings};
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

pub use crate::contrast::{ContrastiveSettings, Denominator};

/// The settings of [`Mpuc`]; the defaults are the paper's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MpucSettings {
    /// The projection heads.
    pub projection: ProjectionSettings,
    /// The contrastive loss.
    pub loss: ContrastiveSettings,
    /// A classifier of modalities with a reversed gradient, in place of AR-IIGCN's adversary (Shou et al. 2023).
    pub adversary: AdversarySettings,
}

/// Encoders, a projection head for each, and the loss between every ordered pair of modalities.
#[derive(Debug, Clone)]
pub struct Mpuc {
    encoders: Encoders,
    projections: Vec<Projection>,
    contrast: Contrast,
    adversary: Option<Adversary>,
    loss: ContrastiveSettings,
}

impl Definition for Mpuc {
    const NAME: &'static str = "mpuc";
    type Settings = MpucSettings;

    fn check(settings: &MpucSettings) -> std::result::Result<(), Refusal> {
        settings.loss.check()?;
        settings.adversary.check()?;
        let ProjectionSettings { hidden, output, .. } = settings.projection;
        for (key, width) in [("projection.hidden", hidden), ("projection.output", output)] {
            if width == 0 {
                return Err(Refusal::new(key, "is 0; it must be at least 1"));
            }
        }
        Ok(())
    }

    fn needs(settings: &MpucSettings) -> Needs {
        Needs {
            labels: settings.loss.positives == Positives::Label,
            pairs: true,
            views: settings.loss.views(),
            modalities: 2..=usize::MAX,
            ..Needs::default()
        }
    }

    /// Makes `{modality}.*`, `projection.{modality}.*`, `loss.*` if the loss has learned numbers, and `adversary.*` if there
    /// is one.
    fn new(settings: &MpucSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let encoders = Encoders::new(parts.encoders, &mut scope)?;
        let mut heads = scope.sub("projection");
        let head = |(encoder, width): (&EncoderSettings, usize)| {
            Projection::new(&settings.projection, heads.sub(&encoder.name), width)
        };
        let projections =
            parts.encoders.iter().zip(encoders.widths()).map(head).collect::<Result<_>>()?;
        let contrast = Contrast::new(&settings.loss, parts, Self::NAME, scope.sub("loss"))?;
        let width = settings.projection.output;
        let count = parts.encoders.len();
        let adversary = Adversary::new(&settings.adversary, scope.sub("adversary"), width, count)?;
        Ok(Mpuc { encoders, projections, contrast, adversary, loss: settings.loss.clone() })
    }
}

impl System for Mpuc {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let features = self.encoders.forward(pass, batch)?;
        let rows = batch.modalities.iter().map(|input| &input.rows);
        let embedding =
            |((projection, features), rows): ((&Projection, &Tensor), &Option<Tensor>)| {
                let embedding = projection.forward(pass, features)?;
                rows.as_ref().map_or(Ok(embedding.clone()), |rows| embedding.embedding(rows))
            };
        let embeddings = self
            .projections
            .iter()
            .zip(&features)
            .zip(rows)
            .map(embedding)
            .collect::<Result<_>>()?;
        Ok(Outputs { features, embeddings, ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        let embeddings = self.outputs(pass, batch)?.embeddings;
        let loss = self.contrast.loss(pass, batch, embeddings)?;
        match &self.adversary {
            None => Ok(loss),
            Some(adversary) => {
                let modality = adversary.loss(pass, batch, &loss.embeddings)?;
                loss.plus(modality, "modality")
            }
        }
    }

    fn chance_loss(&self, batch: usize) -> Option<f64> {
        let count = self.projections.len();
        let adversary = self.adversary.as_ref().map_or(0.0, |_| (count as f64).ln());
        Some(self.loss.chance(batch, count)? + adversary)
    }

    fn plateau(&self, batch: usize) -> Option<Plateau> {
        let why = match self.loss.kind {
            LossKind::Triplet => {
                "this is its margin, its value if all embeddings are equal; triplet.negatives = \"all\", a lower learning \
                 rate, or batch norm in the projection head (projection.batch_norm = true) can end it"
            }
            _ => {
                "this is its value if all embeddings are equal, where its gradient is almost 0. \
                 Standardised inputs and batch norm in the projection head (projection.batch_norm = true) end it; with \
                 the paper's plain head and learning rate it can last 20 epochs or more"
            }
        };
        Some(Plateau { loss: self.chance_loss(batch)?, why })
    }
}
