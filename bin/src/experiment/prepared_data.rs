//! The data of an experiment: samples with decoded features, labels and splits.

use super::corpora::find;
use super::pretrained::Pretrained;
use super::{labels, world};
use crate::config::{
    Config, DataTargets, ModalityConfig, Protocol, Resolved, Stamp, ValidationPart,
};
use crate::failure::{Context, Failure, Result};
use crate::progress::{Progress, seconds};
use crate::run_folder::RunFolder;
use crate::signals::Stop;
use data::cache::Cache;
use data::corpora::OwnSplit;
use data::corpus::{Corpus, Label};
use data::dataset::Dataset;
use data::feature::Feature;
use data::folds::{self, GroupOrder, Split, Validation};
use data::prepare::{Prepared, Remark, prepare};
use data::synth;
use engine::{Device, Philox};
use models::targets::{Targets, Task};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Samples, decoded features, labels and splits, which all trials share.
#[derive(Clone)]
pub struct PreparedData {
    /// The modalities' names.
    pub names: Vec<String>,
    /// The names of their entries in the configuration; a manifest's column may have that of its kind.
    pub entries: Vec<String>,
    /// Their settings.
    pub modalities: Vec<ModalityConfig>,
    /// Their features.
    pub dataset: Arc<Dataset>,
    /// Names of the classes, labels or attributes; empty if no sample is labelled.
    pub classes: Vec<String>,
    /// The class, the labels or the attributes of each sample.
    pub labels: Vec<Option<Label>>,
    /// The group of each sample, as a number from 0.
    pub groups: Vec<usize>,
    /// The true factors of each sample; only in the synthetic world.
    pub factors: Option<Vec<Vec<f32>>>,
    /// The folds.
    pub splits: Vec<Split>,
    /// The protocol of the split, and its number of folds.
    pub protocol: (Protocol, usize),
    /// Initial weights from files.
    pub pretrained: Arc<Pretrained>,
    /// The fingerprint of each modality's decoder.
    pub decoders: Vec<String>,
    ids: Vec<String>,
    /// As [`Stamp::corpus`].
    origin: String,
    /// By fold, the same data with few labels; empty without `data.labelled`.
    of_folds: Vec<PreparedData>,
}

impl PreparedData {
    /// Finds the samples, decodes their features (or takes them from the cache) and splits them.
    ///
    /// # Errors
    /// When a file or a setting is wrong.
    pub fn open(resolved: &Resolved, progress: &Progress, stop: &Stop) -> Result<Self> {
        let config = &resolved.config;
        // First, because it fails fastest.
        let pretrained = Pretrained::open(config, progress)?;
        let Decoded { root, corpus, entries, modalities, prepared, decoders, seconds: time } =
            decode(config, progress, stop)?;
        let samples = &corpus.samples;
        progress.line(format_args!(
            "{} samples of {} in {} ({} features computed, the others cached)",
            samples.len(),
            corpus.modalities.join(", "),
            seconds(time),
            prepared.computed
        ));
        let labels: Vec<Option<Label>> = samples.iter().map(|sample| sample.label).collect();
        let (protocol, mut splits) = split(config, &corpus, progress)?;
        if let Some(most) = config.limit_train {
            let seed = config.data.split_seed;
            for (fold, split) in splits.iter_mut().enumerate() {
                limit(split, fold, most, seed, &labels);
            }
        }
        labels::warn_of_absent_classes(config, &splits, &labels, &corpus.classes, progress)?;
        let mut numbers = BTreeMap::new();
        let groups: Vec<usize> = groups_of(&corpus)
            .into_iter()
            .map(|group| {
                let next = numbers.len();
                *numbers.entry(group).or_insert(next)
            })
            .collect();
        let few = |count: usize| -> Result<Vec<_>> {
            let seed = config.data.split_seed;
            let keep = |fold: (usize, &Split)| {
                labels::keep_few(count, seed, fold, &groups, &labels, &corpus.classes)
            };
            splits.iter().enumerate().map(keep).collect()
        };
        let few = config.data.labelled.map(few).transpose()?.unwrap_or_default();
        for labels in std::iter::once(&labels).chain(&few) {
            labels::check(config, &splits, labels, &corpus.classes)?;
        }
        let origin = world::origin(config, &root, &prepared.dataset);
        let mut all = PreparedData {
            names: corpus.modalities.clone(),
            entries,
            modalities,
            dataset: Arc::new(prepared.dataset),
            classes: corpus.classes.clone(),
            labels,
            groups,
            factors: world::factors(&root, samples.iter().map(|sample| sample.id.as_str()))?,
            splits,
            protocol,
            pretrained: Arc::new(pretrained),
            decoders,
            origin,
            ids: samples.iter().map(|sample| sample.id.clone()).collect(),
            of_folds: Vec::new(),
        };
        let of_fold = |labels| PreparedData { labels, ..all.clone() };
        all.of_folds = few.into_iter().map(of_fold).collect();
        Ok(all)
    }

