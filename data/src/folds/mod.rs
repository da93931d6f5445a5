//! Splits into training, validation and test parts, by group (actor) or stratified by class.
//!
//! All splits are deterministic: they depend on the samples, their order and the seed alone.

use std::collections::BTreeMap;
use std::fmt;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, Label, Part};
use crate::{Error, Result};

/// Share of each class's training samples that a stratified split uses for validation.
const VALIDATION_SHARE: f64 = 0.1;

/// A split: the sample indices of each part, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Training samples.
    pub train: Vec<usize>,
    /// Validation samples, for early stopping and model selection.
    pub validation: Vec<usize>,
    /// Test samples, for the reported figures.
    pub test: Vec<usize>,
}

/// A class without samples in a part of a fold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentClass {
    /// The fold, counted from 0.
    pub fold: usize,
    /// The part without samples of the class.
    pub part: Part,
    /// The class's name.
    pub class: String,
}

impl fmt::Display for AbsentClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::Train => "training",
            Part::Validation => "validation",
            Part::Test => "test",
        };
        write!(
            f,
            "fold {}: the {part} part has no sample of class `{}`; use fewer folds or more samples",
            self.fold + 1,
            self.class
        )
    }
}

/// The order in which groups are assigned to folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupOrder {
    /// Shuffled with this seed.
    Shuffled(u64),
    /// Sorted by name.
    Sorted,
}

/// The validation part of a split by group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validation {
    /// The fold after the test fold.
    #[default]
    NextFold,
    /// There is none.
    None,
    /// A share of the training groups, at least one group, drawn at random.
    Share {
        /// The share, above 0 and below 1.
        share: f64,
        /// Seed of the random draw.
        seed: u64,
    },
}

impl Split {
    /// The corpus's own split. Samples without a part are left out; `None` when no sample has a part.
    ///
    /// # Errors
    /// Bad settings when the training or test part is empty, or a group is in two parts.
    pub fn of_corpus(corpus: &Corpus) -> Result<Option<Self>> {
        let mut split = Self::default();
        let mut part_of: BTreeMap<&str, (Part, &str)> = BTreeMap::new();
        for (number, sample) in corpus.samples.iter().enumerate() {
            let Some(part) = sample.part else { continue };
            let group = sample.group.as_deref().unwrap_or(&sample.leak_key);
            let (first, of) = *part_of.entry(group).or_insert((part, &sample.id));
            if first != part {
                return Err(Error::config(format!(
                    "the corpus's own parts: {of} is for {}, {} for {}, and both are of the group {group}; put them in one part",
                    first.names()[0],
                    sample.id,
                    part.names()[0]
                )));
            }
            match part {
                Part::Train => split.train.push(number),
                Part::Validation => split.validation.push(number),
                Part::Test => split.test.push(number),
            }
        }
        if part_of.is_empty() {
            return Ok(None);
        }
        for (part, samples) in [(Part::Train, &split.train), (Part::Test, &split.test)] {
            if samples.is_empty() {
                let name = part.names()[0];
                return Err(Error::config(format!(
                    "the corpus's own parts: none of the samples is for {name}; name some, or choose another data.protocol"
                )));
            }
        }
        Ok(Some(split))
    }

    /// The parts with their names.
    pub fn parts(&self) -> [(Part, &[usize]); 3] {
        [(Part::Train, &self.train), (Part::Validation, &self.validation), (Part::Test, &self.test)]
    }

    /// A hash of the sample ids in each part, independent of their order: 16 hexadecimal digits.
    pub fn stamp<S: AsRef<str>>(&self, ids: &[S]) -> String {
        let mut hasher = blake3::Hasher::new();
        for (_, part) in self.parts() {
            let mut names: Vec<&str> =
                part.iter().filter_map(|&sample| ids.get(sample)).map(AsRef::as_ref).collect();
            names.sort_unstable();
            hasher.update(&(names.len() as u64).to_le_bytes());
            for name in names {
                hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            }
        }
        hasher.finalize().to_hex().as_str()[..16].to_owned()
    }

