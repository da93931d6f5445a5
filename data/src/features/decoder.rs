//! Decoders: extractors with their transforms planned and word vectors indexed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::clip::ClipSettings;
use super::landmarks::LandmarkSettings;
use super::mel::Mel;
use super::{Decoded, Extractor, SequenceSettings, Source};
use crate::formats::glove::Glove;
use crate::formats::{companions, foreign, npy, openface, pictures, wav};
use crate::values::Values;
use crate::{Array, Error, Result};

/// Version of the computed values, part of every cache key. Raise it when the same settings give other values.
const NUMBERS_VERSION: u32 = 3;
/// Largest text file of one sample, in bytes.
const LONGEST_TEXT: u64 = 1 << 22;

/// An [`Extractor`] that is ready to decode: transforms planned, word vectors indexed. Threads may share it.
pub struct Decoder {
    fingerprint: String,
    ready: Ready,
}

/// The state that each kind of feature needs.
pub(crate) enum Ready {
    Voice(Mel),
    Landmarks(LandmarkSettings),
    Clip(ClipSettings),
    Words(Glove),
    Sequence(SequenceSettings),
}

impl Decoder {
    /// Prepares `extractor`; the index of word vectors is cached in the folder `cache`.
    ///
    /// # Errors
    /// Bad settings; for words, errors of reading the vectors.
    pub(super) fn new(extractor: &Extractor, cache: Option<&Path>) -> Result<Self> {
        let ready = match extractor {
            Extractor::Voice(settings) => Ready::Voice(Mel::new(settings)?),
            Extractor::Landmarks(settings) => Ready::Landmarks(settings.clone()),
            Extractor::Clip(settings) => {
                settings.check()?;
                Ready::Clip(settings.clone())
            }
            Extractor::Words(settings) => Ready::Words(Glove::open(&settings.vectors, cache)?),
            Extractor::Sequence(settings) => Ready::Sequence(settings.clone()),
        };
        let vectors = match &ready {
            Ready::Words(glove) => glove.fingerprint(),
            _ => "",
        };
        let settings = serde_json::to_string(extractor).map_err(|e| {
            Error::config(format!(
                "feature settings cannot be written as JSON: {e}; report this bug"
            ))
        })?;
        let fingerprint = format!("{NUMBERS_VERSION} {settings} {vectors}");
        Ok(Self { fingerprint, ready })
    }

    /// A string of everything but the source that the values depend on: version, settings and word vectors.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(crate) fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Decodes one modality of one sample.
    ///
    /// # Errors
    /// Errors of reading the source, with its path; bad settings when the source cannot give this feature.
    pub fn decode(&self, source: &Source) -> Result<Decoded> {
        if let Source::Excerpt(excerpt) = source {
            return excerpt.decode(self);
        }
        match &self.ready {
            Ready::Voice(mel) => decode_voice(mel, source),
            Ready::Landmarks(settings) => decode_landmarks(settings, source),
            Ready::Clip(settings) => decode_clip(settings, source),
            Ready::Words(glove) => decode_words(glove, source),
            Ready::Sequence(settings) => {
                let (values, warnings) = read_sequence(source.file()?)?;
                let values = Values::F32(values);
                Ok(Decoded { values, frames_per_second: settings.frames_per_second, warnings })
            }
        }
    }
}

fn decode_voice(mel: &Mel, source: &Source) -> Result<Decoded> {
    let sound = match source {
        Source::Member(member) => wav::parse(member.path(), &member.read()?)?,
        source => wav::read(source.file()?)?,
    };
    Ok(Decoded {
        values: Values::F32(mel.compute(&sound)?),
        frames_per_second: Some(mel.settings().frames_per_second()),
        warnings: Vec::new(),
    })
}

fn decode_landmarks(settings: &LandmarkSettings, source: &Source) -> Result<Decoded> {
    let track = match source {
        Source::Member(member) => {
            openface::parse(member.path(), &member.read()?, settings.coordinates)?
        }
        source => openface::read(source.file()?, settings.coordinates)?,
    };
    let (held, length) = (track.held, track.frames.shape()[0]);
    let warning =
        format!("{held} of {length} frames show no face and repeat the points of another frame");
    let held = (held > 0).then_some(warning);
    Ok(Decoded {
        values: Values::F32(settings.apply(track.frames)?),
        frames_per_second: track.rate,
        warnings: held.into_iter().chain(track.notes).collect(),
    })
}

fn decode_clip(settings: &ClipSettings, source: &Source) -> Result<Decoded> {
    let mut companions = 0;
    let (frames, rate) = match source {
        Source::Member(member) => settings.read_video(member.path(), &member.read()?)?,
        source => {
            let path = source.file()?;
            if path.is_dir() {
                companions = pictures::list(path)?.companions;
            }
            settings.read(path)?
        }
    };
    let warnings = companions::notice(companions).into_iter().collect();
    Ok(Decoded { values: Values::U8(frames), frames_per_second: Some(rate), warnings })
}

fn decode_words(glove: &Glove, source: &Source) -> Result<Decoded> {
    let embedded = match source {
        Source::Text(text) => glove.embed(text)?,
        source => glove.embed(&read_text(source.file()?)?)?,
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
        warnings.push("no word has a vector; the feature is one frame of zeros".into());
    }
    Ok(Decoded { values: Values::F32(embedded.vectors), frames_per_second: None, warnings })
}

fn read_text(path: &Path) -> Result<String> {
    let failed = |e| Error::reading(path, e);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LONGEST_TEXT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST_TEXT {
        return Err(Error::bad(
            path,
            format!(
                "more than {LONGEST_TEXT} bytes of text for one sample, which is the most: give one short text a file"
            ),
        ));
    }
    if let Some(error) = foreign::refuse_stand_in(path, &bytes) {
        return Err(error);
    }
    String::from_utf8(bytes).map_err(|_| Error::bad(path, "is not UTF-8 text; save it as UTF-8"))
}

/// Reads an array `[T, C, ...]`, with notes for the user. A first axis of 1 before two or more others is a batch axis.
fn read_sequence(path: &Path) -> Result<(Array<f32>, Vec<String>)> {
    let array = npy::read(path)?.into_f32()?;
    let shape = array.shape().to_vec();
    if shape.len() < 2 || array.data().is_empty() {
        return Err(Error::bad(
            path,
            format!("shape {shape:?}; expected [T, C, ...] with at least one value"),
        ));
    }
    if let Some(at) = array.data().iter().position(|x| !x.is_finite()) {
        let value = array.data()[at];
        let row = at / (array.data().len() / shape[0]) + 1;
        return Err(Error::bad(
            path,
            format!(
                "value {} (in row {row}) of the shape {shape:?} is {value}; expected finite numbers: replace it",
                at + 1
            ),
        ));
    }
    match shape[..] {
        [1, steps, ref rest @ ..] if !rest.is_empty() => {
            let note = format!(
                "its shape {shape:?} is read as {steps} steps of {rest:?}: the first axis is one batch"
            );
            let (_, values) = array.into_parts();
            Ok((Array::new(shape[1..].to_vec(), values)?, vec![note]))
        }
        _ => Ok((array, Vec::new())),
    }
}
