//! What a corpus says of itself, and the type that stands for it in configurations.

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Census, FORMATS, NAMES, mosei, ravdess};
use crate::corpus::Corpus;
use crate::features::{Extractor, FeatureKind};
use crate::{Error, OnError, Result};

/// A modality wanted of a corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The feature that is computed from its files.
    pub feature: Extractor,
}

/// Settings of single corpora; the others pass over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// RAVDESS: which performances are taken.
    pub vocal: ravdess::Vocal,
    /// CMU-MOSEI: how rows are aligned to the words.
    pub align: mosei::Align,
    /// CMU-MOSEI: what to do with a segment that stands twice.
    pub on_error: OnError,
}

impl Options {
    /// Everything that a corpus has, as it is.
    const EVERYTHING: Options =
        Options { vocal: ravdess::Vocal::Both, align: mosei::Align::None, on_error: OnError::Skip };
}

/// A corpus that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its samples.
    pub corpus: Corpus,
    /// For each modality of the corpus, which of the wanted ones (by index) says how it is read.
    pub wanted: Vec<usize>,
}

/// The split into training, validation and test part that a corpus comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnSplit {
    /// It has none.
    None,
    /// A copy may lack it; a split by group then takes its place. The text says where to get it.
    Optional(&'static str),
    /// A copy without it cannot be split so. The text says how to add it.
    Required(&'static str),
}

/// What a corpus says of itself.
pub trait CorpusFormat: Sync {
    /// Its name in `data.format` and `--format`: the word of its module.
    fn name(&self) -> &'static str;

    /// What lies on disk, in one line for help texts.
    fn about(&self) -> &'static str;

    /// Whether a folder or file looks like this corpus.
    fn is_here(&self, path: &Path) -> bool;

    /// The modalities that a copy has, with default settings of their features; `vectors` is a GloVe text file.
    ///
    /// # Errors
    /// Whatever is wrong with the files; bad settings when a modality needs `vectors` and there are none.
    fn modalities(&self, path: &Path, vectors: Option<&Path>) -> Result<Vec<Wanted>>;

    /// Finds the samples that have at least one of the wanted modalities. Recordings are not opened.
    ///
    /// # Errors
    /// Missing data when there is no sample; bad settings for a modality that the corpus does not have; whatever is
    /// wrong with the files.
    fn find(&self, path: &Path, wanted: &[Wanted], options: &Options) -> Result<Found>;

    /// The samples found beside those of the published corpus; empty where the published counts are not known.
    fn census(&self, path: &Path, corpus: &Corpus) -> Vec<Census>;

    /// The split that the corpus comes with.
    fn own_split(&self) -> OwnSplit;

    /// Whether all modalities of a sample are recordings of the same seconds, so that their lengths must agree.
    fn same_seconds(&self) -> bool;
}

/// The format of a corpus: one of [`FORMATS`], written as its name.
#[derive(Clone, Copy)]
pub struct Format(pub(super) &'static dyn CorpusFormat);

impl Format {
    /// The format of this name.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().copied().find(|format| format.name() == name)
    }

    /// The first of [`FORMATS`] that a folder or file looks like.
    ///
    /// # Errors
    /// Missing data when it looks like none.
    pub fn recognise(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::missing(path, "there is no such file or folder; check the path"));
        }
        FORMATS.iter().copied().find(|format| format.is_here(path)).ok_or_else(|| {
            Error::missing(
                path,
                format!("no corpus is recognised; name its format, one of {}", NAMES.join(", ")),
            )
        })
    }

    /// All samples and modalities of a copy with default features, one for each modality.
    ///
    /// # Errors
    /// As [`CorpusFormat::modalities`] and [`CorpusFormat::find`].
    pub fn open(&self, path: &Path, vectors: Option<&Path>) -> Result<(Corpus, Vec<Extractor>)> {
        let wanted = self.modalities(path, vectors)?;
        let found = self.find(path, &wanted, &Options::EVERYTHING)?;
        let features = found.wanted.iter().map(|&index| wanted[index].feature.clone()).collect();
        Ok((found.corpus, features))
    }
}

impl Deref for Format {
    type Target = dyn CorpusFormat;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Format({})", self.name())
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Format {}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| D::Error::unknown_variant(&name, NAMES))
    }
}

/// The modalities of a corpus of recordings, in which every sample may have voice, landmarks and clips.
pub(super) fn recordings() -> Vec<Wanted> {
    [FeatureKind::Voice, FeatureKind::Landmarks, FeatureKind::Clip]
        .into_iter()
        .filter_map(|kind| {
            Some(Wanted { name: kind.name().into(), feature: kind.extractor(None)? })
        })
        .collect()
}

/// The kinds of wanted modalities, which a corpus of recordings must have.
///
/// # Errors
/// Bad settings when nothing is wanted, or words or a ready-made sequence.
pub(super) fn recorded_kinds(corpus: &str, wanted: &[Wanted]) -> Result<Vec<FeatureKind>> {
    if wanted.is_empty() {
        return Err(Error::config(format!(
            "{corpus}: no modality is wanted; name voice, landmarks or clip"
        )));
    }
    let kind = |wanted: &Wanted| match wanted.feature.kind() {
        kind @ (FeatureKind::Voice | FeatureKind::Landmarks | FeatureKind::Clip) => Ok(kind),
        FeatureKind::Words | FeatureKind::Sequence => Err(Error::config(format!(
            "`modality.{}`: {corpus} has voice, landmarks and clips only; take the modality away",
            wanted.name
        ))),
    };
    wanted.iter().map(kind).collect()
}

/// A corpus whose modalities are the wanted ones, in their order and under their names.
pub(super) fn found_as_wanted(mut corpus: Corpus, wanted: &[Wanted]) -> Found {
    corpus.modalities = wanted.iter().map(|wanted| wanted.name.clone()).collect();
    Found { corpus, wanted: (0..wanted.len()).collect() }
}