    /// The classes without samples in a non-empty part. `fold` is copied into the result; samples without a label are
    /// ignored.
    pub fn absent_classes(
        &self,
        fold: usize,
        labels: &[Option<Label>],
        classes: &[String],
    ) -> Vec<AbsentClass> {
        let mut absent = Vec::new();
        for (part, samples) in self.parts().into_iter().filter(|(_, samples)| !samples.is_empty()) {
            for (label, class) in classes.iter().enumerate() {
                let has = |sample: usize| labels.get(sample)?.map(|known| known.has(label));
                if !samples.iter().any(|&sample| has(sample) == Some(true)) {
                    absent.push(AbsentClass { fold, part, class: class.clone() });
                }
            }
        }
        absent
    }

    fn sorted(mut self) -> Self {
        for part in [&mut self.train, &mut self.validation, &mut self.test] {
            part.sort_unstable();
        }
        self
    }
}

/// Cross-validation by group: no group is in two parts of a fold.
///
/// The groups, in `order`, are cut into `folds` consecutive runs whose sizes differ by at most one, the longer runs first
/// (24 actors in 10 folds: 3 3 3 3 2 2 2 2 2 2). Fold `i` tests on run `i`.
///
/// # Errors
/// Bad settings when there are fewer than 2 folds, fewer groups than folds, or no group is left for training.
pub fn by_group<S: AsRef<str>>(
    groups: &[S],
    folds: usize,
    order: GroupOrder,
    validation: Validation,
) -> Result<Vec<Split>> {
    let mut members = members(groups.iter().map(AsRef::as_ref));
    if let GroupOrder::Shuffled(seed) = order {
        members.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    }
    let count = members.len();
    if folds < 2 || count < folds {
        return Err(Error::config(format!(
            "{folds} folds of {count} groups: at least 2 folds and a group for each are needed; set fewer folds"
        )));
    }
    let mut fold_of = Vec::with_capacity(count);
    for fold in 0..folds {
        let size = count / folds + usize::from(fold < count % folds);
        fold_of.extend(std::iter::repeat_n(fold, size));
    }
    assemble(&members, &fold_of, folds, validation)
}

/// Three folds by pairs of groups: the group with index `a` in the order of names is tested in fold `(a / 2) % 3`.
///
/// RAVDESS and the synthetic world number male and female actors alternately, so each fold tests as many of either.
///
/// # Errors
/// Bad settings when there are too few groups.
pub fn three_by_pairs<S: AsRef<str>>(groups: &[S], validation: Validation) -> Result<Vec<Split>> {
    let members = members(groups.iter().map(AsRef::as_ref));
    if members.len() < 6 {
        return Err(Error::config(format!(
            "three folds by pairs need at least 6 groups, not {}; add actors",
            members.len()
        )));
    }
    let fold_of: Vec<usize> = (0..members.len()).map(|group| (group / 2) % 3).collect();
    assemble(&members, &fold_of, 3, validation)
}

/// The sample indices of each group, in the order of the groups' names.
fn members<'a>(groups: impl Iterator<Item = &'a str>) -> Vec<Vec<usize>> {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (sample, group) in groups.enumerate() {
        members.entry(group).or_default().push(sample);
    }
    members.into_values().collect()
}

