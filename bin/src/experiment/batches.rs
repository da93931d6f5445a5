//! Batches from samples: the plan of an epoch, windows, noise, and conversion to tensors.

use super::PreparedData;
use crate::config::{Config, ModalityConfig, Pairing, Sampling, Standardise};
use crate::failure::{Failure, Result};
use data::corpus::Label;
use data::dataset::Dataset;
use data::loader::{self, Item, Loader, Window};
use data::standardise::{Spread, Standardiser};
use engine::{Philox, Tensor};
use models::sampler::{Augmentation, window_start};
use models::systems::{Batch, Input, Needs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Threads that make batches ahead of training.
pub const WORKERS: usize = 1;
/// Batches that each thread keeps ready.
pub const AHEAD: usize = 4;

/// The batches of one split, with its standardisation and windows.
pub struct Batches<'a> {
    prepared: &'a PreparedData,
    sampling: Sampling,
    /// The settings of each modality of the data.
    settings: Arc<Vec<ModalityConfig>>,
    /// The modalities of the batches, by their numbers in the data.
    chosen: Vec<usize>,
    /// The dataset with only these modalities.
    dataset: Arc<Dataset>,
    /// By modality of the batches.
    standardisers: Vec<Option<Standardiser>>,
    /// The number of each group of the training samples.
    groups: Arc<BTreeMap<usize, u32>>,
    seed: u64,
}

impl<'a> Batches<'a> {
    /// Measures means and standard deviations over the training samples.
    ///
    /// # Errors
    /// When a feature cannot be read, or no training sample has a modality.
    pub fn new(
        config: &Config,
        prepared: &'a PreparedData,
        train: &[usize],
        seed: u64,
    ) -> Result<Self> {
        let modalities = prepared.modalities.iter().enumerate();
        let standardisers = modalities
            .map(|(number, modality)| standardiser(prepared, number, modality.standardise, train))
            .collect::<Result<_>>()?;
        let chosen = (0..prepared.names.len()).collect();
        let dataset = Arc::clone(&prepared.dataset);
        let mut groups = BTreeMap::new();
        for &sample in train {
            let next = groups.len() as u32;
            groups.entry(prepared.groups[sample]).or_insert(next);
        }
        Ok(Batches {
            prepared,
            sampling: config.sampling,
            settings: Arc::new(prepared.modalities.clone()),
            chosen,
            dataset,
            standardisers,
            groups: Arc::new(groups),
            seed,
        })
    }

