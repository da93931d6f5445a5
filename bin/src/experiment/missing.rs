//! The evaluation of samples without a modality: as the system has it, and with features that stand in for the missing
//! ones.
//!
//! Networks, probes and stores are those of the training part; nothing is fitted on test samples.

use super::PreparedData;
use super::batches::Batches;
use super::judging::{Features, ROWS};
use super::retriever::Retriever;
use super::trial::Networks;
use crate::config::{MissingConfig, Replacement, word};
use crate::failure::Result;
use crate::progress::Progress;
use data::folds::Split;
use engine::Philox;
use models::evaluate::metrics::score;
use models::evaluate::{Dropped, Examples, HostOutputs, Probe, ProbeSettings, Rows, evaluate};
use models::targets::{Targets, Task};
use serde::{Deserialize, Serialize};

/// The score of an arm when a share of the test samples lacks a modality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MissingScore {
    /// The modality that they lack.
    pub modality: String,
    /// What stands in for its features; absent for a system with a head of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
    /// The share of the samples that have it and another one.
    pub share: f64,
    /// The score over the whole test part.
    pub score: f64,
}

/// What the evaluation of samples without a modality needs.
pub struct Missing<'a> {
    /// Its settings.
    pub config: &'a MissingConfig,
    /// The data.
    pub prepared: &'a PreparedData,
    /// The split of the trial.
    pub split: &'a Split,
    /// The batches of the networks' modalities.
    pub batches: &'a Batches<'a>,
    /// The networks.
    pub networks: &'a Networks,
    /// The task.
    pub task: &'a Task,
    /// The trial and the arm, for messages.
    pub name: &'a str,
    /// The progress display.
    pub progress: &'a Progress,
}

/// A probe with what trained it.
pub struct Probed<'a> {
    /// The probe.
    pub probe: &'a Probe,
    /// Its settings.
    pub settings: &'a ProbeSettings,
    /// The frozen features of the labelled samples.
    pub features: &'a Features,
    /// The modalities that it reads, by their numbers in the networks.
    pub columns: &'a [usize],
    /// The seed of the trial.
    pub seed: u64,
}

