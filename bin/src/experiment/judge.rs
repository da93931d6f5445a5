//! What frozen features are worth: probes and cross-modal retrieval on held-out samples.

use super::Material;
use super::batches::{Batches, complete};
use crate::config::RetrievalConfig;
use crate::failure::Result;
use data::folds::Split;
use engine::{Device, Parameters, Pass, Philox, Tensor};
use models::metrics::{BinaryCounts, Confusion, Retrieval, accuracy, label_counts, retrieval};
use models::probe::{Examples, ProbeSettings, predict};
use models::systems::{Mpuc, System};
use models::targets::{Targets, Task};
use serde::{Deserialize, Serialize};

/// Rows of an evaluation batch.
const ROWS: usize = 64;

/// Features of the labelled samples of a fold's parts.
pub struct Features {
    parts: [Part; 3],
}

#[derive(Default)]
struct Part {
    /// For each modality rows of its features.
    rows: Vec<Vec<f32>>,
    /// `None` where there are no rows.
    targets: Option<Targets>,
}

impl Part {
    fn count(&self) -> usize {
        self.targets.as_ref().map_or(0, Targets::len)
    }
}

/// What a probe came to on the test part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Share of test samples whose class was predicted; of labels that may apply together, share of right answers.
    pub accuracy: f64,
    /// Mean over classes or labels of the weighted accuracy of Tong et al.
    pub weighted_accuracy: f64,
    /// F1 over classes, weighted by how frequent they are; of labels, the mean over them of the F1 of yes and no
    /// weighted by how frequent these are.
    pub f1_weighted: f64,
    /// Mean over classes or labels of the F1 of each against the rest.
    pub f1_macro: f64,
    /// What these come from.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How often predictions were right and wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// How often each class was taken for each.
    Confusion(Confusion),
    /// Of labels that may apply together, each for itself.
    Labels(Vec<BinaryCounts>),
}

impl Judgement {
    /// Of predictions for samples with these targets, of so many classes or labels.
    pub fn new(predicted: &Targets, truth: &Targets, classes: usize) -> Self {
        if let (Targets::Classes(predicted), Targets::Classes(truth)) = (predicted, truth) {
            let confusion = Confusion::new(predicted, truth, classes);
            let weighted =
                (0..classes).map(|class| confusion.binary(class).weighted_accuracy()).sum::<f64>();
            return Judgement {
                accuracy: accuracy(predicted, truth),
                weighted_accuracy: weighted / classes as f64,
                f1_weighted: confusion.f1_weighted(),
                f1_macro: confusion.f1_macro(),
                counts: Counts::Confusion(confusion),
            };
        }
        let labels = label_counts(predicted, truth);
        let mean = |figure: fn(BinaryCounts) -> f64| {
            labels.iter().map(|&label| figure(label)).sum::<f64>() / labels.len() as f64
        };
        Judgement {
            accuracy: mean(BinaryCounts::accuracy),
            weighted_accuracy: mean(BinaryCounts::weighted_accuracy),
            f1_weighted: mean(BinaryCounts::f1_weighted),
            f1_macro: mean(BinaryCounts::f1),
            counts: Counts::Labels(labels),
        }
    }

    /// The one number that systems are compared by: the accuracy of classes, the weighted accuracy of labels.
    pub fn score(&self) -> f64 {
        match self.counts {
            Counts::Confusion(_) => self.accuracy,
            Counts::Labels(_) => self.weighted_accuracy,
        }
    }

    /// What the same answer for every sample would score at most.
    pub fn chance(&self) -> f64 {
        match &self.counts {
            Counts::Confusion(confusion) => confusion.majority(),
            Counts::Labels(_) => 0.5,
        }
    }
}

impl Features {
    /// Of a system's networks, for the parts of a split.
    ///
    /// # Errors
    /// When a feature cannot be read.
    pub fn of(
        system: &impl System,
        parameters: &Parameters,
        batches: &Batches<'_>,
        material: &Material,
        split: &Split,
    ) -> Result<Self> {
        let mut parts = [Part::default(), Part::default(), Part::default()];
        for (part, (_, samples)) in parts.iter_mut().zip(split.parts()) {
            let labelled: Vec<usize> = samples
                .iter()
                .copied()
                .filter(|&sample| material.labels[sample].is_some())
                .collect();
            part.targets = material.targets(&labelled);
            part.rows = vec![Vec::new(); material.names.len()];
            for batch in batches.evaluation(&labelled, ROWS)? {
                let pass = Pass::evaluate(parameters);
                let features = system.encoders().forward_filled(&pass, &batch?)?;
                for (rows, features) in part.rows.iter_mut().zip(features) {
                    rows.extend_from_slice(features.on(&Device::Cpu)?.as_slice::<f32>()?);
                }
            }
        }
        Ok(Features { parts })
    }