    /// The data with the labels that training on a fold may read.
    pub fn of_fold(&self, fold: usize) -> &Self {
        self.of_folds.get(fold).unwrap_or(self)
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// The folds to run, from 0: all, or one alone, whose number counts from 1.
    ///
    /// # Errors
    /// When there is no such fold.
    pub fn folds(&self, only: Option<usize>) -> Result<std::ops::Range<usize>> {
        match (only, self.splits.len()) {
            (None, count) => Ok(0..count),
            (Some(fold), count) if fold <= count => Ok(fold - 1..fold),
            (Some(fold), count) => {
                let what = format!("`only_fold` is {fold}, but the data has {count} folds");
                Err(Failure::config(what).hint(format!("set data.run_folds = {count}")))
            }
        }
    }

    /// Whether a sample may have several labels.
    pub fn several(&self) -> bool {
        self.labels.iter().any(|label| matches!(label, Some(Label::Each(_))))
    }

    /// The samples among these that have a label.
    pub fn labelled(&self, samples: &[usize]) -> Vec<usize> {
        samples.iter().copied().filter(|&sample| self.labels[sample].is_some()).collect()
    }

    /// The labels of these samples; `None` if there are no samples or one has no label.
    pub fn targets(&self, samples: &[usize]) -> Option<Targets> {
        let known: Vec<Label> =
            samples.iter().map(|&sample| self.labels[sample]).collect::<Option<_>>()?;
        match known.first()? {
            Label::One(_) => {
                Some(Targets::Classes(known.iter().filter_map(|l| l.class()).collect()))
            }
            Label::Each(_) => {
                let width = self.classes.len();
                let marks = known.iter().flat_map(|l| (0..width).map(|class| l.has(class)));
                Some(Targets::Marks { width, marks: marks.collect() })
            }
            Label::Values(first) => {
                let width = first.values().len();
                let values = known.iter().flat_map(|label| match label {
                    Label::Values(attributes) => attributes.values().to_vec(),
                    _ => Vec::new(),
                });
                Some(Targets::Values { width, values: values.collect() })
            }
        }
    }

    /// Whether samples have attributes.
    pub fn attributes(&self) -> bool {
        self.labels.iter().any(|label| matches!(label, Some(Label::Values(_))))
    }

    /// The task of heads. For several labels, `weights` are those of the positives; default: the ratio of negatives to
    /// positives in `train`.
    pub fn task(&self, train: &[usize], weights: Option<&[f32]>) -> Task {
        if self.attributes() {
            return Task::Attributes(self.classes.len());
        }
        if !self.several() {
            return Task::OneOf(self.classes.len());
        }
        if let Some(weights) = weights {
            return Task::EachOf(weights.to_vec());
        }
        match self.targets(&self.labelled(train)) {
            Some(Targets::Marks { width, marks }) => Task::balanced(&marks, width),
            _ => Task::EachOf(vec![1.0; self.classes.len()]),
        }
    }

    /// The sample ids of each part of each fold, for the run folder.
    pub fn splits_by_id(&self) -> Vec<BTreeMap<&'static str, Vec<&str>>> {
        let names = |samples: &[usize]| samples.iter().map(|&i| self.ids[i].as_str()).collect();
        let parts = |split: &Split| {
            BTreeMap::from([
                ("train", names(&split.train)),
                ("validation", names(&split.validation)),
                ("test", names(&split.test)),
            ])
        };
        self.splits.iter().map(parts).collect()
    }