fn assemble(
    members: &[Vec<usize>],
    fold_of: &[usize],
    folds: usize,
    validation: Validation,
) -> Result<Vec<Split>> {
    if validation == Validation::NextFold && folds < 3 {
        return Err(Error::config(
            "validation by the next fold needs at least 3 folds, or nothing is left to train on; set more folds",
        ));
    }
    (0..folds)
        .map(|test| {
            let mut training: Vec<usize> =
                (0..members.len()).filter(|&group| fold_of[group] != test).collect();
            let held_out: Vec<usize> = match validation {
                Validation::None => Vec::new(),
                Validation::NextFold => {
                    training.extract_if(.., |group| fold_of[*group] == (test + 1) % folds).collect()
                }
                Validation::Share { share, seed } => {
                    let count = share_of(training.len(), share)?;
                    training.shuffle(&mut ChaCha8Rng::seed_from_u64(seed ^ ((test as u64) << 32)));
                    training.drain(..count).collect()
                }
            };
            let samples = |groups: &[usize]| {
                groups.iter().flat_map(|&group| &members[group]).copied().collect()
            };
            let tested: Vec<usize> =
                (0..members.len()).filter(|&group| fold_of[group] == test).collect();
            Ok(Split {
                train: samples(&training),
                validation: samples(&held_out),
                test: samples(&tested),
            }
            .sorted())
        })
        .collect()
}

/// The number of groups in a share of `count` groups: at least one, and at least one must remain.
fn share_of(count: usize, share: f64) -> Result<usize> {
    let wanted = ((count as f64 * share).round() as usize).max(1);
    if !(share > 0.0 && share < 1.0) || wanted >= count {
        return Err(Error::config(format!(
            "a validation share of {share} leaves nothing of {count} training groups; choose one between 0 and 1, e.g. 0.1"
        )));
    }
    Ok(wanted)
}

/// Stratified cross-validation: every class is spread evenly over the folds; groups are ignored.
///
/// Samples with equal leak keys stay together. 10 % of each class's training samples are for validation: whole leak keys,
/// at least one when the class has two or more.
///
/// # Errors
/// Bad settings when the lists differ in length, a leak key joins two classes, or a class has fewer leak keys than
/// there are folds.
pub fn stratified<S: AsRef<str>>(
    labels: &[usize],
    leak_keys: &[S],
    classes: &[String],
    folds: usize,
    seed: u64,
) -> Result<Vec<Split>> {
    if labels.len() != leak_keys.len() || folds < 2 {
        return Err(Error::config(format!(
            "{folds} stratified folds of {} labels and {} leak keys: lists must match and folds be at least 2",
            labels.len(),
            leak_keys.len()
        )));
    }
    let mut units: BTreeMap<usize, Vec<Vec<usize>>> = BTreeMap::new();
    for unit in members(leak_keys.iter().map(AsRef::as_ref)) {
        let label = labels[unit[0]];
        if let Some(&other) = unit.iter().find(|&&sample| labels[sample] != label) {
            return Err(Error::config(format!(
                "the leak key `{}` has samples of two classes; give near-duplicates one label",
                leak_keys[other].as_ref()
            )));
        }
        units.entry(label).or_default().push(unit);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut splits = vec![Split::default(); folds];
    let mut first = 0;
    for (label, mut units) in units {
        let name = classes.get(label).map_or("?", String::as_str);
        if units.len() < folds {
            return Err(Error::config(format!(
                "class `{name}` has {} independent samples for {folds} folds, so a fold would lack it; set fewer folds",
                units.len()
            )));
        }
        units.shuffle(&mut random);
        // Each class starts at the fold where the previous class stopped, so that fold sizes stay even.
        for (test, split) in splits.iter_mut().enumerate() {
            let (mut tested, mut training) = (Vec::new(), Vec::new());
            for (place, unit) in units.iter().enumerate() {
                if (first + place) % folds == test { &mut tested } else { &mut training }
                    .push(unit);
            }
            training.shuffle(&mut random);
            let count = if training.len() < 2 {
                0
            } else {
                ((training.len() as f64 * VALIDATION_SHARE).round() as usize).max(1)
            };
            let samples = |units: &[&Vec<usize>]| -> Vec<usize> {
                units.iter().flat_map(|unit| unit.iter().copied()).collect()
            };
            split.test.extend(samples(&tested));
            split.validation.extend(samples(&training[..count]));
            split.train.extend(samples(&training[count..]));
        }
        first += units.len();
    }
    Ok(splits.into_iter().map(Split::sorted).collect())
}

#[cfg(test)]
mod tests;
