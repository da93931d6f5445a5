//! The settings of the contrastive loss, `[system.NAME.loss]`.

use crate::systems::Refusal;
use kernels::ops::info_nce;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The contrastive loss between modalities; the defaults are those of Franceschini et al., ICPR 2022.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastiveSettings {
    /// The loss of an ordered pair of modalities.
    pub kind: LossKind,
    /// The positives of [`LossKind::Pairs`].
    pub positives: Positives,
    /// The divisor of the cosine similarities of [`LossKind::Pairs`]; of [`LossKind::Clip`] the initial one.
    pub temperature: f64,
    /// The columns in the denominator of [`LossKind::Pairs`].
    pub denominator: Denominator,
    /// The mean over the anchors of a batch, or the sum as in the paper's equation, with gradients larger by the batch size.
    pub reduction: info_nce::Reduction,
    /// Whether the scale of [`LossKind::Clip`], and scale and bias of [`LossKind::Siglip`], are learned. They are updated by
    /// the system's optimiser, with its weight decay.
    pub learned: bool,
    /// The settings of [`LossKind::Siglip`].
    pub siglip: SiglipSettings,
    /// The settings of [`LossKind::Triplet`].
    pub triplet: TripletSettings,
    /// Weights of ordered pairs of modalities, `"voice to faces" = 2.0`; others have 1. The loss is their weighted mean.
    pub pair_weights: BTreeMap<String, f64>,
}

/// The loss of an ordered pair of modalities: anchors of one, candidates of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// Softmax over candidates with a fixed temperature: InfoNCE, equation 1 of the paper.
    Pairs,
    /// Softmax over all candidates in both directions, with a learned scale of at most 100 (Radford et al. 2021).
    Clip,
    /// A sigmoid for each anchor and candidate, with learned scale and bias (Zhai et al. 2023).
    Siglip,
    /// The hinge of squared distances on the unit sphere (Schroff et al. 2015).
    Triplet,
    /// The adaptive triplet loss of M2FNet (Chudasama et al. 2022, equations 9 to 13) with gradients through its margin, as
    /// printed. Its minimum has negatives nearer than positives.
    M2fnetPrinted,
    /// The loss of M2FNet without gradients through its margin. The margin exceeds 2.03, so that the hinge never closes.
    M2fnetConstant,
}

/// The positives of an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positives {
    /// The other modality of the same sample.
    Own,
    /// Every sample of the batch with the same class or the same set of labels, across and within modalities: the
    /// supervised contrast of Khosla et al. 2020 (equation 2, L_out). Equal sets are the limit of the weights of MPUC's
    /// authors, a softmax of label similarity / 0.01.
    Label,
}

/// The columns in the denominator of the contrastive loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denominator {
    /// All candidates but the positives: the paper's equation 1.
    ExcludePositive,
    /// All candidates, as in the rows of CLIP's loss.
    IncludePositive,
    /// The denominator of the authors' code, for two views of each sample.
    Authors,
}

/// The initial scale and bias of the sigmoid loss; the defaults are the authors'.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiglipSettings {
    /// The factor of the cosine similarities, above 0; its logarithm is learned.
    pub scale: f64,
    /// The bias added to them.
    pub bias: f64,
}

impl Default for SiglipSettings {
    fn default() -> Self {
        SiglipSettings { scale: 10.0, bias: -10.0 }
    }
}

/// The settings of the triplet loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TripletSettings {
    /// The margin of the squared distances, above 0.
    pub margin: f64,
    /// The negatives of an anchor.
    pub negatives: Negatives,
}

impl Default for TripletSettings {
    fn default() -> Self {
        TripletSettings { margin: 0.2, negatives: Negatives::All }
    }
}

/// The negatives of an anchor in the triplet loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Negatives {
    /// The mean over all other samples of the batch.
    All,
    /// The nearest other sample of the batch.
    Hardest,
}

