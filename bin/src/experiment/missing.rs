//! The evaluation of samples without a modality: as the system has it, and with features that stand in for the missing
//! ones.
//!
//! Networks, probes and stores are those of the training part; nothing is fitted on test samples.

use super::PreparedData;
use super::batches::Batches;
use super::judging::{Features, ROWS};
use super::trial::Networks;
use crate::config::{MissingConfig, Replacement};
use crate::failure::Result;
use data::folds::Split;
use engine::Philox;
use models::evaluate::metrics::score;
use models::evaluate::{
    Dropped, Examples, Found, HostOutputs, Probe, ProbeSettings, Query, Rows, Store, Weights,
    evaluate,
};
use models::targets::{Targets, Task};
use serde::{Deserialize, Serialize};

/// The most training samples on which the number of neighbours is chosen.
const CHOOSING: usize = 500;

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
        let wants = |replacement| self.config.replacements.contains(&replacement);
        let dropping = match wants(Replacement::Dropout) {
            true => Some(probed.dropping(self.task, self.config.dropout)?),
            false => None,
        };
        let retrieves = wants(Replacement::Retrieval) || wants(Replacement::CrossModal);
        // The stores may also hold training samples without a label.
        let known = match retrieves {
            true => Some(self.outputs(&self.split.train, None)?),
            false => None,
        };
        let mut scores = Vec::new();
        for &modality in probed.columns {
            let hidden = self.outputs(&test, Some(modality))?;
            let lost: Vec<bool> = self
                .batches
                .has(&test, modality)
                .iter()
                .map(|&(own, other)| own && other)
                .collect();
            for &replacement in &self.config.replacements {
                let replaced = |row: &dyn Fn(usize) -> Vec<f32>| {
                    probed.joined(&replace(&hidden.features, modality, &lost, row))
                };
                let (full, features) = match replacement {
                    Replacement::Zeros => (full.clone(), probed.joined(&hidden.features)),
                    Replacement::Mean => {
                        let mean = self.mean(probed.features, modality);
                        (full.clone(), replaced(&|_| mean.clone()))
                    }
                    Replacement::Dropout => {
                        let Some(dropping) = &dropping else { continue };
                        let mean = probed.means(dropping, modality);
                        let whole = probed.joined(&probed.features.tables(2));
                        let features = replaced(&|_| mean.clone());
                        let full = dropping.predict(&whole)?;
                        let without = dropping.predict(&features)?;
                        scores.extend(self.shares(modality, Some(replacement), &full, &without));
                        continue;
                    }
                    Replacement::Retrieval | Replacement::CrossModal => {
                        let Some(known) = &known else { continue };
                        let cross = replacement == Replacement::CrossModal;
                        let Some(found) =
                            self.retrieved(probed, known, &hidden, modality, cross)?
                        else {
                            continue;
                        };
                        (full.clone(), replaced(&|row| found.row(row).to_vec()))
                    }
                };
                let without = probed.probe.predict(&features)?;
                scores.extend(self.shares(modality, Some(replacement), &full, &without));
            }
        }
        Ok(scores)
    }

    fn outputs(&self, samples: &[usize], hidden: Option<usize>) -> Result<HostOutputs> {
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

    /// The features of a missing modality from the nearest training samples, for each test sample. `None` if the system
    /// has no common space, or too few training samples have the modalities.
    fn retrieved(
        &self,
        probed: &Probed<'_>,
        known: &HostOutputs,
        hidden: &HostOutputs,
        modality: usize,
        cross: bool,
    ) -> Result<Option<Rows>> {
        let train = &self.split.train;
        let test = self.prepared.labelled(&self.split.test);
        if cross && known.embeddings.len() <= modality {
            return Ok(None);
        }
        // The stores, and the vectors of queries, of each other modality.
        let others: Vec<usize> =
            probed.columns.iter().copied().filter(|&other| other != modality).collect();
        let has = |samples: &[usize], m: usize| -> Vec<bool> {
            self.batches.has(samples, m).iter().map(|has| has.0).collect()
        };
        let own = has(train, modality);
        let store = |other: usize| match cross {
            true => Store::new(&known.embeddings[modality], |row| own[row]),
            false => {
                let both = has(train, other);
                Store::new(&known.features[other], |row| own[row] && both[row])
            }
        };
        let stores: Vec<Store> = others.iter().map(|&other| store(other)).collect();
        let fewest = stores.iter().map(Store::len).min().unwrap_or(0);
        let counts: Vec<usize> =
            self.config.neighbours.iter().copied().filter(|&count| count < fewest).collect();
        let Some(&most) = counts.iter().max() else { return Ok(None) };
        let vectors = |outputs: &HostOutputs| match cross {
            true => outputs.embeddings.clone(),
            false => outputs.features.clone(),
        };
        let search = |outputs: &HostOutputs, samples: &[usize], training: bool| {
            let (tables, rows) = (vectors(outputs), samples.len());
            let present: Vec<Vec<bool>> = others.iter().map(|&m| has(samples, m)).collect();
            let tables: Vec<Rows> = others.iter().map(|&m| first(&tables[m], rows)).collect();
            let queries: Vec<Query<'_>> = (0..others.len())
                .map(|i| Query { vectors: &tables[i], present: &present[i], store: &stores[i] })
                .collect();
            Found::search(&queries, most, training)
        };
        let values = &known.features[modality];
        let (count, weights) = {
            // Chosen on the validation part; without one, on training samples, none its own neighbour.
            let held_out = self.prepared.labelled(&self.split.validation);
            let training = held_out.is_empty();
            let samples: Vec<usize> = match training {
                true => train.iter().copied().take(CHOOSING).collect(),
                false => held_out.into_iter().take(CHOOSING).collect(),
            };
            let outputs = match training {
                true => known.clone(),
                false => self.outputs(&samples, None)?,
            };
            let Ok(found) = search(&outputs, &samples, training) else { return Ok(None) };
            let labelled: Vec<usize> = (0..samples.len())
                .filter(|&row| self.prepared.labels[samples[row]].is_some())
                .collect();
            let chosen: Vec<usize> = labelled.iter().map(|&row| samples[row]).collect();
            let Some(truth) = self.prepared.targets(&chosen) else { return Ok(None) };
            let mut best = None;
            for (&count, weights) in counts
                .iter()
                .flat_map(|count| [Weights::Mean, Weights::Softmax].map(|w| (count, w)))
            {
                let features = found.features(values, count, weights);
                let tables: Vec<Rows> =
                    (0..outputs.features.len())
                        .map(|m| {
                            if m == modality {
                                features.clone()
                            } else {
                                outputs.features[m].clone()
                            }
                        })
                        .map(|rows| pick(&rows, &labelled))
                        .collect();
                let figure = score(&probed.probe.predict(&probed.joined(&tables))?, &truth);
                if best.is_none_or(|(highest, _)| figure > highest) {
                    best = Some((figure, (count, weights)));
                }
            }
            match best {
                Some((_, choice)) => choice,
                None => return Ok(None),
            }
        };
        let Ok(found) = search(hidden, &test, false) else { return Ok(None) };
        Ok(Some(found.features(values, count, weights)))
    }
}

impl Probed<'_> {
    /// The features of the probe's modalities side by side.
    fn joined(&self, tables: &[Rows]) -> Rows {
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

/// The first rows of a table.
fn first(rows: &Rows, count: usize) -> Rows {
    Rows { values: rows.values[..count * rows.width].to_vec(), width: rows.width }
}

/// These rows of a table.
fn pick(rows: &Rows, chosen: &[usize]) -> Rows {
    Rows {
        values: chosen.iter().flat_map(|&row| rows.row(row)).copied().collect(),
        width: rows.width,
    }
}
