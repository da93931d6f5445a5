//! Features: what a file becomes before a network sees it.
//!
//! An [`Extractor`] is settings (written in configurations and cache keys); a [`Decoder`] is those settings made ready
//! (transforms planned, word vectors indexed) and shared by all threads.

pub mod clip;
pub mod landmarks;
pub mod mel;
pub mod resize;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::corpora::mosei::Segment;
use crate::formats::archive::Member;
use crate::formats::glove::Glove;
use crate::formats::{npy, openface, wav};
use crate::values::Values;
use crate::{Array, Error, Result};
use clip::ClipSettings;
use landmarks::LandmarkSettings;
use mel::{Mel, MelSettings};

/// Raised whenever the same settings give other numbers than before, so that old cache entries are not used.
const NUMBERS_VERSION: u32 = 2;
/// Longest text file that is taken for one sample, in bytes.
const LONGEST_TEXT: u64 = 1 << 22;

/// Where one modality of one sample comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A file inside a ZIP archive.
    Member(Member),
    /// Literal text.
    Text(String),
    /// Part of a computational sequence.
    Segment(Segment),
}

impl Source {
    /// The file, an archive's path with a member's name, or `<text>`: for messages and endings.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Member(member) => member.path(),
            Self::Text(_) => Path::new("<text>"),
            Self::Segment(segment) => segment.path(),
        }
    }
}

/// Settings of word vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordSettings {
    /// A GloVe text file.
    pub vectors: PathBuf,
}

/// Settings of ready-made sequences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequenceSettings {
    /// Rows a second, when that is known; `.npy` does not say.
    pub frames_per_second: Option<f64>,
    /// The computational sequence they are rows of, e.g. `COVAREP`; for data sets of `.csd` files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Of a computational sequence only the columns whose name begins with one of these, e.g. `AU`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
}

/// Which feature is computed from a modality's files, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Extractor {
    /// WAV to a log-mel spectrogram `[T, bands]`.
    Voice(MelSettings),
    /// OpenFace CSV to landmarks `[T, points, 2 or 3]`.
    Landmarks(LandmarkSettings),
    /// Video or `.npy` frames to `u8` images `[T, height, width, 3]`.
    Clip(ClipSettings),
    /// Text to word vectors `[T, dimension]`.
    Words(WordSettings),
    /// `.npy` of any real type `[T, ...]`, or a computational sequence, used as it is.
    Sequence(SequenceSettings),
}

/// One modality of one sample, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// `[T, ...]`, at least one step long; no step where a computational sequence has nothing of a segment.
    pub values: Values,
    /// Steps a second, where that means something.
    pub frames_per_second: Option<f64>,
    /// What a person should know, e.g. how many frames had no face.
    pub warnings: Vec<String>,
}

/// An [`Extractor`] made ready.
pub struct Decoder {
    extractor: Extractor,
    mel: Option<Mel>,
    glove: Option<Glove>,
}

impl Extractor {
    /// Makes the feature ready: plans transforms, opens word vectors, whose index is kept in the folder `cache`.
    ///
    /// # Errors
    /// Bad settings; for words, whatever is wrong with the vectors' file.
    pub fn decoder(&self, cache: Option<&Path>) -> Result<Decoder> {
        let mut decoder = Decoder { extractor: self.clone(), mel: None, glove: None };
        match self {
            Self::Voice(settings) => decoder.mel = Some(Mel::new(settings)?),
            Self::Clip(settings) => settings.check()?,
            Self::Words(settings) => decoder.glove = Some(Glove::open(&settings.vectors, cache)?),
            Self::Landmarks(_) | Self::Sequence(_) => {}
        }
        Ok(decoder)
    }
}

impl Decoder {
    /// The settings.
    pub fn extractor(&self) -> &Extractor {
        &self.extractor
    }

    /// Names everything but the file that the numbers depend on: settings, version of the numbers, word vectors.
    ///
    /// # Errors
    /// None in practice: settings can always be written down.
    pub fn fingerprint(&self) -> Result<String> {
        let settings = serde_json::to_string(&self.extractor).map_err(|e| {
            Error::config(format!("feature settings cannot be written down: {e}; report this"))
        })?;
        let glove = self.glove.as_ref().map_or("", Glove::fingerprint);
        Ok(format!("{NUMBERS_VERSION} {settings} {glove}"))
    }