    /// Batches of all modalities with other settings of each. Standardisers are measured again where theirs differ.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(&self, settings: Vec<ModalityConfig>, train: &[usize]) -> Result<Self> {
        let before = self.settings.iter().zip(&self.standardisers);
        let standardisers = before
            .zip(&settings)
            .enumerate()
            .map(|(number, ((before, known), now))| match now.standardise == before.standardise {
                true => Ok(known.clone()),
                false => standardiser(self.prepared, number, now.standardise, train),
            })
            .collect::<Result<_>>()?;
        let all: Vec<usize> = (0..settings.len()).collect();
        Ok(Batches { settings: Arc::new(settings), standardisers, ..self.select(&all) })
    }

    /// Batches of these modalities alone, by their numbers in the data.
    pub fn select(&self, modalities: &[usize]) -> Self {
        let dataset = match modalities == self.chosen {
            true => Arc::clone(&self.dataset),
            false => Arc::new(self.prepared.dataset.select(modalities)),
        };
        let standardisers = modalities.iter().map(|&m| self.standardisers[m].clone()).collect();
        let chosen = modalities.to_vec();
        let (settings, groups) = (Arc::clone(&self.settings), Arc::clone(&self.groups));
        Batches { settings, chosen, dataset, standardisers, groups, ..*self }
    }

    /// The number of groups of the training samples, which a system classifies.
    ///
    /// # Errors
    /// 78 when there is one group, or each sample is a group by itself.
    pub fn groups(&self, arm: &str, train: &[usize]) -> Result<usize> {
        let count = self.groups.len();
        let what = match (count, train.len()) {
            (0 | 1, _) => "all training samples are of one group".to_owned(),
            (groups, samples) if groups == samples => {
                format!(
                    "the {samples} training samples have no groups, or each is a group by itself"
                )
            }
            _ => return Ok(count),
        };
        Err(Failure::config(format!("`arm.{arm}` classifies the groups of training samples, but {what}"))
            .hint("use a corpus with at least two groups of several samples, e.g. actors, or remove the arm"))
    }

    /// The standardiser of each modality.
    pub fn standardisers(&self) -> &[Option<Standardiser>] {
        &self.standardisers
    }

    /// The settings of each modality.
    pub fn modalities(&self) -> impl Iterator<Item = &ModalityConfig> + Clone {
        self.chosen.iter().map(|&number| &self.settings[number])
    }

    /// The shape of one sample of each modality in training: [T, ..].
    pub fn shapes(&self) -> Vec<Vec<usize>> {
        self.shapes_of(|modality| modality.window)
    }

    /// The shape of an evaluation sample of each modality.
    pub fn evaluation_shapes(&self) -> Vec<Vec<usize>> {
        self.shapes_of(|modality| modality.evaluation_window)
    }

    fn shapes_of(&self, window: impl Fn(&ModalityConfig) -> usize) -> Vec<Vec<usize>> {
        let shape = |(number, modality): (usize, &ModalityConfig)| {
            let steps = modality.pick.unwrap_or(window(modality));
            [&[steps], self.dataset.frame_shape(number)].concat()
        };
        self.modalities().enumerate().map(shape).collect()
    }

    /// The plan of an epoch: for each batch the samples and window starts of every row. A batch in which a modality has
    /// fewer than two samples is left out; for an [unpaired](Needs::unpaired) system only a batch in which all modalities
    /// have fewer than two. For a system that compares pairs, a batch is also left out if no two samples have the same two
    /// modalities: there are no negatives.
    pub fn plan(&self, train: &[usize], size: usize, epoch: u64, needs: &Needs) -> Vec<Vec<Item>> {
        let Needs { views, pairs, unpaired, aligned, .. } = *needs;
        let PreparedData { groups, labels, .. } = self.prepared;
        let groups: Vec<usize> = train.iter().map(|&sample| groups[sample]).collect();
        let class = |&sample: &usize| labels[sample].and_then(Label::class).unwrap_or(0);
        let labels: Vec<usize> = train.iter().map(class).collect();
        let enough = |batch: &Vec<usize>| {
            let two = |m: usize| {
                batch.iter().filter(|&&i| self.dataset.length(train[i], m).is_some()).count() >= 2
            };
            let mut modalities = 0..self.chosen.len();
            let filled = if unpaired { modalities.any(two) } else { modalities.all(two) };
            filled && (!pairs || self.tells_apart(batch.iter().map(|&i| train[i])))
        };
        let rows = |batch: Vec<usize>| {
            (0..views)
                .flat_map(|view| batch.iter().map(move |&i| (view, i)))
                .map(|(view, i)| self.item(train[i], epoch, view, aligned))
                .collect()
        };
        let batches = self.sampling.sampler.batches(&groups, &labels, size, self.seed, epoch);
        batches.into_iter().filter(enough).map(rows).collect()
    }

    /// Whether at least two of these samples have the same two modalities.
    fn tells_apart(&self, samples: impl Iterator<Item = usize> + Clone) -> bool {
        let (dataset, count) = (&self.dataset, self.chosen.len());
        let has = |sample, modality| dataset.length(sample, modality).is_some();
        (0..count).any(|m| {
            (0..m).any(|n| samples.clone().filter(|&s| has(s, m) && has(s, n)).count() >= 2)
        })
    }

    fn item(&self, sample: usize, epoch: u64, view: usize, aligned: bool) -> Item {
        // Windows and noise depend on the modality's number in the data, not on which modalities are chosen.
        let start = |&number: &usize| {
            let modality = &self.settings[number];
            let length = self.prepared.dataset.length(sample, number).unwrap_or(0);
            let places = (length + 1).saturating_sub(modality.window).max(1);
            let independent = self.sampling.independent_windows && !aligned;
            let share = window_start(self.seed, epoch, sample, view, number, independent);
            (share * places as f64) as usize
        };
        Item { sample, starts: self.chosen.iter().map(start).collect() }
    }

    /// The number of these samples in the largest group.
    pub fn largest_group(&self, samples: &[usize]) -> usize {
        let mut sizes = BTreeMap::<usize, usize>::new();
        samples.iter().for_each(|&s| *sizes.entry(self.prepared.groups[s]).or_default() += 1);
        sizes.into_values().max().unwrap_or(0)
    }

    /// The samples among these that have every modality.
    pub fn complete(&self, samples: &[usize]) -> Vec<usize> {
        let all = |&&sample: &&usize| {
            (0..self.chosen.len()).all(|m| self.dataset.length(sample, m).is_some())
        };
        samples.iter().filter(all).copied().collect()
    }

    /// Training batches of a plan, in its order, without the first `done`.
    ///
    /// # Errors
    /// When the plan does not fit the data.
    pub fn training(
        &'a self,
        plan: &[Vec<Item>],
        done: usize,
        epoch: u64,
        needs: &Needs,
        pairing: Pairing,
    ) -> Result<impl Iterator<Item = Result<Batch>> + use<'a>> {
        let views = needs.views;
        let named = |number: &usize| needs.anchor.as_ref() == Some(&self.prepared.names[*number]);
        let anchor = self.chosen.iter().position(named).unwrap_or(0);
        let augmentations = self.chosen.iter().zip(self.modalities());
        let augmentations = augmentations.map(|(&number, m)| (number, m.augmentation)).collect();
        let noise = Noise { augmentations, seed: self.seed, epoch, views };
        let random = Philox::new(self.seed, "shuffled pairs").at(epoch);
        let loader = Loader::finishing(
            Arc::clone(&self.dataset),
            self.windows(|modality| modality.window),
            plan[done..].to_vec(),
            WORKERS,
            AHEAD,
            move |batch| {
                noise.add(batch);
                if pairing == Pairing::Shuffled {
                    shuffle(batch, anchor, random.at((done + batch.index) as u64));
                }
            },
        )?;
        Ok(loader.map(move |batch| self.assemble(batch?, views)))
    }

    /// Evaluation batches: samples in their order, windows from step 0, no random numbers.
    ///
    /// # Errors
    /// When the plan does not fit the data.
    pub fn evaluation(
        &'a self,
        samples: &[usize],
        size: usize,
    ) -> Result<impl Iterator<Item = Result<Batch>> + 'a> {
        self.evaluation_without(samples, size, None)
    }

    /// As [`evaluation`](Self::evaluation), without one modality, by its number among those of the batches, where a sample
    /// has another one.
    ///
    /// # Errors
    /// When the plan does not fit the data.
    pub fn evaluation_without(
        &'a self,
        samples: &[usize],
        size: usize,
        hidden: Option<usize>,
    ) -> Result<impl Iterator<Item = Result<Batch>> + 'a> {
        let starts = vec![0; self.chosen.len()];
        let item = |&sample: &usize| Item { sample, starts: starts.clone() };
        let plan: Vec<Vec<Item>> =
            samples.chunks(size).map(|rows| rows.iter().map(item).collect()).collect();
        let windows = self.windows(|modality| modality.evaluation_window);
        let loader = Loader::finishing(
            Arc::clone(&self.dataset),
            windows,
            plan,
            WORKERS,
            AHEAD,
            move |batch| hidden.iter().for_each(|&modality| hide(batch, modality)),
        )?;
        Ok(loader.map(|batch| self.assemble(batch?, 1)))
    }

    /// Whether each of these samples has a modality, by its number among those of the batches, and whether it has another.
    pub fn has(&self, samples: &[usize], modality: usize) -> Vec<(bool, bool)> {
        let has = |sample: usize, modality| self.dataset.length(sample, modality).is_some();
        let others = |sample: usize| {
            (0..self.chosen.len()).any(|other| other != modality && has(sample, other))
        };
        samples.iter().map(|&sample| (has(sample, modality), others(sample))).collect()
    }

    /// Batches for the validation loss. With one view, windows start at 0; with more, they are drawn as in training, but
    /// equal in every epoch. For a system that compares pairs, batches are left out as in [`plan`](Self::plan).
    ///
    /// # Errors
    /// When the plan does not fit the data.
    pub fn validation(
        &'a self,
        samples: &[usize],
        size: usize,
        needs: &Needs,
    ) -> Result<Box<dyn Iterator<Item = Result<Batch>> + 'a>> {
        let Needs { views, pairs, aligned, .. } = *needs;
        let useful = |batch: &&[usize]| !pairs || self.tells_apart(batch.iter().copied());
        let batches = samples.chunks(size).filter(useful);
        if views == 1 {
            let samples: Vec<usize> = batches.flatten().copied().collect();
            return Ok(Box::new(self.evaluation(&samples, size)?));
        }
        let rows = |batch: &[usize]| {
            (0..views)
                .flat_map(|view| batch.iter().map(move |&s| self.item(s, u64::MAX, view, aligned)))
                .collect()
        };
        let plan = batches.map(rows).collect();
        let windows = self.windows(|modality| modality.window);
        let loader = Loader::new(Arc::clone(&self.dataset), windows, plan, WORKERS, AHEAD)?;
        Ok(Box::new(loader.map(move |batch| self.assemble(batch?, views))))
    }

    fn windows(&self, steps: impl Fn(&ModalityConfig) -> usize) -> Vec<Window> {
        let window = |(modality, standardiser): (&ModalityConfig, &Option<Standardiser>)| Window {
            steps: steps(modality),
            pick: modality.pick,
            padding: modality.padding,
            standardiser: standardiser.clone(),
        };
        self.modalities().zip(&self.standardisers).map(window).collect()
    }

    fn assemble(&self, batch: loader::Batch, views: usize) -> Result<Batch> {
        let rows = batch.samples.len();
        let targets = self.prepared.targets(&batch.samples[..rows / views]);
        let labels = targets.map(|targets| targets.tensor()).transpose()?;
        let modalities = batch.modalities.into_iter().map(input).collect::<Result<_>>()?;
        let samples = &batch.samples[..rows / views];
        let number = |sample: &usize| self.groups.get(&self.prepared.groups[*sample]).copied();
        let groups: Option<Vec<u32>> = samples.iter().map(number).collect();
        let groups = groups.map(|groups| Tensor::from_slice(&groups, &[groups.len()]));
        let groups = groups.transpose()?;
        Ok(Batch { modalities, labels, groups, samples: rows / views, views })
    }
}

