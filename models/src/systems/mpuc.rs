//! MPUC: every modality's embedding must find its partner in every other modality (Franceschini et al., ICPR
//! 2022, equations 1 and 2).

use super::{Batch, EncoderSettings, Encoders, Loss, System};
use crate::heads::{Projection, ProjectionSettings};
use engine::{Parameters, Pass, Result, Tensor};
use kernels::ops::info_nce;
use serde::{Deserialize, Serialize};

/// The contrastive loss; the defaults are the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastiveSettings {
    /// What the cosines are divided by.
    pub temperature: f64,
    /// Which pairs stand in the denominator.
    pub denominator: Denominator,
    /// Mean over a batch, or the sum of the printed equation, which multiplies the step by the batch.
    pub reduction: Reduction,
}

/// Which pairs stand in the denominator of the contrastive loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denominator {
    /// All but the positive: the paper's equation 1.
    ExcludePositive,
    /// All: the rows of CLIP's loss.
    IncludePositive,
    /// What the authors' code does with two views of each sample.
    Authors,
}

/// How the losses of a batch's samples are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
}

impl Default for ContrastiveSettings {
    fn default() -> Self {
        ContrastiveSettings {
            temperature: 0.07,
            denominator: Denominator::ExcludePositive,
            reduction: Reduction::Mean,
        }
    }
}

impl ContrastiveSettings {
    fn op(&self, masked: bool) -> info_nce::InfoNce {
        info_nce::InfoNce {
            temperature: self.temperature,
            denominator: match self.denominator {
                Denominator::ExcludePositive => info_nce::Denominator::ExcludePositive,
                Denominator::IncludePositive => info_nce::Denominator::IncludePositive,
                Denominator::Authors => info_nce::Denominator::Authors { half: true },
            },
            reduction: match self.reduction {
                Reduction::Mean => info_nce::Reduction::Mean,
                Reduction::Sum => info_nce::Reduction::Sum,
            },
            masked,
        }
    }

    /// What a sample's loss is when all embeddings are alike: the plateau that training can start on.
    pub fn plateau(&self, batch: usize) -> f64 {
        match self.denominator {
            Denominator::ExcludePositive => ((batch - 1) as f64).ln(),
            Denominator::IncludePositive => (batch as f64).ln(),
            Denominator::Authors => 0.5 * ((2 * batch - 1) as f64).ln(),
        }
    }
}

/// Encoders, a projection head for each, and the loss between every ordered pair.
#[derive(Debug, Clone)]
pub struct Mpuc {
    encoders: Encoders,
    projections: Vec<Projection>,
    loss: ContrastiveSettings,
}

impl Mpuc {
    /// Makes all parameters: `{modality}.*` and `projection.{modality}.*`.
    ///
    /// # Errors
    /// When settings do not go together.
    pub fn new(
        modalities: &[EncoderSettings],
        projection: &ProjectionSettings,
        loss: ContrastiveSettings,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let mut scope = parameters.scope();
        let encoders = Encoders::new(modalities, &mut scope)?;
        let mut heads = scope.sub("projection");
        let head = |(settings, width): (&EncoderSettings, usize)| {
            Projection::new(projection, heads.sub(&settings.name), width)
        };
        let projections =
            modalities.iter().zip(encoders.widths()).map(head).collect::<Result<_>>()?;
        Ok(Mpuc { encoders, projections, loss })
    }

    /// The embedding of each modality for every row of the batch, not yet of length 1. Rows that lack a
    /// modality hold another row's.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn embeddings(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Vec<Tensor>> {
        let features = self.encoders.forward(pass, batch)?;
        let rows = batch.modalities.iter().map(|input| &input.rows);
        let embedding =
            |((projection, features), rows): ((&Projection, Tensor), &Option<Tensor>)| {
                let embedding = projection.forward(pass, &features)?;
                rows.as_ref().map_or(Ok(embedding.clone()), |rows| embedding.embedding(rows))
            };
        self.projections.iter().zip(features).zip(rows).map(embedding).collect()
    }

    /// The settings of the loss.
    pub fn contrastive(&self) -> &ContrastiveSettings {
        &self.loss
    }
}

impl System for Mpuc {
    fn loss(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Loss> {
        let embeddings = self.embeddings(pass, batch)?;
        let presence = batch.presence()?;
        let op = self.loss.op(presence.is_some());
        let inputs: Vec<&Tensor> = embeddings.iter().collect();
        let indices: Vec<&Tensor> = presence.iter().collect();
        let mut applied = Tensor::apply(op, &inputs, &indices)?;
        Ok(Loss { total: applied.output, pairs: applied.saved.pop() })
    }

    fn encoders(&self) -> &Encoders {
        &self.encoders
    }
}
