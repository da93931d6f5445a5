//! A data set with its features decoded: in memory, or in the cache and mapped when they are asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::cache::{self, Cache};
use crate::datasets::Corpus;
use crate::features::{Decoder, Source, Values};
use crate::formats::npy::MappedArray;
use crate::{Error, Result};

/// One modality of one sample.
#[derive(Clone, Debug)]
pub enum Feature {
    /// In memory.
    Memory(Arc<Values>),
    /// A cache entry, mapped when it is opened.
    File(PathBuf),
}

/// A feature opened for reading; values are `[T, ...]`.
#[derive(Clone, Debug)]
pub enum View {
    /// Numbers in the cache.
    F32(MappedArray<f32>),
    /// Pixels in the cache.
    U8(MappedArray<u8>),
    /// In memory.
    Memory(Arc<Values>),
}

/// Values of a [`View`], last axis contiguous.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// Numbers.
    F32(&'a [f32]),
    /// Pixels.
    U8(&'a [u8]),
}

impl Feature {
    /// Opens the feature. Cache entries are mapped, not read: only values that are looked at come from disk.
    ///
    /// # Errors
    /// Missing or bad data when a cache entry was removed or changed during the run.
    pub fn open(&self) -> Result<View> {
        match self {
            Self::Memory(values) => Ok(View::Memory(values.clone())),
            Self::File(path) => cache::open(path),
        }
    }
}

impl View {
    /// The sizes of the axes, time first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::U8(array) => array.shape(),
            Self::Memory(values) => values.shape(),
        }
    }

    /// The values.
    pub fn numbers(&self) -> Numbers<'_> {
        match self {
            Self::F32(array) => Numbers::F32(array),
            Self::U8(array) => Numbers::U8(array),
            Self::Memory(values) => match values.as_ref() {
                Values::F32(array) => Numbers::F32(array.data()),
                Values::U8(array) => Numbers::U8(array.data()),
            },
        }
    }
}

impl Numbers<'_> {
    /// Values `range` as `f32`, written to `out`.
    pub(crate) fn copy_to(self, range: std::ops::Range<usize>, out: &mut [f32]) {
        match self {
            Numbers::F32(values) => out.copy_from_slice(&values[range]),
            Numbers::U8(values) => {
                out.iter_mut().zip(&values[range]).for_each(|(out, &x)| *out = f32::from(x))
            }
        }
    }
}

/// Features of all samples and modalities, with the shapes a sampler and a model need to know.
#[derive(Clone, Debug)]
pub struct Dataset {
    modalities: Vec<String>,
    /// By sample, then modality.
    features: Vec<Vec<Option<Feature>>>,
    /// By sample, then modality; 0 where the sample lacks it.
    lengths: Vec<Vec<usize>>,
    /// By modality: the shape of one step, e.g. `[80]` or `[51, 2]`.
    step_shapes: Vec<Vec<usize>>,
}

impl Dataset {
    /// A data set of features by sample and then modality.
    ///
    /// # Errors
    /// Bad settings when a sample has another number of modalities, steps of one modality differ in shape, a feature
    /// has no step, or no sample has a modality.
    pub fn new(modalities: Vec<String>, features: Vec<Vec<Option<Feature>>>) -> Result<Self> {
        let mut step_shapes: Vec<Option<Vec<usize>>> = vec![None; modalities.len()];
        let mut lengths = Vec::with_capacity(features.len());
        for (sample, row) in features.iter().enumerate() {
            if row.len() != modalities.len() {
                return Err(Error::config(format!(
                    "sample {sample} has {} modalities where there are {}; give one feature or none for each",
                    row.len(),
                    modalities.len()
                )));
            }
            let mut steps = vec![0; modalities.len()];
            for (modality, feature) in row.iter().enumerate() {
                let Some(feature) = feature else { continue };
                let view = feature.open()?;
                let name = &modalities[modality];
                let Some((&length, step)) =
                    view.shape().split_first().filter(|(length, _)| **length > 0)
                else {
                    return Err(Error::config(format!(
                        "`{name}` of sample {sample} has no steps (shape {:?}); leave it out",
                        view.shape()
                    )));
                };
                let known = step_shapes[modality].get_or_insert_with(|| step.to_vec());
                if known != step {
                    return Err(Error::config(format!(
                        "`{name}` of sample {sample} has steps of shape {step:?} where earlier ones have {known:?}; use one size for all"
                    )));
                }
                steps[modality] = length;
            }
            lengths.push(steps);
        }
        let missing = step_shapes.iter().position(Option::is_none);
        if let Some(modality) = missing {
            return Err(Error::config(format!(
                "no sample has `{}`; leave that modality out",
                modalities[modality]
            )));
        }
        Ok(Self {
            step_shapes: step_shapes.into_iter().flatten().collect(),
            modalities,
            features,
            lengths,
        })
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.features.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// Names of the modalities.
    pub fn modalities(&self) -> &[String] {
        &self.modalities
    }

    /// The shape of one step of a modality, without time.
    pub fn step_shape(&self, modality: usize) -> &[usize] {
        &self.step_shapes[modality]
    }

    /// Steps that a sample has in a modality; `None` where it lacks it.
    pub fn length(&self, sample: usize, modality: usize) -> Option<usize> {
        self.lengths.get(sample)?.get(modality).copied().filter(|length| *length > 0)
    }

    /// A feature; `None` where the sample lacks it.
    pub fn feature(&self, sample: usize, modality: usize) -> Option<&Feature> {
        self.features.get(sample)?.get(modality)?.as_ref()
    }
}

/// What to do with a file that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Stop at the first in sample order.
    #[default]
    Fail,
    /// Treat the modality as missing and report it.
    Skip,
}