impl Missing<'_> {
    /// The scores of a system with a head of its own.
    ///
    /// # Errors
    /// When a feature cannot be read.
    pub fn of_head(&self) -> Result<Vec<MissingScore>> {
        let test = self.prepared.labelled(&self.split.test);
        let full = self.task.decide_rows(&self.outputs(&test, None)?.logits);
        let mut scores = Vec::new();
        for modality in 0..self.networks.modalities.len() {
            let without = self.task.decide_rows(&self.outputs(&test, Some(modality))?.logits);
            scores.extend(self.shares(modality, None, &full, &without));
        }
        Ok(scores)
    }

    /// The scores of a probe on frozen features, with each replacement that its features allow.
    ///
    /// # Errors
    /// When a feature cannot be read, or the probe with modality dropout diverges.
    pub fn of_probe(&self, probed: &Probed<'_>) -> Result<Vec<MissingScore>> {
        let test = self.prepared.labelled(&self.split.test);
        let full = probed.probe.predict(&probed.joined(&probed.features.tables(2)))?;
        if probed.features.joint(self.networks.modalities.len()) {
            let mut scores = Vec::new();
            for modality in 0..self.networks.modalities.len() {
                let without = self.outputs(&test, Some(modality))?.features;
                let without = probed.probe.predict(&without[0])?;
                scores.extend(self.shares(modality, Some(Replacement::Zeros), &full, &without));
            }
            return Ok(scores);
        }
        let asked = |replacement| self.config.replacements.contains(&replacement);
        let dropping = match asked(Replacement::Dropout) {
            true => Some(probed.dropping(self.task, self.config.dropout)?),
            false => None,
        };
        let retrieves = asked(Replacement::Retrieval) || asked(Replacement::CrossModal);
        // The stores may also hold training samples without a label.
        let known = match retrieves {
            true => Some(self.outputs(&self.split.train, None)?),
            false => None,
        };
        let whole = probed.joined(&probed.features.tables(2));
        let mut scores = Vec::new();
        for &modality in probed.columns {
            let hidden = self.outputs(&test, Some(modality))?;
            let lost: Vec<bool> = self
                .batches
                .has(&test, modality)
                .iter()
                .map(|&(own, other)| own && other)
                .collect();
            let replaced = |row: &dyn Fn(usize) -> Vec<f32>| {
                probed.joined(&replace(&hidden.features, modality, &lost, row))
            };
            for &replacement in &self.config.replacements {
                let (probe, features) = match (replacement, &dropping, &known) {
                    (Replacement::Zeros, ..) => (probed.probe, probed.joined(&hidden.features)),
                    (Replacement::Mean, ..) => {
                        let mean = self.mean(probed.features, modality);
                        (probed.probe, replaced(&|_| mean.clone()))
                    }
                    (Replacement::Dropout, Some(dropping), _) => {
                        let mean = probed.means(dropping, modality);
                        (dropping, replaced(&|_| mean.clone()))
                    }
                    (Replacement::Retrieval | Replacement::CrossModal, _, Some(known)) => {
                        let cross = replacement == Replacement::CrossModal;
                        // Without embeddings there is no common space to search.
                        if cross && known.embeddings.len() <= modality {
                            continue;
                        }
                        let retriever = Retriever::new(self, probed, known, modality, cross);
                        let found = retriever.map(|retriever| retriever.features(&hidden, &test));
                        let Some(found) = found.transpose()?.flatten() else {
                            self.warn_of_few(modality, replacement);
                            continue;
                        };
                        (probed.probe, replaced(&|row| found.row(row).to_vec()))
                    }
                    _ => continue,
                };
                let (full, without) = (probe.predict(&whole)?, probe.predict(&features)?);
                scores.extend(self.shares(modality, Some(replacement), &full, &without));
            }
        }
        Ok(scores)
    }

    /// Says that a replacement has no figures.
    fn warn_of_few(&self, modality: usize, replacement: Replacement) {
        let name = &self.prepared.names[self.networks.modalities[modality]];
        self.progress.warn(format_args!(
            "{}: no figures for `{}` of {name}: the training part has fewer samples with {name} and another modality than `missing.neighbours` asks for, or none of them has a label",
            self.name,
            word(&replacement)
        ));
    }

    /// Whether each of these samples has a modality, by its number in the networks.
    pub fn has(&self, samples: &[usize], modality: usize) -> Vec<bool> {
        self.batches.has(samples, modality).iter().map(|has| has.0).collect()
    }

    /// The networks' outputs for these samples, without one modality where they have another.
    ///
    /// # Errors
    /// When a feature cannot be read.
    pub fn outputs(&self, samples: &[usize], hidden: Option<usize>) -> Result<HostOutputs> {
        let Networks { system, parameters, .. } = self.networks;
        evaluate(&**system, parameters, self.batches.evaluation_without(samples, ROWS, hidden)?)
    }

    /// The scores at each share. Which samples lose the modality depends on the sample alone; those of a smaller share lose
    /// it at a larger one too.
    fn shares(
        &self,
        modality: usize,
        replacement: Option<Replacement>,
        full: &Targets,
        without: &Targets,
    ) -> Vec<MissingScore> {
        let test = self.prepared.labelled(&self.split.test);
        let Some(truth) = self.prepared.targets(&test) else { return Vec::new() };
        let number = self.networks.modalities[modality];
        let random = Philox::new(0, "missing at test").at(number as u64);
        let has = self.batches.has(&test, modality);
        let at = |&share: &f64| {
            let lost: Vec<bool> = test
                .iter()
                .zip(&has)
                .map(|(&sample, &(own, other))| {
                    own && other && random.uniform(sample as u64) < share
                })
                .collect();
            MissingScore {
                modality: self.prepared.names[number].clone(),
                replacement,
                share,
                score: score(&full.mixed(without, &lost), &truth),
            }
        };
        self.config.shares.iter().map(at).collect()
    }

    /// The mean features of a modality over the labelled training samples that have it.
    fn mean(&self, features: &Features, modality: usize) -> Vec<f32> {
        let train = self.prepared.labelled(&self.split.train);
        let has = self.batches.has(&train, modality);
        let rows = &features.tables(0)[modality];
        let mut sum = vec![0.0f64; rows.width];
        let mut count = 0.0f64;
        for (row, _) in has.iter().enumerate().filter(|(_, has)| has.0) {
            sum.iter_mut().zip(rows.row(row)).for_each(|(sum, &v)| *sum += f64::from(v));
            count += 1.0;
        }
        sum.iter().map(|sum| (sum / count.max(1.0)) as f32).collect()
    }
}

impl Probed<'_> {
    /// The features of the probe's modalities side by side.
    pub fn joined(&self, tables: &[Rows]) -> Rows {
        // A part without samples has no tables.
        let tables = self.columns.iter().filter_map(|&column| tables.get(column));
        Rows::join(&tables.collect::<Vec<_>>())
    }

    /// A probe that is trained with modality dropout.
    fn dropping(&self, task: &Task, share: f64) -> Result<Probe> {
        let widths: Vec<usize> = {
            let tables = self.features.tables(0);
            self.columns.iter().map(|&column| tables[column].width).collect()
        };
        let nothing = task.empty();
        let joined: [Rows; 2] = [0, 1].map(|part| self.joined(&self.features.tables(part)));
        let examples = |part: usize| Examples {
            features: &joined[part],
            targets: self.features.targets(part).unwrap_or(&nothing),
        };
        let validation = self.features.targets(1).is_some().then(|| examples(1));
        let dropped = Some(Dropped { widths: &widths, share });
        let (settings, seed) = (self.settings, self.seed);
        Ok(Probe::train_dropping(settings, task, examples(0), validation, seed, dropped)?)
    }

    /// The means that a probe subtracts from a modality's features.
    fn means(&self, probe: &Probe, modality: usize) -> Vec<f32> {
        let tables = self.features.tables(0);
        let before = self.columns.iter().take_while(|&&column| column != modality);
        let start: usize = before.map(|&column| tables[column].width).sum();
        probe.scaling().mean[start..start + tables[modality].width].to_vec()
    }
}

/// The tables with other features of one modality for the marked rows.
fn replace(
    tables: &[Rows],
    modality: usize,
    marked: &[bool],
    row: &dyn Fn(usize) -> Vec<f32>,
) -> Vec<Rows> {
    let mut tables = tables.to_vec();
    let Rows { values, width } = &mut tables[modality];
    for (i, old) in values.chunks_mut((*width).max(1)).enumerate() {
        if marked[i] {
            old.copy_from_slice(&row(i));
        }
    }
    tables
}
