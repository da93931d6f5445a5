//! A classifier of modalities whose gradient is reversed in the embeddings (Ganin et al. 2016), so that they tell no
//! modality from another.

use super::unit;
use crate::heads::Prediction;
use crate::systems::{Batch, Refusal};
use engine::{Pass, Result, Scope, Tensor};
use serde::{Deserialize, Serialize};

/// The settings of an [`Adversary`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdversarySettings {
    /// The factor of the reversed gradient; 0 for no classifier.
    pub weight: f64,
    /// Features of the classifier's hidden layer; 0 for one linear layer.
    pub hidden: usize,
}

impl Default for AdversarySettings {
    fn default() -> Self {
        AdversarySettings { weight: 0.0, hidden: 128 }
    }
}

impl AdversarySettings {
    /// Validates the settings.
    ///
    /// # Errors
    /// When the weight is below 0 or not finite.
    pub fn check(&self) -> std::result::Result<(), Refusal> {
        if self.weight >= 0.0 && self.weight.is_finite() {
            return Ok(());
        }
        let why = format!("is {}; it must be at least 0", self.weight);
        Err(Refusal::new("adversary.weight", why))
    }
}

/// The classifier of modalities.
#[derive(Debug, Clone)]
pub struct Adversary {
    head: Prediction,
    weight: f64,
}

impl Adversary {
    /// Makes `0.*` and `2.*` for embeddings of `width` numbers; `None` if the weight is 0.
    ///
    /// # Errors
    /// When the scope already has these names.
    pub fn new(
        settings: &AdversarySettings,
        scope: Scope<'_>,
        width: usize,
        modalities: usize,
    ) -> Result<Option<Self>> {
        let AdversarySettings { weight, hidden } = *settings;
        let head = (weight > 0.0).then(|| Prediction::new(scope, width, hidden, modalities, 0.0));
        Ok(head.transpose()?.map(|head| Adversary { head, weight }))
    }

    /// The cross entropy of the modality of each embedding `[N, D]`, a scalar. The classifier has its gradient, the
    /// embeddings have it times -weight. Rows without the modality are not read.
    ///
    /// # Errors
    /// When the shapes do not match.
    pub fn loss(&self, pass: &Pass<'_>, batch: &Batch, embeddings: &[Tensor]) -> Result<Tensor> {
        let (mut found, mut classes) = (Vec::new(), Vec::new());
        for (modality, embedding) in embeddings.iter().enumerate() {
            let rows = batch.rows_with(modality);
            if rows.is_empty() {
                continue;
            }
            classes.extend(std::iter::repeat_n(modality as u32, rows.len()));
            let embedding = unit(embedding)?;
            let whole = rows.len() == batch.rows();
            let rows: Vec<u32> = rows.into_iter().map(|row| row as u32).collect();
            found.push(match whole {
                true => embedding,
                false => embedding.embedding(&Tensor::from_slice(&rows, &[rows.len()])?)?,
            });
        }
        let all = Tensor::concat(&found.iter().collect::<Vec<_>>(), 0)?;
        // The numbers of `all`, with the gradient times -weight.
        let fixed = all.detached().affine(1.0 + self.weight, 0.0)?;
        let reversed = all.affine(-self.weight, 0.0)?.add(&fixed)?;
        let logits = self.head.forward(pass, &reversed)?;
        logits.cross_entropy(&Tensor::from_slice(&classes, &[classes.len()])?)
    }
}