/// A feature that could not be decoded, or that a person should know something of.
#[derive(Debug)]
pub struct Remark<T> {
    /// Index of the sample.
    pub sample: usize,
    /// Index of the modality.
    pub modality: usize,
    /// What about it.
    pub what: T,
}

/// A corpus decoded.
#[derive(Debug)]
pub struct Prepared {
    /// The features.
    pub dataset: Dataset,
    /// Files that were skipped (only with [`OnError::Skip`]), in sample order.
    pub skipped: Vec<Remark<Error>>,
    /// Warnings of the decoders, in sample order.
    pub warnings: Vec<Remark<String>>,
    /// How many features were computed; the rest came from the cache.
    pub computed: usize,
}

/// Decodes a whole corpus on all cores: into the cache, or into memory without one.
/// `decoders` has one for each modality; `progress` is told features done and in all, from any thread.
///
/// # Errors
/// The first file in sample order that cannot be decoded, unless skipped; cache trouble; see [`Dataset::new`].
pub fn prepare(
    corpus: &Corpus,
    decoders: &[Decoder],
    cache: Option<&Cache>,
    on_error: OnError,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Prepared> {
    let width = corpus.modalities.len();
    if decoders.len() != width {
        return Err(Error::config(format!(
            "{} decoders for {width} modalities; give one for each",
            decoders.len()
        )));
    }
    let sources: Vec<(usize, usize)> = (0..corpus.samples.len())
        .flat_map(|sample| (0..width).map(move |modality| (sample, modality)))
        .filter(|&(sample, modality)| corpus.samples[sample].files[modality].is_some())
        .collect();
    let done = AtomicUsize::new(0);
    let fetch = |&(sample, modality): &(usize, usize)| {
        let source = corpus.samples[sample].files[modality].as_ref()?;
        let decoder = &decoders[modality];
        let found = match cache {
            Some(cache) => cache.fetch(decoder, source),
            None => decoder.decode(source).map(|decoded| cache::Cached {
                feature: Feature::Memory(Arc::new(decoded.values)),
                warnings: decoded.warnings,
                computed: true,
            }),
        };
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, sources.len());
        Some(found)
    };
    let found: Vec<Option<Result<cache::Cached>>> = sources.par_iter().map(fetch).collect();
    let mut features = vec![vec![None; width]; corpus.samples.len()];
    let (mut skipped, mut warnings, mut computed) = (Vec::new(), Vec::new(), 0);
    for (&(sample, modality), found) in sources.iter().zip(found) {
        match found {
            Some(Ok(cached)) => {
                computed += usize::from(cached.computed);
                // A segment that its sequence has nothing of is one that lacks the modality.
                let segment =
                    matches!(corpus.samples[sample].files[modality], Some(Source::Segment(_)));
                let present = !segment || cached.feature.open()?.shape().first() != Some(&0);
                warnings.extend(cached.warnings.into_iter().map(|what| Remark {
                    sample,
                    modality,
                    what,
                }));
                features[sample][modality] = present.then_some(cached.feature);
            }
            // Trouble with the cache folder is nobody's sample: skipping would only hide it.
            Some(Err(error))
                if on_error == OnError::Skip && error.kind() != crate::ErrorKind::Io =>
            {
                skipped.push(Remark { sample, modality, what: error });
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    let dataset = Dataset::new(corpus.modalities.clone(), features)?;
    Ok(Prepared { dataset, skipped, warnings, computed })
}

#[cfg(test)]
impl Dataset {
    /// Makes a feature one whose cache entry is gone.
    pub(crate) fn break_feature(&mut self, sample: usize, path: PathBuf) {
        self.features[sample][0] = Some(Feature::File(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Array;
    use crate::datasets::Sample;
    use crate::features::{Extractor, SequenceSettings};
    use crate::formats::npy;

    #[test]
    fn a_corpus_is_decoded_and_bad_files_skipped_or_fatal() {
        let folder = tempfile::tempdir().unwrap();
        let sample = |i: usize| Sample {
            id: i.to_string(),
            files: vec![(i != 1).then(|| Source::File(folder.path().join(format!("{i}.npy"))))],
            label: None,
            group: None,
            leak_key: i.to_string(),
            part: None,
        };
        for i in [0usize, 3] {
            npy::write(
                &folder.path().join(format!("{i}.npy")),
                &Array::new([i + 1, 2], vec![i as f64; 2 * i + 2]).unwrap(),
            )
            .unwrap();
        }
        std::fs::write(folder.path().join("2.npy"), "junk").unwrap();
        let corpus = Corpus {
            modalities: vec!["s".into()],
            samples: (0..4).map(sample).collect(),
            ..Corpus::default()
        };
        let decoders = [Extractor::Sequence(SequenceSettings::default()).decoder(None).unwrap()];
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let error =
            prepare(&corpus, &decoders, Some(&cache), OnError::Fail, &|_, _| {}).unwrap_err();
        assert!(error.to_string().contains("2.npy: not a .npy"), "{error}");
        for (cache, computed) in [(Some(&cache), 0), (None, 2)] {
            let calls = AtomicUsize::new(0);
            let count = |_: usize, all: usize| {
                assert_eq!(all, 3);
                calls.fetch_add(1, Ordering::Relaxed);
            };
            let prepared = prepare(&corpus, &decoders, cache, OnError::Skip, &count).unwrap();
            assert_eq!(
                (prepared.computed, prepared.skipped.len(), calls.into_inner()),
                (computed, 1, 3)
            );
            let dataset = prepared.dataset;
            let lengths: Vec<_> = (0..4).map(|sample| dataset.length(sample, 0)).collect();
            assert_eq!(
                (lengths, dataset.step_shape(0)),
                (vec![Some(1), None, None, Some(4)], &[2usize][..])
            );
        }
    }
}
