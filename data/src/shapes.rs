//! Features whose frames have another shape than those of most samples: e.g. one `.npy` of 6 columns among files of 4.

use std::collections::BTreeMap;

use crate::Error;
use crate::corpus::Corpus;

/// The shape of a feature: sample, modality, and the sizes of its axes with time first.
pub type Shaped = (usize, usize, Vec<usize>);

/// A feature whose frames differ.
#[derive(Debug)]
pub struct Odd {
    /// Index of the sample.
    pub sample: usize,
    /// Index of the modality.
    pub modality: usize,
    /// The error, with the file, the sample and both shapes.
    pub error: Error,
}

/// The features whose frames do not have the most frequent shape of their modality, in the order of `features`; of equally
/// frequent shapes that of the first sample is expected. Features without frames are ignored.
pub fn odd(corpus: &Corpus, features: &[Shaped]) -> Vec<Odd> {
    // By modality and shape of a frame: how often, and the place of the first.
    let mut counts: BTreeMap<(usize, &[usize]), (usize, usize)> = BTreeMap::new();
    let mut frames: Vec<(usize, usize, &[usize])> = Vec::with_capacity(features.len());
    for (place, (sample, modality, shape)) in features.iter().enumerate() {
        if let Some((1.., frame)) = shape.split_first() {
            counts.entry((*modality, frame)).or_insert((0, place)).0 += 1;
            frames.push((*sample, *modality, frame));
        }
    }
    let mut expected: BTreeMap<usize, (&[usize], usize, usize)> = BTreeMap::new();
    let mut totals: BTreeMap<usize, usize> = BTreeMap::new();
    for ((modality, frame), (count, first)) in counts {
        *totals.entry(modality).or_default() += count;
        let best = expected.entry(modality).or_insert((frame, count, first));
        if count > best.1 || count == best.1 && first < best.2 {
            *best = (frame, count, first);
        }
    }
    let differs = |(sample, modality, frame): (usize, usize, &[usize])| {
        let (usual, count, _) = expected.get(&modality).copied()?;
        let (row, name) = (corpus.samples.get(sample)?, corpus.modalities.get(modality)?);
        let path = row.files.get(modality)?.as_ref()?.path();
        let message = format!(
            "`{name}` of sample `{}` (number {}) has frames of shape {frame:?}; {count} of {} samples have {usual:?}: make the file again as theirs, or leave it out",
            row.id,
            sample + 1,
            totals.get(&modality).copied().unwrap_or(count)
        );
        let error = || Error::bad(path, message).named_in_line(row.line);
        (frame != usual).then(|| Odd { sample, modality, error: error() })
    };
    frames.into_iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Sample;
    use crate::features::Source;

    #[test]
    fn the_file_that_differs_from_most_is_named_with_its_sample() {
        let sample = |id: &str| Sample {
            id: id.into(),
            files: ["v", "w"]
                .map(|kind| Some(Source::File(format!("{id}.{kind}").into())))
                .to_vec(),
            label: None,
            group: None,
            leak_key: id.into(),
            part: None,
            line: None,
        };
        let corpus = Corpus {
            modalities: vec!["voice".into(), "words".into()],
            samples: ["a", "b", "c"].map(sample).to_vec(),
            ..Corpus::default()
        };
        let all = |shapes: [[&[usize]; 2]; 3]| {
            let shapes = shapes.iter().enumerate().flat_map(|(sample, row)| {
                row.iter()
                    .enumerate()
                    .map(move |(modality, shape)| (sample, modality, shape.to_vec()))
            });
            odd(&corpus, &shapes.collect::<Vec<_>>())
        };
        let same: [&[usize]; 2] = [&[3, 4], &[5, 2]];
        assert!(all([same, [&[9, 4], &[0, 7]], same]).is_empty(), "lengths may differ");
        let found = all([[&[3, 6], &[5, 2]], same, [&[8, 4], &[5, 2, 1]]]);
        let places: Vec<_> = found.iter().map(|odd| (odd.sample, odd.modality)).collect();
        assert_eq!(places, [(0, 0), (2, 1)]);
        assert_eq!(
            found[0].error.to_string(),
            "a.v: `voice` of sample `a` (number 1) has frames of shape [6]; 2 of 3 samples have [4]: make the file again as theirs, or leave it out"
        );
        // Of two that differ the first is expected.
        let two = [(0, 0, vec![1, 4]), (1, 0, vec![1, 6])];
        assert_eq!(odd(&corpus, &two)[0].sample, 1);
    }
}
