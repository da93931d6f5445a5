//! `mpuc data synth`, and reading data for `check` and `stats`.

use crate::Context;
use crate::cli::{DataSource, Layout, Shape, SynthArgs, Voice};
use crate::failure::{Failure, Kind, Result};
use crate::output;
use data::OnError;
use data::corpora::mosei;
use data::corpora::mosei::Align;
use data::corpora::ravdess::{self, Vocal};
use data::corpora::{Modality, crema_d, manifest};
use data::corpus::Corpus;
use data::features::clip::ClipSettings;
use data::features::landmarks::LandmarkSettings;
use data::features::mel::MelSettings;
use data::features::{Decoder, Extractor, SequenceSettings, WordSettings};
use data::synth::{self, SynthError, WorldSettings};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Segments of a video, where nobody says how many.
const SEGMENTS: usize = 24;

/// Runs `mpuc data synth`.
///
/// # Errors
/// 74 when the folder cannot be written or holds something else, 78 for levers out of range, 1 where espeak-ng is to
/// speak and does not.
pub fn synth(args: &SynthArgs, context: &Context) -> Result<()> {
    let settings = world_settings(args)?;
    let task = context.progress.task("made-up world", 0);
    let task = std::sync::Mutex::new(task);
    let progress = |progress: synth::Progress| {
        let mut task = task.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        task.set_total(progress.total as u64);
        task.tick(progress.done as u64, "");
        if context.stop.asked().is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let made = match args.shape {
        Shape::Ravdess => synth::generate(&settings, &args.folder, &progress),
        Shape::Mosei => synth::generate_segments(&settings, &args.folder, &progress),
    };
    drop(task);
    let summary = made.map_err(|error| match (&error, context.stop.asked()) {
        (SynthError::Interrupted { .. }, Some(reason)) => {
            Failure::new(reason.saved("").kind(), error).hint("the same command begins anew")
        }
        _ => error.into(),
    })?;
    if args.json {
        return output::json(&summary);
    }
    output::text_lines(format_args!(
        "{}: {} clips of {} actors, {:.1} MB, hash {}",
        args.folder.display(),
        summary.clips,
        settings.actors + settings.extra_actors,
        summary.bytes as f64 / 1e6,
        summary.hash.get(..16).unwrap_or(&summary.hash)
    ))
}

/// The defaults with the levers of the command line.
fn world_settings(args: &SynthArgs) -> Result<WorldSettings> {
    let mut settings = WorldSettings::default();
    if args.shape == Shape::Mosei {
        settings.clips_per_actor = SEGMENTS;
    }
    for pair in &args.set {
        settings = with_lever(&settings, pair)?;
    }
    settings.actors = args.actors.unwrap_or(settings.actors);
    settings.clips_per_actor = args.clips.unwrap_or(settings.clips_per_actor);
    settings.seed = args.seed.unwrap_or(settings.seed);
    settings.difficulty = args.difficulty.unwrap_or(settings.difficulty);
    settings.voice = match args.voice {
        Some(Voice::Formants) => synth::Voice::Formants,
        Some(Voice::Espeak) => synth::Voice::Espeak,
        None => settings.voice,
    };
    settings.check()?;
    Ok(settings)
}

fn with_lever(settings: &WorldSettings, pair: &str) -> Result<WorldSettings> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(Failure::new(Kind::Usage, format!("--set {pair}: there is no `=`")));
    };
    let bug = |error: serde_json::Error| {
        Failure::new(Kind::Bug, format!("the world's settings: {error}"))
    };
    let mut levers = match serde_json::to_value(settings).map_err(bug)? {
        serde_json::Value::Object(levers) => levers,
        _ => return Err(Failure::new(Kind::Bug, "the world's settings are no table")),
    };
    if !levers.contains_key(key) {
        let all: Vec<&str> = levers.keys().map(String::as_str).collect();
        return Err(Failure::config(format!("--set {pair}: the world has no lever `{key}`"))
            .hint(format!("there are {}", all.join(", "))));
    }
    let number = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    levers.insert(key.into(), number);
    serde_json::from_value(levers.into())
        .map_err(|error| Failure::config(format!("--set {pair}: {error}")))
}

/// A data set as files, and a decoder for each of its modalities.
pub struct Opened {
    /// The samples.
    pub corpus: Corpus,
    /// One for each modality.
    pub decoders: Vec<Decoder>,
    /// How it is laid out.
    pub layout: Layout,
}

