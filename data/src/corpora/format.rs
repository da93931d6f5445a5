//! The trait that every corpus implements, and the type that names a corpus in configurations.

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Census, FORMATS, NAMES, mosei, ravdess};
use crate::corpus::Corpus;
use crate::features::{Extractor, FeatureKind};
use crate::synth::checksums::{self, Verified};
use crate::{Error, OnError, Result};

/// A modality to read from a corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The feature to compute from its files.
    pub feature: Extractor,
}

/// Options of single corpora; other corpora ignore them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// RAVDESS: the performances to use.
    pub vocal: ravdess::Vocal,
    /// CMU-MOSEI: the alignment of rows to words.
    pub align: mosei::Align,
    /// CMU-MOSEI: whether a duplicate segment is an error or is skipped.
    pub on_error: OnError,
}

impl Options {
    /// Everything that a corpus has, without alignment.
    const EVERYTHING: Options =
        Options { vocal: ravdess::Vocal::Both, align: mosei::Align::None, on_error: OnError::Skip };
}

/// The result of [`CorpusFormat::find`].
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its samples.
    pub corpus: Corpus,
    /// For each modality of the corpus, the index of the wanted modality whose feature it has.
    pub wanted: Vec<usize>,
}

/// Whether a corpus comes with a split into training, validation and test part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnSplit {
    /// It has no split of its own.
    None,
    /// A copy may lack the split; it is then split by group. The text says where to get the split.
    Optional(&'static str),
    /// A copy without the split is an error. The text says how to add it.
    Required(&'static str),
}

/// A corpus: how to read a copy on disk, and the counts of the published one.
pub trait CorpusFormat: Sync {
    /// Its name in `data.format` and `--format`, equal to the name of its module.
    fn name(&self) -> &'static str;

    /// One line for help texts: which files it reads.
    fn about(&self) -> &'static str;

    /// Whether the folder or file at `path` looks like this corpus.
    fn is_here(&self, path: &Path) -> bool;

    /// The modalities of the copy at `path`, with default features; `vectors` is a GloVe text file for words.
    ///
    /// # Errors
    /// Errors of reading the files; bad settings when a modality needs `vectors` and they are `None`.
    fn modalities(&self, path: &Path, vectors: Option<&Path>) -> Result<Vec<Wanted>>;

    /// Finds the samples with at least one wanted modality. Recordings are not opened.
    ///
    /// # Errors
    /// Missing data when there is no sample; bad settings for a modality that the corpus cannot have; errors of reading
    /// the files.
    fn find(&self, path: &Path, wanted: &[Wanted], options: &Options) -> Result<Found>;

    /// Compares the samples found with the published corpus; empty when the published counts are not known.
    fn census(&self, path: &Path, corpus: &Corpus) -> Vec<Census>;

    /// Whether the corpus comes with a split.
    fn own_split(&self) -> OwnSplit;

    /// Whether the modalities of a sample are recorded at the same time, so that their lengths in seconds must agree.
    fn same_seconds(&self) -> bool;
}

/// The format of a corpus: one of [`FORMATS`], serialised as its name.
#[derive(Clone, Copy)]
pub struct Format(pub(super) &'static dyn CorpusFormat);

impl Format {
    /// The format with this name; `None` when no format has it.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().copied().find(|format| format.name() == name)
    }

    /// The first of [`FORMATS`] that a folder or file looks like.
    ///
    /// # Errors
    /// Missing data when `path` does not exist or looks like none of them.
    pub fn recognise(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::missing(path, "does not exist; check the path"));
        }
        FORMATS.iter().copied().find(|format| format.is_here(path)).ok_or_else(|| {
            Error::missing(
                path,
                format!("is not a known corpus; give its format: {}", NAMES.join(", ")),
            )
        })
    }

    /// As [`CorpusFormat::find`], and compares the files of a synthetic world with their checksums. With
    /// [`OnError::Skip`], damaged files are left out and noted.
    ///
    /// # Errors
    /// As [`CorpusFormat::find`]; bad data for the first damaged file.
    pub fn find(&self, path: &Path, wanted: &[Wanted], options: &Options) -> Result<Found> {
        let mut found = self.0.find(path, wanted, options)?;
        let Verified { mut damaged, notices } = checksums::verify(path, &found.corpus)?;
        if options.on_error == OnError::Fail
            && let Some((_, error)) = damaged.pop_first()
        {
            return Err(error);
        }
        let files = found.corpus.samples.iter_mut().flat_map(|sample| &mut sample.files);
        for file in files {
            file.take_if(|source| damaged.contains_key(source.path()));
        }
        let left_out = damaged.values().map(|error| format!("left out: {error}"));
        found.corpus.notices.extend(notices.into_iter().chain(left_out));
        Ok(found)
    }

    /// All samples of a copy with all of its modalities, and the default feature of each modality. Files are not compared
    /// with checksums.
    ///
    /// # Errors
    /// As [`CorpusFormat::modalities`] and [`CorpusFormat::find`].
    pub fn open(&self, path: &Path, vectors: Option<&Path>) -> Result<(Corpus, Vec<Extractor>)> {
        let wanted = self.modalities(path, vectors)?;
        let found = self.0.find(path, &wanted, &Options::EVERYTHING)?;
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

/// The modalities of corpora of recordings: voice, landmarks and clips.
pub(super) fn recordings() -> Vec<Wanted> {
    [FeatureKind::Voice, FeatureKind::Landmarks, FeatureKind::Clip]
        .into_iter()
        .filter_map(|kind| {
            Some(Wanted { name: kind.name().into(), feature: kind.extractor(None)? })
        })
        .collect()
}

/// The kinds of `wanted` in a corpus of recordings; `corpus` is its name for messages.
///
/// # Errors
/// Bad settings when `wanted` is empty or has words or a sequence.
pub(super) fn recorded_kinds(corpus: &str, wanted: &[Wanted]) -> Result<Vec<FeatureKind>> {
    if wanted.is_empty() {
        return Err(Error::config(format!(
            "{corpus}: the configuration has no modality; add voice, landmarks or clips"
        )));
    }
    let kind = |wanted: &Wanted| match wanted.feature.kind() {
        kind @ (FeatureKind::Voice | FeatureKind::Landmarks | FeatureKind::Clip) => Ok(kind),
        FeatureKind::Words | FeatureKind::Sequence => Err(Error::config(format!(
            "`modality.{}`: {corpus} has only voice, landmarks and clips; remove the modality",
            wanted.name
        ))),
    };
    wanted.iter().map(kind).collect()
}

/// The result of `find` for a corpus whose modalities are in the order of `wanted`.
pub(super) fn found_as_wanted(mut corpus: Corpus, wanted: &[Wanted]) -> Found {
    corpus.modalities = wanted.iter().map(|wanted| wanted.name.clone()).collect();
    Found { corpus, wanted: (0..wanted.len()).collect() }
}
