//! `[missing]`: the evaluation of samples without a modality.

use models::systems::Refusal;
use serde::{Deserialize, Serialize};

/// The evaluation of samples without a modality: each modality in turn is taken away from shares of the test samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MissingConfig {
    /// The shares of test samples that lose a modality, from 0 to 1; empty: not measured.
    pub shares: Vec<f64>,
    /// For systems that a probe evaluates: what stands in for the features of a missing modality. A system with a head of
    /// its own is always evaluated as it is.
    pub replacements: Vec<Replacement>,
    /// Numbers of neighbours for `retrieval` and `cross_modal`; the best on the validation part is taken, without one the
    /// best on the training part, where no sample is its own neighbour.
    pub neighbours: Vec<usize>,
    /// The share of training samples that lose a modality in the training of the probe of `dropout`.
    pub dropout: f64,
}

impl Default for MissingConfig {
    fn default() -> Self {
        use Replacement::*;
        MissingConfig {
            shares: Vec::new(),
            replacements: vec![Zeros, Mean, Dropout, Retrieval, CrossModal],
            neighbours: vec![1, 5, 10, 20],
            dropout: 0.5,
        }
    }
}

/// What stands in for the features of a missing modality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replacement {
    /// Zeros, as for samples that lack the modality in the data.
    Zeros,
    /// The mean over the training samples.
    Mean,
    /// Their mean, for a probe that was trained with modality dropout.
    Dropout,
    /// Features of the nearest training samples, by the features of a present modality (RAMER: Fan et al. 2024).
    Retrieval,
    /// Features of the training samples whose embeddings of the missing modality are nearest to the embedding of a present
    /// one. Only for systems with a common space.
    CrossModal,
}

impl MissingConfig {
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn check(&self) -> Result<(), Refusal> {
        if let Some(share) = self.shares.iter().find(|share| !(0.0..=1.0).contains(*share)) {
            return Err(Refusal::new(
                "shares",
                format!("has {share}; it must lie between 0 and 1"),
            ));
        }
        if !(0.0..=1.0).contains(&self.dropout) {
            let why = format!("is {}; it must lie between 0 and 1", self.dropout);
            return Err(Refusal::new("dropout", why));
        }
        if self.neighbours.is_empty() || self.neighbours.contains(&0) {
            let why = "must name numbers of at least 1, e.g. [1, 5, 10]";
            return Err(Refusal::new("neighbours", why));
        }
        Ok(())
    }
}