/// Finds the samples of a data set.
///
/// # Errors
/// 65 for a broken manifest, 66 when there is nothing.
pub fn open(source: &DataSource) -> Result<Opened> {
    let path = &source.path;
    let layout = source.format.unwrap_or_else(|| match path.is_dir() {
        true if mosei::is_here(path) => Layout::Mosei,
        true => Layout::Ravdess,
        false => Layout::Manifest,
    });
    let (corpus, extractors) = match layout {
        Layout::Ravdess | Layout::CremaD => {
            let modalities = vec![Modality::Voice, Modality::Landmarks, Modality::Clip];
            let extractors = vec![
                Extractor::Voice(MelSettings::paper()),
                Extractor::Landmarks(LandmarkSettings::default()),
                Extractor::Clip(clip_settings(path)),
            ];
            let corpus = match layout {
                Layout::CremaD => crema_d::find(path, &modalities)?,
                _ => ravdess::find(path, &ravdess::Options { modalities, vocal: Vocal::Both })?,
            };
            (corpus, extractors)
        }
        Layout::Mosei => mosei_as_it_is(path, source)?,
        Layout::Manifest => {
            let manifest = manifest::read(path, &BTreeMap::new())?;
            let extractors = manifest.kinds.iter().map(|kind| of_kind(*kind, source));
            (manifest.corpus, extractors.collect::<Result<_>>()?)
        }
    };
    let decoders = extractors
        .iter()
        .map(|extractor| extractor.decoder(None))
        .collect::<data::Result<Vec<_>>>()?;
    Ok(Opened { corpus, decoders, layout })
}

/// Every sequence of CMU-MOSEI that there is, row by row. A segment that stands twice is a notice.
fn mosei_as_it_is(path: &Path, source: &DataSource) -> Result<(Corpus, Vec<Extractor>)> {
    let (mut wanted, mut extractors) = (Vec::new(), Vec::new());
    for root in mosei::sequences(path)? {
        let extractor = match root.as_str() {
            "All Labels" => continue,
            "OpenFace_2" => Extractor::Landmarks(LandmarkSettings::default()),
            "words" => match &source.vectors {
                Some(vectors) => Extractor::Words(WordSettings { vectors: vectors.clone() }),
                None => continue,
            },
            _ => Extractor::Sequence(SequenceSettings::default()),
        };
        wanted.push(mosei::Wanted { name: root.clone(), root });
        extractors.push(extractor);
    }
    Ok((mosei::find(path, &wanted, Align::None, OnError::Skip)?, extractors))
}

/// A made-up world says how large and how fast its frames are; RAVDESS's are as the defaults have it.
fn clip_settings(root: &Path) -> ClipSettings {
    let world = std::fs::read(root.join("world.json")).ok();
    let world: Option<synth::Summary> = world.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    world.map_or_else(ClipSettings::default, |world| ClipSettings {
        height: world.settings.face_size,
        width: world.settings.face_size,
        frames_per_second: world.settings.video_fps,
    })
}

fn of_kind(kind: manifest::Kind, source: &DataSource) -> Result<Extractor> {
    Ok(match kind {
        manifest::Kind::Voice => Extractor::Voice(MelSettings::paper()),
        manifest::Kind::Landmarks => Extractor::Landmarks(LandmarkSettings::default()),
        manifest::Kind::Clip => Extractor::Clip(ClipSettings::default()),
        manifest::Kind::Sequence => Extractor::Sequence(SequenceSettings::default()),
        manifest::Kind::Words => match &source.vectors {
            Some(vectors) => Extractor::Words(WordSettings { vectors: vectors.clone() }),
            None => {
                let message = format!(
                    "{}: has a column of text, which needs word vectors",
                    source.path.display()
                );
                return Err(Failure::new(Kind::Usage, message)
                    .hint("name a file in GloVe's text format with --vectors"));
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(set: &[&str]) -> SynthArgs {
        SynthArgs {
            folder: "unused".into(),
            shape: Shape::Ravdess,
            voice: None,
            actors: Some(3),
            clips: None,
            seed: None,
            difficulty: None,
            set: set.iter().map(|pair| (*pair).to_owned()).collect(),
            json: false,
        }
    }

    #[test]
    fn levers() -> Result<()> {
        let settings = world_settings(&args(&["face_size=16", "identity=0.25"]))?;
        assert_eq!((settings.actors, settings.face_size, settings.identity), (3, 16, 0.25));
        assert_eq!(world_settings(&args(&["facesize=16"])).unwrap_err().code(), 78);
        assert_eq!(world_settings(&args(&["face_size=big"])).unwrap_err().code(), 78);
        assert_eq!(world_settings(&args(&["face_size=3"])).unwrap_err().code(), 78);
        Ok(())
    }
}
