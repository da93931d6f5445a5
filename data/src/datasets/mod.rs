//! Data sets: which files belong to which sample, and what is known of each.

pub mod crema_d;
pub mod manifest;
pub mod mosei;
pub mod ravdess;
pub mod synth;

mod tree;

use serde::{Deserialize, Serialize};

use crate::features::Source;
use crate::folds::Part;

/// What is known of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Its one class: an index into [`Corpus::classes`].
    One(usize),
    /// Every class that applies, be it none or several: bit `i` stands for class `i`.
    Each(u64),
}

impl Label {
    /// Whether the class applies.
    pub fn has(self, class: usize) -> bool {
        match self {
            Self::One(one) => one == class,
            Self::Each(bits) => class < 64 && bits >> class & 1 == 1,
        }
    }

    /// The one class; `None` where there may be several.
    pub fn class(self) -> Option<usize> {
        match self {
            Self::One(class) => Some(class),
            Self::Each(_) => None,
        }
    }
}

/// One sample: a performance, an utterance, a row of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Unique within the corpus.
    pub id: String,
    /// For each modality of the corpus, its source; `None` where the sample lacks it.
    pub files: Vec<Option<Source>>,
    /// Where it is known.
    pub label: Option<Label>,
    /// Who or what must not be in two parts of a split by group, e.g. the actor.
    pub group: Option<String>,
    /// Samples with the same key are near-copies and must never be in two parts of any split.
    pub leak_key: String,
    /// Where the corpus's own split has it; `None` where it has none.
    pub part: Option<Part>,
}

/// What a corpus of recorded actors has of a performance, each in files of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// `.wav`.
    Voice,
    /// `.csv`, as OpenFace writes them.
    Landmarks,
    /// `.npy`: frames `[T, H, W, 3]`; without them the video, `.mp4`.
    Clip,
}

impl Modality {
    /// The modality's name in a [`Corpus`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Landmarks => "landmarks",
            Self::Clip => "clip",
        }
    }
}

/// A data set as files: shared by all readers in this module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corpus {
    /// Names of the modalities, e.g. "voice".
    pub modalities: Vec<String>,
    /// Names of the classes, in the order of the labels' numbers.
    pub classes: Vec<String>,
    /// The samples, in a fixed order.
    pub samples: Vec<Sample>,
    /// What a person should know: missing files, duplicates, videos that need converting.
    pub notices: Vec<String>,
}

impl Corpus {
    /// For each modality, how many samples lack it.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.modalities.len())
            .map(|modality| {
                self.samples.iter().filter(|sample| sample.files[modality].is_none()).count()
            })
            .collect()
    }

    /// Adds a notice for each modality that some samples lack.
    fn note_missing(&mut self) {
        for (name, missing) in self.modalities.iter().zip(self.missing()) {
            if missing > 0 {
                self.notices
                    .push(format!("{missing} of {} samples have no {name}", self.samples.len()));
            }
        }
    }
}