/// The standardiser of a modality, by its number in the data, measured over the training samples.
fn standardiser(
    prepared: &PreparedData,
    number: usize,
    how: Standardise,
    train: &[usize],
) -> Result<Option<Standardiser>> {
    let spread = match how {
        Standardise::None => return Ok(None),
        Standardise::Kinetics => return Ok(Some(Standardiser::kinetics())),
        Standardise::Each => Spread::Each,
        Standardise::Shared => Spread::Shared,
        Standardise::Range => Spread::Range,
    };
    Ok(Some(Standardiser::fit(&prepared.dataset, number, train, spread)?))
}

/// Random offsets: a function of seed, epoch, sample, view and modality.
struct Noise {
    /// The number of each modality in the data, and its augmentation.
    augmentations: Vec<(usize, Augmentation)>,
    seed: u64,
    epoch: u64,
    views: usize,
}

impl Noise {
    fn add(&self, batch: &mut loader::Batch) {
        let samples = batch.samples.len() / self.views;
        let random = Philox::new(self.seed, "augmentation").at(self.epoch);
        for (&(number, augmentation), stacked) in
            self.augmentations.iter().zip(&mut batch.modalities)
        {
            let features: usize = stacked.values.shape()[2..].iter().product();
            let row = stacked.values.shape()[1] * features;
            for (i, frames) in stacked.values.data_mut().chunks_mut(row).enumerate() {
                let random = random.at(batch.samples[i] as u64);
                let random = random.at((i / samples) as u64).at(number as u64);
                augmentation.apply(frames, features, random);
            }
        }
    }
}

