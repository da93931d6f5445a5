//! MPUC: a contrastive loss between the embeddings of every ordered pair of modalities (Franceschini et al., ICPR
//! 2022, equations 1 and 2).

use super::{Batch, Definition, EncoderSettings, Encoders, Loss, LossParts, Needs, Outputs, Parts};
use super::{Plateau, Refusal, System};
use crate::heads::{Projection, ProjectionSettings};
use engine::{Pass, Result, Scope, Tensor};
use kernels::ops::info_nce;
use serde::{Deserialize, Serialize};

/// The settings of [`Mpuc`]; the defaults are the paper's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MpucSettings {
    /// The projection heads.
    pub projection: ProjectionSettings,
    /// The contrastive loss.
    pub loss: ContrastiveSettings,
}

/// The contrastive loss; the defaults are the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastiveSettings {
    /// The divisor of the cosine similarities.
    pub temperature: f64,
    /// The pairs in the denominator.
    pub denominator: Denominator,
    /// The mean over a batch, or the sum as in the paper's equation, with gradients larger by the batch size.
    pub reduction: info_nce::Reduction,
}

/// The pairs in the denominator of the contrastive loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denominator {
    /// All pairs but the positive: the paper's equation 1.
    ExcludePositive,
    /// All pairs, as in the rows of CLIP's loss.
    IncludePositive,
    /// The denominator of the authors' code, for two views of each sample.
    Authors,
}

impl Default for ContrastiveSettings {
    fn default() -> Self {
        ContrastiveSettings {
            temperature: 0.07,
            denominator: Denominator::ExcludePositive,
            reduction: info_nce::Reduction::Mean,
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
            reduction: self.reduction,
            masked,
        }
    }

    /// The loss of a batch of `batch` samples if all embeddings are equal.
    pub fn chance(&self, batch: usize) -> f64 {
        let (rows, row) = match self.denominator {
            Denominator::ExcludePositive => (batch, ((batch - 1) as f64).ln()),
            Denominator::IncludePositive => (batch, (batch as f64).ln()),
            Denominator::Authors => (2 * batch, 0.5 * ((2 * batch - 1) as f64).ln()),
        };
        match self.reduction {
            info_nce::Reduction::Mean => row,
            info_nce::Reduction::Sum => rows as f64 * row,
        }
    }
}

/// Encoders, a projection head for each, and the loss between every ordered pair of modalities.
#[derive(Debug, Clone)]
pub struct Mpuc {
    encoders: Encoders,
    projections: Vec<Projection>,
    names: Vec<String>,
    loss: ContrastiveSettings,
}

impl Definition for Mpuc {
    const NAME: &'static str = "mpuc";
    type Settings = MpucSettings;

    fn check(settings: &MpucSettings) -> std::result::Result<(), Refusal> {
        Refusal::positive("loss.temperature", settings.loss.temperature)?;
        let ProjectionSettings { hidden, output, .. } = settings.projection;
        for (key, width) in [("projection.hidden", hidden), ("projection.output", output)] {
            if width == 0 {
                return Err(Refusal::new(key, "is 0; it must be at least 1"));
            }
        }
        Ok(())
    }

    fn needs(settings: &MpucSettings) -> Needs {
        let views = if settings.loss.denominator == Denominator::Authors { 2 } else { 1 };
        Needs {
            labels: false,
            pairs: true,
            unpaired: false,
            aligned: false,
            views,
            modalities: 2..=usize::MAX,
        }
    }

    /// Makes `{modality}.*` and `projection.{modality}.*`.
    fn new(settings: &MpucSettings, parts: Parts<'_>, mut scope: Scope<'_>) -> Result<Self> {
        let encoders = Encoders::new(parts.encoders, &mut scope)?;
        let mut heads = scope.sub("projection");
        let head = |(encoder, width): (&EncoderSettings, usize)| {
            Projection::new(&settings.projection, heads.sub(&encoder.name), width)
        };
        let projections =
            parts.encoders.iter().zip(encoders.widths()).map(head).collect::<Result<_>>()?;
        let names = parts.encoders.iter().map(|encoder| encoder.name.clone()).collect();
        Ok(Mpuc { encoders, projections, names, loss: settings.loss })
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
        let presence = batch.presence()?;
        let op = self.loss.op(presence.is_some());
        let inputs: Vec<&Tensor> = embeddings.iter().collect();
        let indices: Vec<&Tensor> = presence.iter().collect();
        let mut applied = Tensor::apply(op, &inputs, &indices)?;
        let parts = applied.saved.pop().map(|values| LossParts { values, names: self.pairs() });
        Ok(Loss { total: applied.output, parts, embeddings })
    }

    fn chance_loss(&self, batch: usize) -> Option<f64> {
        Some(self.loss.chance(batch))
    }

    fn plateau(&self, batch: usize) -> Option<Plateau> {
        Some(Plateau {
            loss: self.loss.chance(batch),
            why: "this is its value if all embeddings are equal, where its gradient is almost 0. \
                  Standardised inputs and batch norm in the projection head (projection.batch_norm = true) end it; with \
                  the paper's plain head and learning rate it can last 20 epochs or more",
        })
    }
}

impl Mpuc {
    /// The positions of the ordered pairs in the op's matrix `[M, M]`, and their names.
    fn pairs(&self) -> Vec<(usize, String)> {
        let count = self.names.len();
        (0..count * count)
            .map(|at| (at, at / count, at % count))
            .filter(|(_, from, to)| from != to)
            .map(|(at, from, to)| (at, format!("{} to {}", self.names[from], self.names[to])))
            .collect()
    }
}
