//! Decoding of a whole corpus into the cache, or into memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::cache::{Cache, Cached};
use crate::corpus::Corpus;
use crate::dataset::Dataset;
use crate::feature::Feature;
use crate::features::Decoder;
use crate::shapes::{self, Odd, Shaped};
use crate::{Error, OnError, Result};

/// A remark about one feature: an error or a warning.
#[derive(Debug)]
pub struct Remark<T> {
    /// Index of the sample.
    pub sample: usize,
    /// Index of the modality.
    pub modality: usize,
    /// The error or the warning.
    pub what: T,
}

/// A decoded corpus.
#[derive(Debug)]
pub struct Prepared {
    /// The features.
    pub dataset: Dataset,
    /// Files that were skipped (only with [`OnError::Skip`]), in sample order.
    pub skipped: Vec<Remark<Error>>,
    /// Warnings of the decoders, in sample order.
    pub warnings: Vec<Remark<String>>,
    /// The number of features that were computed; the others came from the cache.
    pub computed: usize,
}

/// Decodes a whole corpus on all cores, into `cache` or, without one, into memory.
///
/// `decoders` has one decoder for each modality. Worker threads call `progress` with the number of features done and the
/// total.
///
/// # Errors
/// The error of the first file in sample order that cannot be decoded, unless it is skipped; input/output errors of the
/// cache; bad data for the first feature whose frames have another shape than
/// most, with its file, unless it is skipped; those of [`Dataset::new`].
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
            None => decoder.decode(source).map(|decoded| Cached {
                frames: decoded.frames(),
                feature: Feature::Memory(Arc::new(decoded.values)),
                warnings: decoded.warnings,
                computed: true,
            }),
        };
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, sources.len());
        Some(found)
    };
    let found: Vec<Option<Result<Cached>>> = sources.par_iter().map(fetch).collect();
    let mut features = vec![vec![None; width]; corpus.samples.len()];
    let (mut skipped, mut warnings, mut computed) = (Vec::new(), Vec::new(), 0);
    for (&(sample, modality), found) in sources.iter().zip(found) {
        let line = corpus.samples[sample].line;
        match found.map(|found| found.map_err(|error| error.named_in_line(line))) {
            Some(Ok(cached)) => {
                computed += usize::from(cached.computed);
                warnings.extend(cached.warnings.into_iter().map(|what| Remark {
                    sample,
                    modality,
                    what,
                }));
                features[sample][modality] = (cached.frames > 0).then_some(cached.feature);
            }
            // Input/output errors concern the cache folder or the disk, not one sample: skipping would hide them.
            Some(Err(error))
                if on_error == OnError::Skip && error.kind() != crate::ErrorKind::Io =>
            {
                skipped.push(Remark { sample, modality, what: error });
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    let dataset = match Dataset::new(corpus.modalities.clone(), features.clone()) {
        Ok(dataset) => dataset,
        Err(error) => {
            // The error of a data set has no files; features of another shape have.
            let odd = shapes::odd(corpus, &shapes_of(&features)?);
            if odd.is_empty() {
                return Err(error);
            }
            for Odd { sample, modality, error } in odd {
                if on_error == OnError::Fail {
                    return Err(error);
                }
                features[sample][modality] = None;
                skipped.push(Remark { sample, modality, what: error });
            }
            Dataset::new(corpus.modalities.clone(), features)?
        }
    };
    skipped.sort_by_key(|remark| (remark.sample, remark.modality));
    Ok(Prepared { dataset, skipped, warnings, computed })
}

/// The shapes of all features.
fn shapes_of(features: &[Vec<Option<Feature>>]) -> Result<Vec<Shaped>> {
    let mut shapes = Vec::new();
    for (sample, row) in features.iter().enumerate() {
        for (modality, feature) in row.iter().enumerate() {
            if let Some(feature) = feature {
                shapes.push((sample, modality, feature.open()?.shape().to_vec()));
            }
        }
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Array;
    use crate::corpus::Sample;
    use crate::features::{Extractor, SequenceSettings, Source};
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
            line: None,
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
                (lengths, dataset.frame_shape(0)),
                (vec![Some(1), None, None, Some(4)], &[2usize][..])
            );
        }
    }

    #[test]
    fn a_file_of_another_width_is_named_or_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let sample = |i: usize| Sample {
            id: format!("s{i}"),
            files: vec![Some(Source::File(folder.path().join(format!("{i}.npy"))))],
            label: None,
            group: None,
            leak_key: i.to_string(),
            part: None,
            line: Some(i + 2),
        };
        std::fs::write(folder.path().join("4.npy"), "").unwrap();
        for i in 0..4 {
            let width = if i == 0 { 6 } else { 4 };
            let array = Array::new([2, width], vec![1.0f32; 2 * width]).unwrap();
            npy::write(&folder.path().join(format!("{i}.npy")), &array).unwrap();
        }
        let corpus = Corpus {
            modalities: vec!["voice".into()],
            samples: (0..4).map(sample).collect(),
            ..Corpus::default()
        };
        let decoders = [Extractor::Sequence(SequenceSettings::default()).decoder(None).unwrap()];
        let prepared = |on_error| prepare(&corpus, &decoders, None, on_error, &|_, _| {});
        let error = prepared(OnError::Fail).unwrap_err().to_string();
        assert!(error.contains("0.npy: `voice` of sample `s0` (number 1)"), "{error}");
        assert!(error.contains("shape [6]; 3 of 4 samples have [4]"), "{error}");
        assert!(error.ends_with("(line 2 of the manifest)"), "{error}");
        let corrupt = Corpus { samples: (0..5).map(sample).collect(), ..corpus.clone() };
        let error = prepare(&corrupt, &decoders, None, OnError::Fail, &|_, _| {}).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("4.npy: ") && error.ends_with("(line 6 of the manifest)"),
            "{error}"
        );
        let skipped = prepared(OnError::Skip).unwrap();
        assert_eq!((skipped.skipped.len(), skipped.skipped[0].sample), (1, 0));
        assert_eq!(skipped.dataset.frame_shape(0), [4]);
        assert_eq!(skipped.dataset.length(0, 0), None);
    }
}