/// Converts one modality of a batch to tensors: the rows of samples that have it, and, if some lack it, the row of each
/// sample.
///
/// # Errors
/// None in practice.
pub fn input(stacked: loader::Stacked) -> Result<Input> {
    let loader::Stacked { values, lengths, present } = stacked;
    let lengths: Vec<u32> =
        lengths.iter().zip(&present).filter(|(_, p)| **p).map(|(&l, _)| l as u32).collect();
    let lengths = Some(Tensor::from_slice(&lengths, &[lengths.len()])?);
    let (mut shape, values) = values.into_parts();
    if present.iter().all(|&p| p) {
        return Ok(Input {
            data: Tensor::from_slice(&values, &shape)?,
            lengths,
            rows: None,
            present: None,
        });
    }
    let row: usize = shape[1..].iter().product();
    let kept: Vec<f32> = values
        .chunks(row)
        .zip(&present)
        .filter(|(_, p)| **p)
        .flat_map(|(row, _)| row)
        .copied()
        .collect();
    shape[0] = kept.len() / row;
    let mut next = 0;
    let number = |&p: &bool| {
        let row = next;
        next += u32::from(p);
        if p { row } else { 0 }
    };
    let rows: Vec<u32> = present.iter().map(number).collect();
    Ok(Input {
        data: Tensor::from_slice(&kept, &shape)?,
        lengths,
        rows: Some(Tensor::from_slice(&rows, &[rows.len()])?),
        present: Some(present.iter().map(|&p| u32::from(p)).collect()),
    })
}

/// Takes a modality away from the rows that have another one.
fn hide(batch: &mut loader::Batch, modality: usize) {
    for row in 0..batch.samples.len() {
        let mut others = batch.modalities.iter().enumerate();
        if others.any(|(other, stacked)| other != modality && stacked.present[row]) {
            batch.modalities[modality].present[row] = false;
        }
    }
}

/// Permutes the rows of every modality but `anchor`.
fn shuffle(batch: &mut loader::Batch, anchor: usize, random: Philox) {
    let others = batch.modalities.iter_mut().enumerate().filter(|(number, _)| *number != anchor);
    for (number, stacked) in others {
        let order = random.at(number as u64).permutation(batch.samples.len());
        let row: usize = stacked.values.shape()[1..].iter().product();
        let before = stacked.values.data().to_vec();
        for (to, &from) in stacked.values.data_mut().chunks_mut(row).zip(&order) {
            to.copy_from_slice(&before[from * row..][..row]);
        }
        stacked.lengths = order.iter().map(|&from| stacked.lengths[from]).collect();
        stacked.present = order.iter().map(|&from| stacked.present[from]).collect();
    }
}
