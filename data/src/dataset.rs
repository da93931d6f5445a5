//! A data set: the decoded features of a corpus, in memory or in the cache.

use crate::feature::Feature;
use crate::residency::Budget;
use crate::values::View;
use crate::{Error, Result};

/// The features of all samples and modalities, with their shapes. A frame is one time step of a feature, along its first
/// axis.
#[derive(Clone, Debug)]
pub struct Dataset {
    modalities: Vec<String>,
    /// By sample, then modality.
    features: Vec<Vec<Option<Feature>>>,
    /// By sample, then modality: views that stay open.
    resident: Vec<Vec<Option<View>>>,
    /// Frames by sample, then modality; 0 when the sample lacks the modality.
    lengths: Vec<Vec<usize>>,
    /// By modality: the shape of one frame, e.g. `[80]` or `[51, 2]`.
    frame_shapes: Vec<Vec<usize>>,
}

impl Dataset {
    /// A data set of `features`, indexed by sample and then modality.
    ///
    /// Cache entries of at most 1 MiB are copied into memory in the order of the samples, up to 1 GiB in total. Up to
    /// 32,768 of the other entries stay memory-mapped; the rest is opened for each read.
    ///
    /// # Errors
    /// Bad settings when a sample has another number of modalities, frames of one modality differ in shape, a feature
    /// has no frames, or no sample has a modality; missing or bad data when a cache entry was removed or changed.
    pub fn new(modalities: Vec<String>, features: Vec<Vec<Option<Feature>>>) -> Result<Self> {
        Self::within(Budget::default(), modalities, features)
    }

    /// As [`Dataset::new`] with another budget for open cache entries.
    fn within(
        mut budget: Budget,
        modalities: Vec<String>,
        features: Vec<Vec<Option<Feature>>>,
    ) -> Result<Self> {
        let mut frame_shapes: Vec<Option<Vec<usize>>> = vec![None; modalities.len()];
        let mut lengths = Vec::with_capacity(features.len());
        let mut resident = Vec::with_capacity(features.len());
        for (sample, row) in features.iter().enumerate() {
            if row.len() != modalities.len() {
                return Err(Error::config(format!(
                    "sample {sample} has {} modalities; expected {}: give one feature or `None` for each",
                    row.len(),
                    modalities.len()
                )));
            }
            let mut frames = vec![0; modalities.len()];
            let mut views = vec![None; modalities.len()];
            for (modality, feature) in row.iter().enumerate() {
                let Some(feature) = feature else { continue };
                let view = feature.open()?;
                let name = &modalities[modality];
                let Some((&length, frame)) =
                    view.shape().split_first().filter(|(length, _)| **length > 0)
                else {
                    return Err(Error::config(format!(
                        "`{name}` of sample {sample} has no frames (shape {:?}); give `None` for it",
                        view.shape()
                    )));
                };
                let known = frame_shapes[modality].get_or_insert_with(|| frame.to_vec());
                if known != frame {
                    return Err(Error::config(format!(
                        "`{name}` of sample {sample} has frames of shape {frame:?}; earlier samples have {known:?}: use one shape for all"
                    )));
                }
                frames[modality] = length;
                views[modality] = budget.keep(view)?;
            }
            lengths.push(frames);
            resident.push(views);
        }
        let missing = frame_shapes.iter().position(Option::is_none);
        if let Some(modality) = missing {
            return Err(Error::config(format!(
                "no sample has `{}`; remove this modality",
                modalities[modality]
            )));
        }
        Ok(Self {
            frame_shapes: frame_shapes.into_iter().flatten().collect(),
            modalities,
            features,
            resident,
            lengths,
        })
    }

