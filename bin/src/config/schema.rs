//! What a configuration can say. Presets are complete; files and `--set` change single values.

use data::corpora::Format;
use data::corpora::mosei::Align;
use data::corpora::ravdess::Vocal;
use data::features::Extractor;
use data::loader::Padding;
use data::synth::WorldSettings;
use models::backbones::BackboneSettings;
use models::heads::ProjectionSettings;
use models::probe::ProbeSettings;
use models::sampler::{Augmentation, Sampler};
use models::systems::{ContrastiveSettings, LateFusionSettings};
use models::training::TrainingSettings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Seeds to run; figures are means over them.
    pub seeds: Vec<u64>,
    /// What is run beside MPUC.
    pub controls: Vec<Control>,
    /// Steps after which each training ends, however far it is; without it, it runs as long as it says itself.
    pub steps: Option<u64>,
    /// Where samples come from and how they are split.
    pub data: DataConfig,
    /// The modalities, by name. For a manifest, a column without an entry of its own takes the entry of its kind
    /// (voice, landmarks, faces, text, sequence).
    pub modality: BTreeMap<String, ModalityConfig>,
    /// How batches and windows are drawn.
    pub sampling: Sampling,
    /// The projection heads.
    pub projection: ProjectionSettings,
    /// The contrastive loss.
    pub loss: ContrastiveSettings,
    /// The first stage.
    pub training: TrainingSettings,
    /// The second stage: a head on frozen features.
    pub probe: ProbeSettings,
    /// Late fusion trained with labels.
    pub supervised: Supervised,
    /// Cross-modal retrieval.
    pub retrieval: RetrievalConfig,
}

/// A control that is run beside MPUC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// The same networks as they start, with batch-norm statistics measured.
    Untrained,
    /// The frozen MPUC features of each modality alone.
    Single,
    /// Late fusion, trained with labels end to end.
    LateFusionSupervised,
    /// MPUC with partners drawn from other samples.
    ShuffledPairs,
    /// The probe on permuted labels.
    PermutedLabels,
    /// The probe on the true factors; the made-up world alone has them.
    Oracle,
}

/// Where samples come from and how they are split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The folder or manifest; empty for the made-up world, made on first use.
    pub path: PathBuf,
    /// Settings of the made-up world, where they are not its own.
    pub world: Option<WorldSettings>,
    /// How it is laid out.
    pub format: Format,
    /// Which performances of RAVDESS are taken: speech (without this), song or both.
    pub vocal: Option<Vocal>,
    /// How the rows of `.csd` files are brought in step with the words; word_means without it.
    pub align: Option<Align>,
    /// How it is split.
    pub protocol: Protocol,
    /// How many folds there are.
    pub folds: usize,
    /// How many of them are run.
    pub run_folds: usize,
    /// Which samples of the training part are held back for patience.
    pub validation: ValidationPart,
    /// Seed of the split.
    pub split_seed: u64,
    /// What to do with a sample that cannot be read.
    pub on_error: data::OnError,
    /// Of labels that may apply together, the weight of each one's positives, in the order of the labels; without it,
    /// as many as the training part has negatives to a positive.
    pub positive_weights: Option<Vec<f32>>,
    /// Where decoded features are kept; empty for the user's cache folder.
    pub cache: PathBuf,
}

/// How a data set is split into folds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// No group (actor) in two parts, groups shuffled by the seed.
    ByGroup,
    /// The same with groups dealt out in pairs (0, 1), (2, 3), ... so that each of three folds has as many male
    /// as female actors.
    ByGroupPairs,
    /// Classes spread evenly, whoever it is; near-copies of one performance stay together.
    Stratified,
    /// The corpus's own split: by the lists beside CMU-MOSEI's files (without them as `by_group`), or by a manifest's
    /// column `part`.
    Standard,
}

/// Which samples of the training part are held back for patience.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationPart {
    /// None: a fixed schedule.
    None,
    /// The fold after the test fold (by group), or a tenth of each class (stratified).
    NextFold,
}

/// One modality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModalityConfig {
    /// What is computed from its files.
    pub feature: Extractor,
    /// Steps of a training window.
    pub window: usize,
    /// Steps of an evaluation window, which starts at 0.
    pub evaluation_window: usize,
    /// Steps picked evenly from a window (video frames); all of them without it.
    pub pick: Option<usize>,
    /// What fills up samples that are shorter.
    pub padding: Padding,
    /// How its numbers are brought to mean 0 and deviation 1.
    pub standardise: Standardise,
    /// Random offsets in training.
    pub augmentation: Augmentation,
    /// Its network.
    pub backbone: BackboneSettings,
    /// A file of weights that the network starts from, but for its last layer: torchvision's R(2+1)D-18 as `torch.save`
    /// or safetensors wrote it. It starts at random without.
    pub weights: Option<PathBuf>,
    /// Dropout on its features in training.
    pub dropout: f64,
}

/// How a modality's numbers are brought to mean 0 and deviation 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standardise {
    /// Not at all.
    None,
    /// Each number of a step by its own mean and deviation over the training part.
    Each,
    /// Each by its own mean, all by the mean deviation, so that relative sizes stay.
    Shared,
    /// Red, green and blue by Kinetics-400's mean and deviation, as torchvision's video networks want them.
    Kinetics,
}

/// How batches and windows are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// How batches are drawn.
    pub sampler: Sampler,
    /// Windows of each sample in a batch; 2 for the authors' loss.
    pub views: usize,
    /// Whether each modality's window is drawn by itself, or one for all.
    pub independent_windows: bool,
    /// Whether the contrastive stage also sees the validation and test samples (without labels), as the
    /// authors' code does.
    pub transductive: bool,
}

/// Late fusion trained with labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervised {
    /// Its head.
    pub head: LateFusionSettings,
    /// How it is trained.
    pub training: TrainingSettings,
}

/// Cross-modal retrieval on the test part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrievalConfig {
    /// Candidates each query is looked for among; all test samples where there are fewer.
    pub candidates: usize,
    /// Random draws of that many candidates.
    pub draws: usize,
}
