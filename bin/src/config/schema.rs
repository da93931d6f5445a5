//! The settings of a configuration. Presets are complete; files and `--set` change single values.

use super::arms::ArmConfig;
use super::data::DataConfig;
use super::migrate::VERSION;
use super::missing::MissingConfig;
use data::features::Extractor;
use data::loader::Padding;
use models::backbones::BackboneSettings;
use models::evaluate::ProbeSettings;
use models::sampler::{Augmentation, Sampler};
use models::systems::{Refusal, SystemDefaults};
use models::train::TrainingSettings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The version of this schema. Configurations of earlier versions are read too.
    pub version: u32,
    /// Seeds to run; figures are means over them.
    pub seeds: Vec<u64>,
    /// The arms to run, in the order of the table: names of `[arm.NAME]`.
    pub arms: Vec<String>,
    /// The arm that the table compares the others with, if it is run.
    pub baseline: Option<String>,
    /// The fold to run alone, from 1; default: the first `data.run_folds`.
    pub only_fold: Option<usize>,
    /// Maximum of steps of each training; default: no limit.
    pub steps: Option<u64>,
    /// Maximum of training samples of a fold, drawn at random, one of each class first; default: no limit.
    pub limit_train: Option<usize>,
    /// Train only on the first batches of the first epoch, in every epoch, without a validation part: networks that can
    /// learn reach a loss near 0. Default: all batches.
    pub overfit_batches: Option<usize>,
    /// Where samples come from and how they are split.
    pub data: DataConfig,
    /// The modalities, by name. For a manifest, a column without an entry of its own takes the entry of its kind
    /// (voice, landmarks, faces, text, sequence).
    pub modality: BTreeMap<String, ModalityConfig>,
    /// How batches and windows are drawn.
    pub sampling: Sampling,
    /// The settings of each system: heads and loss.
    pub system: SystemDefaults,
    /// How systems are trained.
    pub training: TrainingSettings,
    /// How probes on frozen features are trained.
    pub probe: ProbeSettings,
    /// Cross-modal retrieval.
    pub retrieval: RetrievalConfig,
    /// The evaluation of samples without a modality.
    pub missing: MissingConfig,
    /// The arms that `arms` can name.
    pub arm: BTreeMap<String, ArmConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            version: VERSION,
            seeds: vec![0],
            arms: Vec::new(),
            baseline: None,
            only_fold: None,
            steps: None,
            limit_train: None,
            overfit_batches: None,
            data: DataConfig::default(),
            modality: BTreeMap::new(),
            sampling: Sampling::default(),
            system: SystemDefaults::default(),
            training: TrainingSettings::default(),
            probe: ProbeSettings::default(),
            retrieval: RetrievalConfig::default(),
            missing: MissingConfig::default(),
            arm: BTreeMap::new(),
        }
    }
}

/// `[modality.NAME]`: features, windows and encoder of a modality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModalityConfig {
    /// The feature that is computed from its files.
    pub feature: Extractor,
    /// Steps of a training window.
    pub window: usize,
    /// Steps of an evaluation window, which starts at 0.
    pub evaluation_window: usize,
    /// Number of steps picked evenly from a window (video frames), at most the shorter window; default: all. Of a sample
    /// shorter than the window they are picked from its own steps, so none is padding.
    #[serde(default)]
    pub pick: Option<usize>,
    /// How samples shorter than a window are padded. Text networks and Conformers leave padding out; convolutions treat it as
    /// data unless `backbone.masked` is true.
    #[serde(default)]
    pub padding: Padding,
    /// How its values are standardised.
    #[serde(default)]
    pub standardise: Standardise,
    /// Random offsets in training.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// The backbone of its encoder.
    pub backbone: BackboneSettings,
    /// A file with the initial weights of all layers but the last: torchvision's R(2+1)D-18, as `torch.save` or
    /// safetensors wrote it; default: random initial weights.
    #[serde(default)]
    pub weights: Option<PathBuf>,
    /// Dropout probability of its features in training, from 0 to below 1.
    #[serde(default)]
    pub dropout: f64,
}

impl Config {
    /// The paths of the files that are read: data, weights, word vectors.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        fn of(modality: &mut ModalityConfig) -> impl Iterator<Item = &mut PathBuf> {
            let vectors = match &mut modality.feature {
                Extractor::Words(words) => Some(&mut words.vectors),
                _ => None,
            };
            modality.weights.iter_mut().chain(vectors)
        }
        let modalities = self.modality.values_mut();
        std::iter::once(&mut self.data.path).chain(modalities.flat_map(of))
    }
}

impl ModalityConfig {
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn check(&self) -> Result<(), Refusal> {
        for (key, steps) in [("window", self.window), ("evaluation_window", self.evaluation_window)]
        {
            if steps == 0 {
                return Err(Refusal::new(key, "is 0; it must be at least 1"));
            }
        }
        let shorter = self.window.min(self.evaluation_window);
        if self.pick.is_some_and(|pick| pick == 0 || pick > shorter) {
            let why = format!("must lie between 1 and the shorter window, {shorter}");
            return Err(Refusal::new("pick", why));
        }
        if self.weights.is_some() && !matches!(self.backbone, BackboneSettings::R2plus1d(_)) {
            let why = "is only for backbones of kind \"r2plus1d\"; remove it with `weights=`";
            return Err(Refusal::new("weights", why));
        }
        Refusal::dropout("dropout", self.dropout)?;
        let Augmentation { level, offset } = self.augmentation;
        for (key, std) in [("augmentation.level", level), ("augmentation.offset", offset)] {
            if std < 0.0 {
                return Err(Refusal::new(key, format!("is {std}; it must be at least 0")));
            }
        }
        Ok(())
    }
}

/// How a modality's values are standardised to mean 0 and standard deviation 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standardise {
    /// Not at all.
    #[default]
    None,
    /// Each feature of a step by its mean and standard deviation over the training part.
    Each,
    /// Each feature by its mean, all by the mean standard deviation, which keeps relative sizes.
    Shared,
    /// Each feature of a step to 0 to 1, by its least and greatest value in the training part.
    Range,
    /// Red, green and blue by Kinetics-400's mean and standard deviation, as torchvision's video networks expect.
    Kinetics,
}

/// How batches and windows are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// How batches are drawn.
    pub sampler: Sampler,
    /// Whether windows are drawn independently for each modality, or one for all. A system that predicts one
    /// modality from another at the same time always has one for all.
    pub independent_windows: bool,
    /// Whether systems that need no labels are also trained on the validation and test samples, as the authors' code
    /// does.
    pub transductive: bool,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling { sampler: Sampler::Uniform, independent_windows: false, transductive: false }
    }
}

/// Cross-modal retrieval on the test part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrievalConfig {
    /// Number of candidates of each query; all test samples if there are fewer.
    pub candidates: usize,
    /// Number of random draws of the candidates; figures are means over them.
    pub draws: usize,
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        RetrievalConfig { candidates: 32, draws: 50 }
    }
}

impl RetrievalConfig {
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn check(&self) -> Result<(), Refusal> {
        for (key, count) in [("candidates", self.candidates), ("draws", self.draws)] {
            if count == 0 {
                return Err(Refusal::new(key, "is 0; it must be at least 1"));
            }
        }
        Ok(())
    }
}
