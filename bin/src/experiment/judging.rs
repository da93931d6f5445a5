//! Evaluation of networks on held-out samples: the system's own head, probes on frozen features, cross-modal
//! retrieval.

use super::PreparedData;
use super::batches::Batches;
use crate::config::RetrievalConfig;
use crate::failure::Result;
use data::folds::Split;
use engine::{Parameters, Philox};
use models::evaluate::metrics::{Retrieval, retrieval};
use models::evaluate::{Evaluation, Examples, Probe, ProbeSettings, Rows, evaluate};
use models::systems::System;
use models::targets::{Targets, Task};

/// Rows of an evaluation batch.
pub const ROWS: usize = 64;

/// Features of the labelled samples of a fold's parts.
#[derive(Clone)]
pub struct Features {
    parts: [Part; 3],
}

#[derive(Clone, Default)]
struct Part {
    /// The features of each modality, one row a sample.
    modalities: Vec<Rows>,
    /// `None` if there are no samples.
    targets: Option<Targets>,
}

impl Features {
    /// The features that a system's networks compute, for the parts of a split.
    ///
    /// # Errors
    /// When a feature cannot be read.
    pub fn from_system(
        system: &dyn System,
        parameters: &Parameters,
        batches: &Batches<'_>,
        prepared: &PreparedData,
        split: &Split,
    ) -> Result<Self> {
        let mut parts = [Part::default(), Part::default(), Part::default()];
        for (part, (_, samples)) in parts.iter_mut().zip(split.parts()) {
            let labelled = prepared.labelled(samples);
            let outputs = evaluate(system, parameters, batches.evaluation(&labelled, ROWS)?)?;
            part.targets = prepared.targets(&labelled);
            part.modalities = outputs.features;
        }
        Ok(Features { parts })
    }

    /// The true factors, one row a sample, as if they were one modality.
    pub fn from_factors(rows: &[Vec<f32>], prepared: &PreparedData, split: &Split) -> Self {
        let part = |samples: &[usize]| {
            let samples = prepared.labelled(samples);
            let values: Vec<f32> =
                samples.iter().flat_map(|&sample| rows[sample].iter().copied()).collect();
            let width = rows.first().map_or(0, Vec::len);
            Part { modalities: vec![Rows { values, width }], targets: prepared.targets(&samples) }
        };
        Features { parts: split.parts().map(|(_, samples)| part(samples)) }
    }

    /// The features of each modality in a part: 0 training, 1 validation, 2 test.
    pub fn tables(&self, part: usize) -> Vec<Rows> {
        self.parts[part].modalities.clone()
    }

    /// The targets of a part.
    pub fn targets(&self, part: usize) -> Option<&Targets> {
        self.parts[part].targets.as_ref()
    }

    /// Whether the features are one table of all modalities together, in place of one table for each.
    pub fn joint(&self, modalities: usize) -> bool {
        modalities > 1 && self.parts.iter().any(|part| part.modalities.len() == 1)
    }

    /// These features with labels permuted within each part.
    pub fn permuted(mut self, random: Philox) -> Self {
        for (number, part) in self.parts.iter_mut().enumerate() {
            let count = part.targets.as_ref().map_or(0, Targets::len);
            let order = random.at(number as u64).permutation(count);
            part.targets = part.targets.as_ref().map(|targets| targets.pick(&order));
        }
        self
    }

    /// Trains a probe on the concatenated features of these modalities and evaluates it on the test part.
    ///
    /// # Errors
    /// When the probe diverges.
    pub fn probe(
        &self,
        modalities: &[usize],
        settings: &ProbeSettings,
        task: &Task,
        seed: u64,
    ) -> Result<(Evaluation, Probe)> {
        let nothing = task.empty();
        let join = |part: &Part| {
            let tables: Vec<&Rows> =
                modalities.iter().filter_map(|&m| part.modalities.get(m)).collect();
            Rows::join(&tables)
        };
        let joined: Vec<Rows> = self.parts.iter().map(join).collect();
        let examples = |part: usize| Examples {
            features: &joined[part],
            targets: self.parts[part].targets.as_ref().unwrap_or(&nothing),
        };
        let validation = self.parts[1].targets.is_some().then(|| examples(1));
        let probe = Probe::train(settings, task, examples(0), validation, seed)?;
        let predicted = probe.predict(&joined[2])?;
        Ok((Evaluation::new(&predicted, examples(2).targets, task.outputs()), probe))
    }
}

/// Evaluates a system's own head on the labelled samples of a part.
///
/// # Errors
/// When a feature cannot be read.
pub fn own_head(
    system: &dyn System,
    parameters: &Parameters,
    batches: &Batches<'_>,
    prepared: &PreparedData,
    samples: &[usize],
    task: &Task,
) -> Result<Evaluation> {
    let labelled = prepared.labelled(samples);
    let outputs = evaluate(system, parameters, batches.evaluation(&labelled, ROWS)?)?;
    let predicted = task.decide_rows(&outputs.logits);
    let truth = prepared.targets(&labelled).unwrap_or_else(|| task.empty());
    Ok(Evaluation::new(&predicted, &truth, task.outputs()))
}

/// Cross-modal retrieval on samples that have every modality: the mean over all ordered pairs of modalities and
/// random draws of candidates, and R@1 of random guessing. `None` if a system has no embeddings, or fewer than two
/// samples have all modalities.
///
/// # Errors
/// When a feature cannot be read.
pub fn cross_modal(
    system: &dyn System,
    parameters: &Parameters,
    batches: &Batches<'_>,
    samples: &[usize],
    settings: &RetrievalConfig,
) -> Result<Option<(Retrieval, f64)>> {
    let samples = batches.complete(samples);
    if samples.len() < 2 {
        return Ok(None);
    }
    let embeddings = evaluate(system, parameters, batches.evaluation(&samples, ROWS)?)?.embeddings;
    if embeddings.len() < 2 {
        return Ok(None);
    }
    let candidates = settings.candidates.clamp(2, samples.len());
    let draws = if candidates < samples.len() { settings.draws } else { 1 };
    let mut mean = Retrieval::default();
    let pairs = embeddings.len() * (embeddings.len() - 1);
    for draw in 0..draws {
        // The draws are equal for every seed, so that systems are compared on the same candidates.
        let chosen = Philox::new(0, "retrieval").at(draw as u64).permutation(samples.len());
        let pick = |rows: &Rows| -> Vec<f64> {
            let row = |&i: &usize| rows.row(i).iter().map(|&v| f64::from(v));
            chosen[..candidates].iter().flat_map(row).collect()
        };
        let picked: Vec<Vec<f64>> = embeddings.iter().map(pick).collect();
        for (m, queries) in picked.iter().enumerate() {
            for (n, answers) in picked.iter().enumerate().filter(|(n, _)| *n != m) {
                let found = retrieval(queries, answers, embeddings[n].width);
                mean.at_1 += found.at_1 / (draws * pairs) as f64;
                mean.at_5 += found.at_5 / (draws * pairs) as f64;
            }
        }
    }
    Ok(Some((mean, 1.0 / candidates as f64)))
}