    /// Of given numbers, one row a sample, as if they were one modality.
    pub fn given(rows: &[Vec<f32>], material: &Material, split: &Split) -> Self {
        let part = |samples: &[usize]| Part {
            rows: vec![samples.iter().flat_map(|&sample| rows[sample].iter().copied()).collect()],
            targets: material.targets(samples),
        };
        Features { parts: split.parts().map(|(_, samples)| part(samples)) }
    }

    /// The same with all labels permuted: what a probe finds then is chance.
    pub fn permuted(mut self, random: Philox) -> Self {
        for (number, part) in self.parts.iter_mut().enumerate() {
            let order = random.at(number as u64).permutation(part.count());
            part.targets = part.targets.as_ref().map(|targets| targets.pick(&order));
        }
        self
    }

    /// Trains a probe on these modalities' features side by side and judges it on the test part.
    ///
    /// # Errors
    /// When the probe diverges.
    pub fn judge(
        &self,
        modalities: &[usize],
        settings: &ProbeSettings,
        task: &Task,
        seed: u64,
    ) -> Result<Judgement> {
        let nothing = task.nothing();
        let joined: Vec<(Vec<f32>, usize)> =
            self.parts.iter().map(|part| part.join(modalities)).collect();
        let examples = |part: usize| Examples {
            features: &joined[part].0,
            targets: self.parts[part].targets.as_ref().unwrap_or(&nothing),
            width: joined[part].1.max(joined[0].1),
        };
        let validation = (self.parts[1].count() > 0).then(|| examples(1));
        let predicted = predict(settings, task, examples(0), validation, examples(2), seed)?;
        Ok(Judgement::new(&predicted, examples(2).targets, task.outputs()))
    }
}

impl Part {
    /// Rows of several modalities side by side, and their width.
    fn join(&self, modalities: &[usize]) -> (Vec<f32>, usize) {
        let count = self.count();
        if count == 0 {
            return (Vec::new(), 0);
        }
        let widths: Vec<usize> = modalities.iter().map(|&m| self.rows[m].len() / count).collect();
        let mut joined = Vec::with_capacity(count * widths.iter().sum::<usize>());
        for i in 0..count {
            for (&m, &width) in modalities.iter().zip(&widths) {
                joined.extend_from_slice(&self.rows[m][i * width..][..width]);
            }
        }
        (joined, widths.iter().sum())
    }
}

/// Cross-modal retrieval on samples that have every modality: the mean over all ordered pairs of modalities and
/// random draws of candidates, and what chance would score at 1. `None` where fewer than two samples have them all.
///
/// # Errors
/// When a feature cannot be read.
pub fn cross_modal(
    system: &Mpuc,
    parameters: &Parameters,
    batches: &Batches<'_>,
    material: &Material,
    samples: &[usize],
    settings: &RetrievalConfig,
) -> Result<Option<(Retrieval, f64)>> {
    let samples = complete(&material.dataset, samples);
    if samples.len() < 2 {
        return Ok(None);
    }
    let mut embeddings: Vec<(Vec<f64>, usize)> = vec![(Vec::new(), 0); material.names.len()];
    for batch in batches.evaluation(&samples, ROWS)? {
        let found: Vec<Tensor> = system.embeddings(&Pass::evaluate(parameters), &batch?)?;
        for ((rows, width), embedding) in embeddings.iter_mut().zip(found) {
            rows.extend(embedding.to_vec()?);
            *width = embedding.shape().features();
        }
    }
    let candidates = settings.candidates.clamp(2, samples.len());
    let draws = if candidates < samples.len() { settings.draws } else { 1 };
    let mut mean = Retrieval::default();
    let pairs = embeddings.len() * (embeddings.len() - 1);
    for draw in 0..draws {
        // The draws are the same for every seed, so that systems are compared on the same questions.
        let chosen = Philox::new(0, "retrieval").at(draw as u64).permutation(samples.len());
        let pick = |(rows, width): &(Vec<f64>, usize)| {
            let row = |&i: &usize| rows[i * width..][..*width].iter().copied();
            chosen[..candidates].iter().flat_map(row).collect::<Vec<f64>>()
        };
        let picked: Vec<Vec<f64>> = embeddings.iter().map(pick).collect();
        for (m, queries) in picked.iter().enumerate() {
            for (n, answers) in picked.iter().enumerate().filter(|(n, _)| *n != m) {
                let found = retrieval(queries, answers, embeddings[n].1);
                mean.at_1 += found.at_1 / (draws * pairs) as f64;
                mean.at_5 += found.at_5 / (draws * pairs) as f64;
            }
        }
    }
    Ok(Some((mean, 1.0 / candidates as f64)))
}
