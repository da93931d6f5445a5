//! `[data]`: where samples come from and how they are split.

use ::data::corpora::mosei::{self, Align};
use ::data::corpora::ravdess::{self, Vocal};
use ::data::corpora::{FORMATS, Format, OwnSplit};
use ::data::synth::{Shape, SynthError, WorldSettings};
use models::systems::Refusal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where samples come from and how they are split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The folder or manifest; empty for a synthetic world, which is made on first use.
    pub path: PathBuf,
    /// Settings of the synthetic world. Default: with the format `ravdess` [`WorldSettings::default`]; with `mosei` there is
    /// no world.
    pub world: Option<WorldSettings>,
    /// The format of the corpus.
    pub format: Format,
    /// Performances of RAVDESS to use: speech (default), song or both.
    pub vocal: Option<Vocal>,
    /// How the rows of `.csd` files are aligned with the words; default: word_means.
    pub align: Option<Align>,
    /// How samples are split into folds.
    pub protocol: Protocol,
    /// Number of folds, at least 2.
    pub folds: usize,
    /// Number of folds to run, from the first; 1 to `folds`.
    pub run_folds: usize,
    /// Which samples are the validation part, which early stopping (`patience`) needs.
    pub validation: ValidationPart,
    /// Seed of the split.
    pub split_seed: u64,
    /// Number of groups of each fold's training part that keep their labels, drawn at random by `split_seed`; the others are
    /// for training without labels, and the other parts keep all. Default: all.
    pub labelled: Option<usize>,
    /// What is predicted.
    #[serde(skip_serializing_if = "DataTargets::is_default")]
    pub targets: DataTargets,
    /// By modality, the share of samples that it is taken from at random, in every part: to see what a missing modality
    /// costs. A sample keeps at least one modality.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, f64>,
    /// What to do with a sample that cannot be read.
    pub on_error: data::OnError,
    /// For samples with several labels: the weight of the positives of each label, above 0, in the order of the labels;
    /// default: the ratio of negatives to positives in the training part.
    pub positive_weights: Option<Vec<f32>>,
    /// The folder of decoded features; empty for the user's cache folder.
    pub cache: PathBuf,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            path: PathBuf::new(),
            world: None,
            format: ravdess::FORMAT,
            vocal: None,
            align: None,
            protocol: Protocol::ByGroup,
            folds: 10,
            run_folds: 1,
            validation: ValidationPart::None,
            split_seed: 0,
            labelled: None,
            targets: DataTargets::default(),
            missing: BTreeMap::new(),
            on_error: data::OnError::Fail,
            positive_weights: None,
            cache: PathBuf::new(),
        }
    }
}

impl DataConfig {
    /// The shape of the synthetic world in place of files; `None` when the format has none.
    pub fn world_shape(&self) -> Option<Shape> {
        match self.format {
            format if format == ravdess::FORMAT => Some(Shape::Ravdess),
            format if format == mosei::FORMAT => Some(Shape::Mosei),
            _ => None,
        }
    }

    /// The settings of the synthetic world in place of files; `None` when files are needed.
    pub fn world(&self) -> Option<WorldSettings> {
        match self.world_shape()? {
            Shape::Ravdess => Some(self.world.clone().unwrap_or_default()),
            Shape::Mosei => self.world.clone(),
        }
    }

    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn check(&self) -> Result<(), Refusal> {
        let refuse = |key, why: String| Err(Refusal::new(key, why));
        if self.folds < 2 {
            return refuse("folds", format!("is {}; at least 2 are needed", self.folds));
        }
        if self.run_folds == 0 || self.run_folds > self.folds {
            let (run, folds) = (self.run_folds, self.folds);
            let why = format!("is {run}; it must lie between 1 and data.folds = {folds}");
            return refuse("run_folds", why);
        }
        if self.labelled == Some(0) {
            return refuse(
                "labelled",
                "is 0; give 1 or more, or remove it with `data.labelled=`".into(),
            );
        }
        if self.targets == DataTargets::Attributes && self.world_shape().is_none() {
            let why = "is \"attributes\", which only a synthetic world has; a manifest has columns `attribute:NAME`, which need no setting";
            return refuse("targets", why.into());
        }
        if self.vocal.is_some() && self.format != ravdess::FORMAT {
            return refuse("vocal", "is for data.format = \"ravdess\"; remove it".into());
        }
        if self.protocol == Protocol::ByGroupPairs && self.folds != 3 {
            let why = format!("is {}; the protocol by_group_pairs has exactly 3", self.folds);
            return refuse("folds", why);
        }
        if self.protocol == Protocol::Standard && self.format.own_split() == OwnSplit::None {
            let with_split = FORMATS.iter().filter(|format| format.own_split() != OwnSplit::None);
            let names: Vec<String> =
                with_split.map(|format| format!("{:?}", format.name())).collect();
            let why =
                format!("is \"standard\", which only data.format = {} has", names.join(" or "));
            return refuse("protocol", why);
        }
        let by_group = matches!(self.protocol, Protocol::ByGroup | Protocol::Standard);
        if by_group && self.validation == ValidationPart::NextFold && self.folds < 3 {
            let why = "is 2; with data.validation = \"next_fold\" at least 3 are needed";
            return refuse("folds", why.into());
        }
        if let (true, Some(shape), Some(world)) =
            (self.path.as_os_str().is_empty(), self.world_shape(), &self.world)
            && let Err(SynthError::Setting { name, value, rule }) = world.check(shape)
        {
            return refuse("world", format!("has {name} = {value}; it must be {rule}"));
        }
        if let Some((name, share)) = self.missing.iter().find(|(_, s)| !(0.0..1.0).contains(*s)) {
            let why = format!("has {name} = {share}; it must be at least 0 and less than 1");
            return refuse("missing", why);
        }
        if self.positive_weights.iter().flatten().any(|w| !(*w > 0.0 && w.is_finite())) {
            return refuse("positive_weights", "has a weight that is not above 0".into());
        }
        Ok(())
    }
}

/// How a data set is split into folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// No group (actor) is in two parts; groups are shuffled by `split_seed`.
    ByGroup,
    /// No group is in two parts; pairs of groups (0, 1), (2, 3), ... are distributed over three folds, so that each has as
    /// many male as female actors.
    ByGroupPairs,
    /// Each fold has the same share of each class; an actor may be in several folds. Near-copies of one performance stay
    /// together.
    Stratified,
    /// The corpus's own split: the lists beside CMU-MOSEI's files (without lists as `by_group`), or a manifest's
    /// column `part`.
    Standard,
}

/// Which samples are the validation part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationPart {
    /// None: a fixed schedule.
    None,
    /// The fold after the test fold (by group), or a tenth of each class (stratified).
    NextFold,
}

/// What is predicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataTargets {
    /// The labels of the corpus.
    #[default]
    Labels,
    /// Arousal, valence and dominance of each performance of a synthetic world.
    Attributes,
}

impl DataTargets {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
