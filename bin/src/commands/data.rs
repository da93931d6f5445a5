//! `mpuc data synth`, and reading data for `check` and `stats`.

use crate::Context;
use crate::cli::{DataSource, Shape, SynthArgs, Voice};
use crate::failure::{Failure, Kind, Result};
use crate::output;
use data::corpora::Format;
use data::corpus::Corpus;
use data::features::Decoder;
use data::plain::of_serde;
use data::synth::checksums::{self, Verified};
use data::synth::{self, SynthError, WorldSettings};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Segments of a video by default.
const SEGMENTS: usize = 24;

/// Runs `mpuc data synth`.
///
/// # Errors
/// 74 when the folder cannot be written or has other files, 78 for settings out of range, 1 when espeak-ng is needed and
/// does not work.
pub fn synth(args: &SynthArgs, context: &Context) -> Result<()> {
    let settings = world_settings(args)?;
    let task = context.progress.task("synthetic world", 0);
    let task = std::sync::Mutex::new(task);
    let told = AtomicBool::new(false);
    let progress = |progress: synth::Progress| {
        if progress.waiting && !told.swap(true, Ordering::Relaxed) {
            let folder = args.folder.display();
            context.progress.line(format_args!("waiting for another process that makes {folder}"));
        }
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
            Failure::new(reason.saved("").kind(), error).hint("the same command starts again")
        }
        _ => error.into(),
    })?;
    // A world that was there before may be damaged.
    let Verified { mut damaged, notices } = checksums::verify(&args.folder, &Corpus::default())?;
    if let Some((_, error)) = damaged.pop_first() {
        return Err(error.into());
    }
    notices.iter().for_each(|notice| context.progress.line(format_args!("note: {notice}")));
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

/// The default settings with those of the command line.
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
    settings.check(match args.shape {
        Shape::Ravdess => synth::Shape::Ravdess,
        Shape::Mosei => synth::Shape::Mosei,
    })?;
    Ok(settings)
}

/// The settings with one of them replaced; `segments.slips` is a setting of the table `segments`.
fn with_lever(settings: &WorldSettings, pair: &str) -> Result<WorldSettings> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(Failure::new(Kind::Usage, format!("--set {pair}: there is no `=`"))
            .hint("write --set key=value, e.g. --set face_size=16"));
    };
    let mut levers = serde_json::to_value(settings)
        .map_err(|error| Failure::new(Kind::Bug, format!("the world's settings: {error}")))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    let refuse = |why: String| Failure::config(format!("--set {pair}: {why}"));
    let mut table = levers.as_object_mut();
    let (tables, last) = key.rsplit_once('.').map_or((None, key), |(t, last)| (Some(t), last));
    for name in tables.into_iter().flat_map(|tables| tables.split('.')) {
        table = table.and_then(|table| {
            table.entry(name).or_insert_with(|| serde_json::json!({})).as_object_mut()
        });
    }
    let table =
        table.ok_or_else(|| refuse(format!("`{key}` is in no table; leave out its `.`")))?;
    table.insert(last.into(), value);
    serde_json::from_value(levers).map_err(|error| refuse(of_serde(error)))
}

/// A corpus, and a decoder for each of its modalities.
pub struct Opened {
    /// The samples.
    pub corpus: Corpus,
    /// One decoder for each modality.
    pub decoders: Vec<Decoder>,
    /// Its format.
    pub format: Format,
    /// Files of a synthetic world that differ from their checksums: the path and the error of each.
    pub damaged: BTreeMap<PathBuf, data::Error>,
}

/// Finds all samples and modalities of a corpus; without `format`, recognises it by its files.
///
/// # Errors
/// 65 for an invalid manifest, 66 when there is no data, 78 for text without word vectors.
pub fn open(source: &DataSource) -> Result<Opened> {
    let format = match source.format {
        Some(format) => format,
        None => Format::recognise(&source.path)?,
    };
    let (mut corpus, features) = format.open(&source.path, source.vectors.as_deref())?;
    let decoders =
        features.iter().map(|feature| feature.decoder(None)).collect::<data::Result<_>>()?;
    let Verified { damaged, notices } = checksums::verify(&source.path, &corpus)?;
    corpus.notices.extend(notices);
    Ok(Opened { corpus, decoders, format, damaged })
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
        for (pair, message) in [
            ("facesize=16", "unknown field `facesize`, expected one of `seed`"),
            ("face_size=big", "expected a whole number"),
            ("face_size=3", "it must be 16 to 256"),
            ("segments.slip=0.4", "unknown field `slip`, expected one of `voice_nuisance`"),
            ("seed.slips=0.4", "leave out its `.`"),
            ("segments.slips=0.4", "must be left out with RAVDESS's shape"),
        ] {
            let failure = world_settings(&args(&[pair])).unwrap_err();
            assert_eq!(failure.code(), 78);
            assert!(failure.to_string().contains(message), "{failure}");
        }
        let segments = SynthArgs { shape: Shape::Mosei, ..args(&["segments.slips=0.4"]) };
        assert_eq!(world_settings(&segments)?.segments.slips, 0.4);
        Ok(())
    }
}