    /// The protocol of a run on this data.
    ///
    /// # Errors
    /// When the configuration cannot be written as TOML.
    pub fn stamp(&self, resolved: &Resolved, device: &Device) -> Result<Stamp> {
        let mut stamp = Stamp::new(resolved, self.split_hash(), self.pretrained.stamp(), device)?;
        stamp.corpus = Some(self.origin.clone());
        stamp.samples = Some(self.ids.len());
        (stamp.protocol, stamp.folds) = self.protocol;
        stamp.run_folds = self.splits.len();
        Ok(stamp)
    }

    /// A hash of everything that training and evaluation read: samples, labels, groups, parts and the sources of features.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.split_hash().as_bytes());
        for (number, id) in self.ids.iter().enumerate() {
            let features = (0..self.names.len()).map(|modality| {
                match self.dataset.feature(number, modality) {
                    // The name of a cache entry is a hash of the file and the settings.
                    Some(Feature::File(path)) => {
                        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
                    }
                    Some(Feature::Memory(values)) => format!("{:?}", values.shape()),
                    None => String::new(),
                }
            });
            let features: Vec<String> = features.collect();
            let sample =
                format!("{id:?} {:?} {} {features:?}\n", self.labels[number], self.groups[number]);
            hasher.update(sample.as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }

    /// Adds these samples to a hash: their numbers, on which random numbers depend, names, groups and features, and their
    /// labels if `labels` says so. `false` if a feature is not in the cache.
    pub fn hash_samples(
        &self,
        samples: &[usize],
        labels: bool,
        hasher: &mut blake3::Hasher,
    ) -> bool {
        hasher.update(format!("{} samples\n", samples.len()).as_bytes());
        for &number in samples {
            let label = labels.then(|| self.labels[number]);
            let (id, group) = (&self.ids[number], self.groups[number]);
            hasher.update(format!("{number} {id:?} {label:?} {group}").as_bytes());
            for modality in 0..self.names.len() {
                let entry = match self.dataset.feature(number, modality) {
                    Some(Feature::File(path)) => path.file_name(),
                    Some(Feature::Memory(_)) => return false,
                    None => None,
                };
                hasher.update(format!(" {entry:?}").as_bytes());
            }
            hasher.update(b"\n");
        }
        true
    }

    /// Compares the data with the hash in the run folder, which a new run writes.
    ///
    /// # Errors
    /// 78 when the data has changed: checkpoints and figures of the run are of other samples, labels, parts or features.
    pub fn hold_to(&self, run: &RunFolder) -> Result<()> {
        const FILE: &str = "splits/data.json";
        let hash = self.hash();
        let known = std::fs::read(run.file(FILE)).ok();
        match known.and_then(|bytes| serde_json::from_slice::<String>(&bytes).ok()) {
            None => run.write_json(FILE, &hash),
            Some(known) if known == hash => Ok(()),
            Some(_) => {
                let message = format!(
                    "{}: the data has changed since this run began: other samples, labels, parts or features",
                    run.path().display()
                );
                Err(Failure::config(message)
                    .hint("`mpuc train --fresh` begins anew; --out names another folder"))
            }
        }
    }

    /// A hash of the samples of each part of each fold.
    fn split_hash(&self) -> String {
        let stamps: Vec<String> = self.splits.iter().map(|split| split.stamp(&self.ids)).collect();
        blake3::hash(stamps.join(" ").as_bytes()).to_hex()[..16].to_owned()
    }
}

/// A data set with its features decoded.
pub struct Decoded {
    /// Its folder or manifest.
    pub root: PathBuf,
    /// Its samples.
    pub corpus: Corpus,
    /// The names of its modalities' entries in the configuration.
    pub entries: Vec<String>,
    /// The settings of its modalities.
    pub modalities: Vec<ModalityConfig>,
    /// The features.
    pub prepared: Prepared,
    /// The fingerprint of each modality's decoder.
    pub decoders: Vec<String>,
    /// Duration of decoding in seconds, without finding the files.
    pub seconds: f64,
}

/// Finds the samples of a configuration and decodes the features that the cache lacks.
///
/// # Errors
/// When a file or a setting is wrong.
pub fn decode(config: &Config, progress: &Progress, stop: &Stop) -> Result<Decoded> {
    let root = match config.data.path.as_os_str().is_empty() {
        true => world::synthetic_world(&config.data, progress, stop)?,
        false => config.data.path.clone(),
    };
    let (mut corpus, found) = find(config, &root)?;
    let (entries, modalities): (Vec<String>, Vec<ModalityConfig>) = found.into_iter().unzip();
    if config.data.targets == DataTargets::Attributes {
        synth::attributes::label(&root, &mut corpus)?;
    }
    take_away(config, &mut corpus)?;
    corpus.notices.iter().for_each(|notice| progress.line(notice));
    let folder = cache_folder(config).join("features");
    let cache = Cache::open(&folder)?;
    let decoders: Vec<_> = modalities
        .iter()
        .map(|m| m.feature.decoder(Some(&folder)))
        .collect::<std::result::Result<_, _>>()?;
    let started = Instant::now();
    let task = progress.task("features", 0);
    let task = Mutex::new(task);
    let prepared =
        prepare(&corpus, &decoders, Some(&cache), config.data.on_error, &|done, total| {
            let mut task = task.lock().unwrap_or_else(PoisonError::into_inner);
            task.set_total(total as u64);
            task.tick(done as u64, "");
        });
    drop(task);
    let prepared = prepared.context(format_args!("reading {}", root.display()))?;
    note_warnings(&corpus, &prepared.warnings, progress);
    for skipped in &prepared.skipped {
        progress.warn(format_args!("left out: {}", skipped.what));
    }
    let seconds = started.elapsed().as_secs_f64();
    let decoders = decoders.iter().map(|decoder| decoder.fingerprint().to_owned()).collect();
    Ok(Decoded { root, corpus, entries, modalities, prepared, decoders, seconds })
}

/// Takes modalities away from random samples, as `data.missing` says.
fn take_away(config: &Config, corpus: &mut Corpus) -> Result<()> {
    for (name, &share) in &config.data.missing {
        let Some(modality) = corpus.modalities.iter().position(|known| known == name) else {
            let what = format!("`data.missing` names `{name}`, which the data does not have");
            let known = corpus.modalities.join(", ");
            return Err(Failure::config(what).hint(format!("the modalities are {known}")));
        };
        let random = Philox::new(config.data.split_seed, "missing").at(modality as u64);
        for (number, sample) in corpus.samples.iter_mut().enumerate() {
            let others = sample.files.iter().flatten().count() > 1;
            if others && random.uniform(number as u64) < share {
                sample.files[modality] = None;
            }
        }
    }
    Ok(())
}

/// Prints one line for each modality that has remarks.
fn note_warnings(corpus: &Corpus, warnings: &[Remark<String>], progress: &Progress) {
    for (modality, name) in corpus.modalities.iter().enumerate() {
        let mut remarks = warnings.iter().filter(|remark| remark.modality == modality);
        if let Some(first) = remarks.next() {
            let samples = &corpus.samples;
            let (id, more) = (&samples[first.sample].id, remarks.count());
            let what = first.what.strip_prefix(&format!("{id}: ")).unwrap_or(&first.what);
            let more =
                if more > 0 { format!(" (and {more} more such remarks)") } else { String::new() };
            progress.line(format_args!("{name} of {id}: {what}{more}"));
        }
    }
}

/// The folder whose subfolder `features` is the cache of decoded features.
fn cache_folder(config: &Config) -> PathBuf {
    if !config.data.cache.as_os_str().is_empty() {
        return config.data.cache.clone();
    }
    world::user_folder()
}

/// Each sample's group; a sample without one is a group by itself.
fn groups_of(corpus: &Corpus) -> Vec<String> {
    let alone = |sample: &data::corpus::Sample| format!("sample {}", sample.id);
    corpus.samples.iter().map(|s| s.group.clone().unwrap_or_else(|| alone(s))).collect()
}

/// The splits, with their protocol and its number of folds.
fn split(
    config: &Config,
    corpus: &Corpus,
    progress: &Progress,
) -> Result<((Protocol, usize), Vec<Split>)> {
    let data = &config.data;
    if data.protocol == Protocol::Standard {
        if let Some(mut split) = Split::of_corpus(corpus)? {
            if data.validation == ValidationPart::None {
                split.train.append(&mut split.validation);
                split.train.sort_unstable();
            }
            return Ok(((Protocol::Standard, 1), vec![split]));
        }
        match data.format.own_split() {
            OwnSplit::Optional(how) => {
                progress.warn(format_args!("split at random by group; {how}"))
            }
            OwnSplit::Required(how) => {
                let message = "`data.protocol` is standard, but no sample has a part";
                return Err(Failure::config(message).hint(how));
            }
            OwnSplit::None => {
                let message = "`data.protocol` is standard, but the corpus has no split of its own";
                return Err(Failure::config(message).hint("choose by_group"));
            }
        }
    }
    let validation = match data.validation {
        ValidationPart::None => Validation::None,
        ValidationPart::NextFold => Validation::NextFold,
    };
    let groups = groups_of(corpus);
    let mut splits = match data.protocol {
        Protocol::ByGroup | Protocol::Standard => {
            folds::by_group(&groups, data.folds, GroupOrder::Shuffled(data.split_seed), validation)?
        }
        Protocol::ByGroupPairs => folds::three_by_pairs(&groups, validation)?,
        Protocol::Stratified => {
            let unlabelled =
                || Failure::config("the protocol `stratified` needs one class for every sample");
            let labels = corpus
                .samples
                .iter()
                .map(|s| s.label.and_then(Label::class))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(unlabelled)?;
            let keys: Vec<&str> = corpus.samples.iter().map(|s| s.leak_key.as_str()).collect();
            let mut splits =
                folds::stratified(&labels, &keys, &corpus.classes, data.folds, data.split_seed)?;
            if data.validation == ValidationPart::None {
                for split in &mut splits {
                    split.train.append(&mut split.validation);
                    split.train.sort_unstable();
                }
            }
            splits
        }
    };
    splits.truncate(data.run_folds);
    let protocol = match data.protocol {
        Protocol::Standard => Protocol::ByGroup,
        other => other,
    };
    Ok(((protocol, data.folds), splits))
}

/// Leaves `most` samples of a fold's training part, drawn at random; one of each class is drawn first.
fn limit(split: &mut Split, fold: usize, most: usize, seed: u64, labels: &[Option<Label>]) {
    let random = Philox::new(seed, "limit_train").at(fold as u64);
    let order = random.permutation(split.train.len());
    let mut known = BTreeSet::new();
    let new_class = |&i: &usize| {
        labels[split.train[i]].and_then(Label::class).is_some_and(|class| known.insert(class))
    };
    let (first, others): (Vec<usize>, Vec<usize>) = order.into_iter().partition(new_class);
    let mut chosen = [first, others].concat();
    chosen.truncate(most);
    chosen.sort_unstable();
    split.train = chosen.into_iter().map(|i| split.train[i]).collect();
}
