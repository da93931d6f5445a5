//! Extraction of features: from a file to the values that a network reads.
//!
//! An [`Extractor`] is the settings of a feature, as configurations and cache keys have them. A [`Decoder`] is an extractor
//! with its transforms planned and word vectors indexed. A [`Source`] is the file that it decodes.

pub mod clip;
pub mod landmarks;
pub mod mel;
pub mod resize;

mod decoder;
mod source;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::values::Values;
use clip::ClipSettings;
use landmarks::LandmarkSettings;
use mel::MelSettings;

pub use decoder::Decoder;
pub(crate) use decoder::Ready;
pub use source::{Excerpt, Source};

/// Settings of word vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordSettings {
    /// A GloVe text file.
    pub vectors: PathBuf,
}

/// Settings of precomputed sequences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequenceSettings {
    /// Frames per second, when known; `.npy` does not store it.
    pub frames_per_second: Option<f64>,
    /// The computational sequence, e.g. `COVAREP`; for corpora of `.csd` files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Use only columns of a computational sequence whose names begin with one of these, e.g. `AU`; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

/// The feature that is computed from a modality's files, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Extractor {
    /// A log-mel spectrogram `[T, bands]` of a WAV file.
    Voice(MelSettings),
    /// Landmarks `[T, points, 2 or 3]` of an OpenFace CSV.
    Landmarks(LandmarkSettings),
    /// RGB frames `[T, height, width, 3]` (`u8`) of a video, a folder of pictures or an `.npy`.
    Clip(ClipSettings),
    /// Word vectors `[T, dimension]` of a text.
    Words(WordSettings),
    /// Precomputed values `[T, ...]` of an `.npy` of any real type, or of a computational sequence.
    Sequence(SequenceSettings),
}

/// The kinds of [`Extractor`], without their settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FeatureKind {
    /// Speech recordings.
    Voice,
    /// Facial landmarks.
    Landmarks,
    /// Video.
    Clip,
    /// Text.
    Words,
    /// Precomputed sequences.
    Sequence,
}

/// The decoded values of one modality of one sample, with remarks.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The values, `[T, ...]`. `T` is at least 1, or 0 when the file of an [`Excerpt`] has nothing for the sample.
    pub values: Values,
    /// Frames per second; `None` when frames are not equally spaced in time or the rate is unknown.
    pub frames_per_second: Option<f64>,
    /// Warnings for the user, e.g. the number of frames without a face.
    pub warnings: Vec<String>,
}

impl Decoded {
    /// Frames of the feature: the size `T` of its first axis.
    pub fn frames(&self) -> usize {
        self.values.shape().first().copied().unwrap_or(0)
    }
}

impl Extractor {
    /// The decoder of this feature: plans transforms and opens word vectors, whose index is cached in the folder `cache`.
    ///
    /// # Errors
    /// Bad settings; for words, errors of reading the vectors.
    pub fn decoder(&self, cache: Option<&Path>) -> Result<Decoder> {
        Decoder::new(self, cache)
    }

    /// The kind of this feature.
    pub fn kind(&self) -> FeatureKind {
        match self {
            Self::Voice(_) => FeatureKind::Voice,
            Self::Landmarks(_) => FeatureKind::Landmarks,
            Self::Clip(_) => FeatureKind::Clip,
            Self::Words(_) => FeatureKind::Words,
            Self::Sequence(_) => FeatureKind::Sequence,
        }
    }
}