    /// Reads one modality of one sample.
    ///
    /// # Errors
    /// Whatever is wrong with the file, with its path.
    pub fn decode(&self, source: &Source) -> Result<Decoded> {
        if let Source::Segment(segment) = source {
            let decoded = match (&self.extractor, &self.glove) {
                (Extractor::Words(_), Some(glove)) => segment.embedded(glove),
                (Extractor::Landmarks(settings), _) => segment.landmarks(settings),
                (Extractor::Sequence(settings), _) => segment.sequence(settings),
                _ => Err(Error::config(format!(
                    "{}: only words, landmarks and sequences can be taken from it; change the modality's feature.kind",
                    segment.path().display()
                ))),
            }?;
            let name = |warning| format!("{}: {warning}", segment.id);
            let warnings = decoded.warnings.into_iter().map(name).collect();
            return Ok(Decoded { warnings, ..decoded });
        }
        match (&self.extractor, &self.mel, &self.glove) {
            (Extractor::Words(_), _, Some(glove)) => decode_words(glove, source),
            (Extractor::Voice(settings), Some(mel), _) => {
                let sound = match source {
                    Source::Member(member) => wav::parse(member.path(), &member.read()?)?,
                    source => wav::read(file(source)?)?,
                };
                Ok(Decoded {
                    values: Values::F32(mel.compute(&sound)?),
                    frames_per_second: Some(settings.frames_per_second()),
                    warnings: Vec::new(),
                })
            }
            (Extractor::Landmarks(settings), ..) => {
                let track = match source {
                    Source::Member(member) => {
                        openface::parse(member.path(), &member.read()?, settings.coordinates)?
                    }
                    source => openface::read(file(source)?, settings.coordinates)?,
                };
                let (held, length) = (track.held, track.frames.shape()[0]);
                let warning = format!(
                    "{held} of {length} frames show no face and hold another frame's points"
                );
                Ok(Decoded {
                    values: Values::F32(settings.apply(track.frames)?),
                    frames_per_second: track.rate,
                    warnings: (held > 0).then_some(warning).into_iter().collect(),
                })
            }
            (Extractor::Clip(settings), ..) => {
                let (frames, rate) = match source {
                    Source::Member(member) => {
                        settings.read_video(member.path(), &member.read()?)?
                    }
                    source => settings.read(file(source)?)?,
                };
                Ok(Decoded {
                    values: Values::U8(frames),
                    frames_per_second: Some(rate),
                    warnings: Vec::new(),
                })
            }
            (Extractor::Sequence(settings), ..) => Ok(Decoded {
                values: Values::F32(read_sequence(file(source)?)?),
                frames_per_second: settings.frames_per_second,
                warnings: Vec::new(),
            }),
            (Extractor::Voice(_) | Extractor::Words(_), ..) => {
                Err(Error::config("a feature was used before it was made ready; report this"))
            }
        }
    }
}

fn file(source: &Source) -> Result<&Path> {
    match source {
        Source::File(path) => Ok(path),
        Source::Member(member) => Err(Error::bad(
            member.path(),
            "is used from inside an archive only if it is a recording, landmarks or a video; unpack the archive",
        )),
        Source::Segment(segment) => Ok(segment.path()),
        Source::Text(text) => {
            let start: String = text.chars().take(20).collect();
            Err(Error::config(format!(
                "literal text (`{start}`) where a file is needed; only a words feature takes text"
            )))
        }
    }
}

fn decode_words(glove: &Glove, source: &Source) -> Result<Decoded> {
    let embedded = match source {
        Source::Text(text) => glove.embed(text)?,
        Source::Segment(segment) => return segment.embedded(glove),
        source => {
            let path = file(source)?;
            let size = std::fs::metadata(path).map_err(|e| Error::reading(path, e))?.len();
            if size > LONGEST_TEXT {
                return Err(Error::bad(
                    path,
                    format!("{size} bytes of text for one sample; give one short text a file"),
                ));
            }
            let bytes = std::fs::read(path).map_err(|e| Error::reading(path, e))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| Error::bad(path, "is no UTF-8 text; save it as UTF-8"))?;
            glove.embed(&text)?
        }
    };
    let mut warnings = Vec::new();
    if !embedded.unknown.is_empty() {
        let shown: Vec<&str> = embedded.unknown.iter().take(5).map(String::as_str).collect();
        warnings.push(format!(
            "{} words have no vector, e.g. {}",
            embedded.unknown.len(),
            shown.join(" ")
        ));
    }
    if embedded.known == 0 {
        warnings.push("no word has a vector; one step of zeros stands for the text".into());
    }
    Ok(Decoded { values: Values::F32(embedded.vectors), frames_per_second: None, warnings })
}

fn read_sequence(path: &Path) -> Result<Array<f32>> {
    let array = npy::read(path)?.into_f32()?;
    if array.shape().len() < 2 || array.data().is_empty() {
        return Err(Error::bad(
            path,
            format!(
                "shape {:?} where [T, C] with at least one value is needed; save it so",
                array.shape()
            ),
        ));
    }
    if let Some(at) = array.data().iter().position(|x| !x.is_finite()) {
        return Err(Error::bad(
            path,
            format!("value {at} is {}; replace what is not a finite number", array.data()[at]),
        ));
    }
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_as_a_tagged_table_and_refuse_unknown_keys() {
        let voice: Extractor = serde_json::from_str(r#"{"kind": "voice", "bands": 40}"#).unwrap();
        assert_eq!(voice, Extractor::Voice(MelSettings { bands: 40, ..MelSettings::paper() }));
        assert!(serde_json::from_str::<Extractor>(r#"{"kind": "clip", "hight": 3}"#).is_err());
        let other = Extractor::Voice(MelSettings::world());
        assert_ne!(
            voice.decoder(None).unwrap().fingerprint().unwrap(),
            other.decoder(None).unwrap().fingerprint().unwrap()
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
        let members = Archive::open(&zip).unwrap().members();
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
                .contains("value 1 is NaN")
        );
        assert!(sequence.decode(&Source::Text("x".into())).is_err());
    }
}