impl Default for ContrastiveSettings {
    fn default() -> Self {
        ContrastiveSettings {
            kind: LossKind::Pairs,
            positives: Positives::Own,
            temperature: 0.07,
            denominator: Denominator::ExcludePositive,
            reduction: info_nce::Reduction::Mean,
            learned: true,
            siglip: SiglipSettings::default(),
            triplet: TripletSettings::default(),
            pair_weights: BTreeMap::new(),
        }
    }
}

impl ContrastiveSettings {
    /// Validates the settings.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn check(&self) -> Result<(), Refusal> {
        Refusal::positive("loss.temperature", self.temperature)?;
        Refusal::positive("loss.siglip.scale", self.siglip.scale)?;
        Refusal::positive("loss.triplet.margin", self.triplet.margin)?;
        if !self.siglip.bias.is_finite() {
            let why = format!("is {}; it must be a finite number", self.siglip.bias);
            return Err(Refusal::new("loss.siglip.bias", why));
        }
        if self.kind != LossKind::Pairs {
            let only = |key, word| {
                Err(Refusal::new(key, format!("is `{word}`, which needs loss.kind = \"pairs\"")))
            };
            if self.positives == Positives::Label {
                return only("loss.positives", "label");
            }
            if self.denominator == Denominator::Authors {
                return only("loss.denominator", "authors");
            }
        }
        if self.positives == Positives::Label && self.denominator == Denominator::Authors {
            let why = "is `authors`, which has one positive; loss.positives = \"label\" takes `include_positive` or `exclude_positive`";
            return Err(Refusal::new("loss.denominator", why));
        }
        let m2fnet = matches!(self.kind, LossKind::M2fnetPrinted | LossKind::M2fnetConstant);
        if m2fnet && self.reduction == info_nce::Reduction::Sum {
            let why = "is `sum`, but the variance and covariance of M2FNet's loss are of the whole batch; use `mean`";
            return Err(Refusal::new("loss.reduction", why));
        }
        for (pair, weight) in &self.pair_weights {
            if *weight < 0.0 || !weight.is_finite() {
                let why = format!("gives `{pair}` {weight}; a weight must be at least 0");
                return Err(Refusal::new("loss.pair_weights", why));
            }
        }
        Ok(())
    }

    /// Windows of each sample in a training batch.
    pub fn views(&self) -> usize {
        if self.denominator == Denominator::Authors { 2 } else { 1 }
    }

    /// The loss of a batch of `batch` samples of `modalities` modalities if all embeddings are equal, with the best bias
    /// where it is learned; `None` where it depends on labels, or a fixed bias makes it no bound of the first loss.
    pub fn chance(&self, batch: usize, modalities: usize) -> Option<f64> {
        let n = batch as f64;
        let (anchors, each) = match self.kind {
            LossKind::Pairs => match (self.positives, self.denominator) {
                (Positives::Own, Denominator::ExcludePositive) => (n, (n - 1.0).ln()),
                (Positives::Own, Denominator::IncludePositive) => (n, n.ln()),
                (_, Denominator::Authors) => (2.0 * n, 0.5 * (2.0 * n - 1.0).ln()),
                (Positives::Label, Denominator::IncludePositive)
                    if self.pair_weights.is_empty() =>
                {
                    // Of M² pairs M are within a modality, where the anchor itself is no candidate.
                    let within = 1.0 / modalities as f64;
                    (n, (1.0 - within) * n.ln() + within * (n - 1.0).ln())
                }
                (Positives::Label, _) => return None,
            },
            LossKind::Clip => (n, n.ln()),
            LossKind::Siglip if self.learned => (n, n.ln() + (n - 1.0) * (n / (n - 1.0)).ln()),
            LossKind::Triplet => (n, self.triplet.margin),
            LossKind::Siglip | LossKind::M2fnetPrinted | LossKind::M2fnetConstant => return None,
        };
        Some(match self.reduction {
            info_nce::Reduction::Mean => each,
            info_nce::Reduction::Sum => anchors * each,
        })
    }
}