impl FeatureKind {
    /// The default name of a modality of this kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Landmarks => "landmarks",
            Self::Clip => "faces",
            Self::Words => "text",
            Self::Sequence => "sequence",
        }
    }

    /// The feature with default settings (of the paper for voice); `None` for words when `vectors` is `None`.
    pub fn extractor(self, vectors: Option<&Path>) -> Option<Extractor> {
        Some(match self {
            Self::Voice => Extractor::Voice(MelSettings::paper()),
            Self::Landmarks => Extractor::Landmarks(LandmarkSettings::default()),
            Self::Clip => Extractor::Clip(ClipSettings::default()),
            Self::Words => Extractor::Words(WordSettings { vectors: vectors?.to_owned() }),
            Self::Sequence => Extractor::Sequence(SequenceSettings::default()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Array;
    use crate::formats::npy;

    #[test]
    fn settings_read_as_a_tagged_table_and_refuse_unknown_keys() {
        let voice: Extractor = serde_json::from_str(r#"{"kind": "voice", "bands": 40}"#).unwrap();
        assert_eq!(voice, Extractor::Voice(MelSettings { bands: 40, ..MelSettings::paper() }));
        assert!(serde_json::from_str::<Extractor>(r#"{"kind": "clip", "hight": 3}"#).is_err());
        let other = Extractor::Voice(MelSettings::world());
        assert_ne!(
            voice.decoder(None).unwrap().fingerprint(),
            other.decoder(None).unwrap().fingerprint()
        );
    }

    #[test]
    fn files_in_an_archive_decode_as_they_do_on_disk() {
        use crate::formats::archive::{self, Archive};
        let folder = tempfile::tempdir().unwrap();
        let (wav, csv) = (folder.path().join("a.wav"), folder.path().join("a.csv"));
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 48_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&wav, spec).unwrap();
        (0..9_600).for_each(|n: i32| writer.write_sample((n * 37 % 2_000) as i16).unwrap());
        writer.finalize().unwrap();
        let names: Vec<String> =
            (0..136).map(|i| format!("{}_{}", ["x", "y"][i / 68], i % 68)).collect();
        let row: Vec<String> = (0..136).map(|i| i.to_string()).collect();
        std::fs::write(&csv, format!("{}\n{}\n", names.join(","), row.join(","))).unwrap();
        let zip = folder.path().join("a.zip");
        let bytes = [std::fs::read(&wav).unwrap(), std::fs::read(&csv).unwrap()];
        archive::tests::write(&zip, &[("a.wav", &bytes[0]), ("a.csv", &bytes[1]), ("a.npy", b"")]);
        let members = Archive::open(&zip).unwrap().members().files;
        let voice = Extractor::Voice(MelSettings::world()).decoder(None).unwrap();
        let landmarks = Extractor::Landmarks(LandmarkSettings::default()).decoder(None).unwrap();
        for (decoder, path, member) in [(&voice, wav, 0), (&landmarks, csv, 1)] {
            let member = Source::Member(members[member].clone());
            assert_eq!(
                decoder.decode(&member).unwrap(),
                decoder.decode(&Source::File(path)).unwrap()
            );
        }
        let sequence = Extractor::Sequence(SequenceSettings::default()).decoder(None).unwrap();
        let message = sequence.decode(&Source::Member(members[2].clone())).unwrap_err().to_string();
        assert!(message.contains("a.zip/a.npy") && message.contains("unpack"), "{message}");
    }

    #[test]
    fn words_and_sequences_decode() {
        let folder = tempfile::tempdir().unwrap();
        let vectors = folder.path().join("glove.txt");
        std::fs::write(&vectors, "good 1 2\nday 3 4\n").unwrap();
        let words = Extractor::Words(WordSettings { vectors }).decoder(None).unwrap();
        let decoded = words.decode(&Source::Text("Good day, sir".into())).unwrap();
        assert_eq!(decoded.values.shape(), [2, 2]);
        assert_eq!(decoded.warnings, ["2 words have no vector, e.g. , sir"]);
        let path = folder.path().join("a.npy");
        npy::write(&path, &Array::new([2, 1], vec![1.0f64, f64::NAN]).unwrap()).unwrap();
        let sequence = Extractor::Sequence(SequenceSettings::default()).decoder(None).unwrap();
        assert!(
            sequence
                .decode(&Source::File(path))
                .unwrap_err()
                .to_string()
                .contains("value 2 (in row 2) of the shape [2, 1] is NaN")
        );
        assert!(sequence.decode(&Source::Text("x".into())).is_err());
    }

    #[test]
    fn a_batch_axis_of_one_is_no_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let sequence = Extractor::Sequence(SequenceSettings::default()).decoder(None).unwrap();
        let decode = |shape: &[usize]| {
            let count = shape.iter().product::<usize>();
            let values = (0..count).map(|i| i as f32).collect();
            npy::write(&path, &Array::new(shape.to_vec(), values).unwrap()).unwrap();
            sequence.decode(&Source::File(path.clone())).unwrap()
        };
        let batch = decode(&[1, 20, 6]);
        assert_eq!((batch.values.shape(), batch.frames()), (&[20, 6][..], 20));
        assert_eq!(batch.values, decode(&[20, 6]).values);
        assert!(batch.warnings[0].contains("[1, 20, 6] is read as 20 steps of [6]"));
        assert_eq!(decode(&[1, 20, 68, 2]).values.shape(), [20, 68, 2]);
        // One step of 6 numbers, and steps of matrices, are as they are.
        assert_eq!(
            (decode(&[1, 6]).values.shape(), decode(&[1, 6]).warnings.len()),
            (&[1, 6][..], 0)
        );
        assert_eq!(decode(&[20, 1, 6]).values.shape(), [20, 1, 6]);
    }

    #[test]
    fn a_text_without_end_or_that_is_a_pointer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let vectors = folder.path().join("glove.txt");
        std::fs::write(&vectors, "good 1 2\nday 3 4\n").unwrap();
        let words = Extractor::Words(WordSettings { vectors }).decoder(None).unwrap();
        let message = words.decode(&Source::File("/dev/zero".into())).unwrap_err().to_string();
        assert!(message.contains("/dev/zero: more than 4194304 bytes of text"), "{message}");
        let pointer = folder.path().join("a.txt");
        std::fs::write(&pointer, "version https://git-lfs.github.com/spec/v1\nsize 9\n").unwrap();
        let message = words.decode(&Source::File(pointer)).unwrap_err().to_string();
        assert!(message.contains("a.txt: is a Git LFS pointer"), "{message}");
    }
}