    /// The data set of these modalities alone, by their numbers here, in this order.
    pub fn select(&self, modalities: &[usize]) -> Self {
        fn pick<T: Clone>(row: &[T], chosen: &[usize]) -> Vec<T> {
            chosen.iter().map(|&modality| row[modality].clone()).collect()
        }
        fn rows<T: Clone>(table: &[Vec<T>], chosen: &[usize]) -> Vec<Vec<T>> {
            table.iter().map(|row| pick(row, chosen)).collect()
        }
        Self {
            modalities: pick(&self.modalities, modalities),
            features: rows(&self.features, modalities),
            resident: rows(&self.resident, modalities),
            lengths: rows(&self.lengths, modalities),
            frame_shapes: pick(&self.frame_shapes, modalities),
        }
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

    /// The shape of one frame of a modality: the feature's shape without its time axis.
    pub fn frame_shape(&self, modality: usize) -> &[usize] {
        &self.frame_shapes[modality]
    }

    /// The number of frames of a sample in a modality; `None` when the sample lacks it.
    pub fn length(&self, sample: usize, modality: usize) -> Option<usize> {
        self.lengths.get(sample)?.get(modality).copied().filter(|length| *length > 0)
    }

    /// The feature of a sample; `None` when the sample lacks it.
    pub fn feature(&self, sample: usize, modality: usize) -> Option<&Feature> {
        self.features.get(sample)?.get(modality)?.as_ref()
    }

    /// The values of a feature; `None` when the sample lacks it.
    ///
    /// # Errors
    /// Missing or bad data when a cache entry that is not kept open was removed or changed.
    pub fn view(&self, sample: usize, modality: usize) -> Result<Option<View>> {
        let Some(feature) = self.feature(sample, modality) else { return Ok(None) };
        match &self.resident[sample][modality] {
            Some(view) => Ok(Some(view.clone())),
            None => feature.open().map(Some),
        }
    }
}

#[cfg(test)]
impl Dataset {
    /// Replaces a feature by a cache entry at `path`, which may not exist.
    pub(crate) fn break_feature(&mut self, sample: usize, path: std::path::PathBuf) {
        self.features[sample][0] = Some(Feature::File(path));
        self.resident[sample][0] = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::features::{Extractor, SequenceSettings, Source};
    use crate::formats::npy;
    use crate::values::Numbers;
    use crate::{Array, ErrorKind};

    /// Bytes of the entries in memory, and the number of entries that stay mapped.
    fn kept(dataset: &Dataset) -> (usize, usize) {
        let views = dataset.resident.iter().flatten().flatten();
        let (copied, mapped): (Vec<&View>, Vec<&View>) =
            views.partition(|view| matches!(view, View::Memory(_)));
        (copied.iter().map(|view| view.numbers().size()).sum(), mapped.len())
    }

    #[test]
    fn entries_within_the_budget_are_read_without_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let decoder = Extractor::Sequence(SequenceSettings::default()).decoder(None).unwrap();
        // Small features have 24 bytes; the third has 2 MiB.
        let sizes = [6, 6, 1 << 19, 6];
        let feature = |(number, size): (usize, &usize)| {
            let path = folder.path().join(format!("{number}.npy"));
            let values = (0..*size).map(|i| (i * 7 + number) as f32).collect();
            npy::write(&path, &Array::new([size / 2, 2], values).unwrap()).unwrap();
            let cached = cache.fetch(&decoder, &Source::File(path)).unwrap();
            vec![Some(cached.feature)]
        };
        let features: Vec<_> = sizes.iter().enumerate().map(feature).collect();
        let dataset = |memory, maps| {
            let budget = Budget { memory, maps };
            Dataset::within(budget, vec!["m".into()], features.clone()).unwrap()
        };
        let roomy = Dataset::new(vec!["m".into()], features.clone()).unwrap();
        let tight = dataset(30, 2);
        let none = dataset(0, 0);
        assert_eq!([kept(&roomy), kept(&tight), kept(&none)], [(72, 1), (24, 2), (0, 0)]);
        let bits = |dataset: &Dataset, sample| {
            let view = dataset.view(sample, 0)?.unwrap();
            let Numbers::F32(values) = view.numbers() else { panic!() };
            Ok::<_, Error>(values.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        let opened: Vec<Vec<u32>> = (0..4).map(|sample| bits(&none, sample).unwrap()).collect();
        std::fs::remove_dir_all(folder.path().join("cache")).unwrap();
        for (sample, opened) in opened.iter().enumerate() {
            assert_eq!(&bits(&roomy, sample).unwrap(), opened);
            assert_eq!(bits(&none, sample).unwrap_err().kind(), ErrorKind::MissingData);
        }
        for (sample, opened) in opened.iter().enumerate().take(3) {
            assert_eq!(&bits(&tight, sample).unwrap(), opened);
        }
        assert!(bits(&tight, 3).is_err());
        assert!(roomy.view(4, 0).unwrap().is_none());
    }
}
