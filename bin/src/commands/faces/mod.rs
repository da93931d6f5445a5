//! `mpuc faces`: face crops and 68 points from videos.

mod clip;
mod networks;
mod sheet;
mod source;

use crate::Context;
use crate::cli::FacesArgs;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use clip::{Found, Settings};
use data::datasets::tree::FACES_RECORD;
use engine::checkpoint::write_whole;
use models::faces::DetectorSettings;
use networks::Networks;
use serde::{Deserialize, Serialize};
use source::{Clip, Clips, Frames};
use std::time::Instant;

/// Raised whenever the same video, weights and settings give other results than before.
const VERSION: u32 = 1;
/// What a video's results end in, the last one written last.
const RESULTS: [&str; 3] = ["npy", "csv", "png"];

/// What stands beside a video's results.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// A hash of the video, the weights and the settings.
    key: String,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Serialize)]
struct Report {
    clips: Vec<Line>,
    /// Frames that were looked at now, and how many of them in a second.
    frames: usize,
    seconds: f64,
    frames_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    path: String,
    out: String,
    /// Whether the results stood already.
    kept: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    found: Option<Found>,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs `mpuc faces`.
///
/// # Errors
/// 66 when a video or weights are missing, 65 when one cannot be read or no video shows a face, 78 for settings that
/// cannot work, 130 or 143 when it was stopped.
pub fn run(args: &FacesArgs, context: &Context) -> Result<()> {
    check(args)?;
    let Clips { clips, silent } = source::clips(&args.inputs, &args.out)?;
    if silent > 0 {
        context.progress.line(format_args!(
            "{silent} videos without sound are passed over: the same pictures are there with it"
        ));
    }
    let device = args.device.open(&context.progress)?;
    let detector =
        DetectorSettings { smallest: f32::from(args.min_face), ..DetectorSettings::default() };
    let networks = Networks::open(&args.weights, detector, &device)?;
    let settings = Settings {
        margin: args.margin,
        gaps: args.gaps,
        min_face: args.min_face,
        look_every: args.look_every,
        rate: args.rate,
    };
    let mut report = Report { clips: Vec::new(), frames: 0, seconds: 0.0, frames_per_second: 0.0 };
    let mut failed: Option<Failure> = None;
    for (number, clip) in clips.iter().enumerate() {
        let of = format!("{} of {}", number + 1, clips.len());
        let line = match one(args, context, &networks, &settings, clip, &of, &mut report) {
            Ok(line) => line,
            Err(failure) if context.stop.asked().is_some() => return Err(failure),
            // What concerns one video shall not keep the others from being done.
            Err(failure) if matches!(failure.kind(), Kind::BadData | Kind::MissingData) => {
                context.progress.warn(format_args!("mpuc: {failure}"));
                let error = Some(failure.to_string());
                failed.get_or_insert(failure);
                Line { error, ..Line::new(clip) }
            }
            Err(failure) => return Err(failure),
        };
        for warning in &line.warnings {
            context.progress.warn(format_args!("{}: {warning}", line.path));
        }
        report.clips.push(line);
    }
    report.frames_per_second = report.frames as f64 / report.seconds.max(1e-9);
    if args.json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    verdict(&report, failed)
}

fn check(args: &FacesArgs) -> Result<()> {
    if !(0.5..=4.0).contains(&args.margin) {
        return Err(Failure::config(format!("--margin {}: is not from 0.5 to 4", args.margin)));
    }
    if !(0.1..=1000.0).contains(&args.rate) {
        return Err(Failure::config(format!("--rate {}: is not from 0.1 to 1000", args.rate)));
    }
    Ok(())
}

impl Line {
    fn new(clip: &Clip) -> Self {
        Line {
            path: clip.path.display().to_string(),
            out: clip.out.display().to_string(),
            kept: false,
            found: None,
            warnings: Vec::new(),
            error: None,
        }
    }
}

/// Makes one video's results, if they do not stand.
fn one(
    args: &FacesArgs,
    context: &Context,
    networks: &Networks,
    settings: &Settings,
    clip: &Clip,
    of: &str,
    report: &mut Report,
) -> Result<Line> {
    let frames = Frames::open(clip, args.rate)?;
    let key = key(networks, settings, &frames)?;
    if let Some(found) = standing(clip, &key).filter(|_| !args.fresh) {
        return Ok(Line {
            kept: true,
            warnings: found.warnings(),
            found: Some(found),
            ..Line::new(clip)
        });
    }
    if let Some(folder) = clip.out.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::io("make the folder", folder, &error))?;
    }
    // Old results must not stand beside a record of new ones, nor where there is no face any more.
    for ending in RESULTS.into_iter().chain([FACES_RECORD]) {
        let path = clip.result(ending);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::io("remove", &path, &error));
            }
            _ => {}
        }
    }
    let total = frames.count().map_or(0, |count| 2 * count as u64);
    let name = clip.path.file_name().unwrap_or_default().display().to_string();
    let mut task = context.progress.task(format_args!("{name} ({of})"), total);
    let begun = Instant::now();
    let mut tick = |done: usize, total: Option<usize>| {
        if let Some(total) = total {
            task.set_total(total as u64);
        }
        let rate = done as f64 / 2.0 / begun.elapsed().as_secs_f64().max(1e-9);
        task.tick(done as u64, format_args!("{rate:.0} frames/s"));
        match context.stop.asked() {
            None => Ok(()),
            Some(reason) => Err(reason.saved("the same command goes on with the video it was at")),
        }
    };
    let found = clip::run(networks, settings, clip, &frames, &mut tick)?;
    let record = Record { key, found: found.clone() };
    let mut text = serde_json::to_vec_pretty(&record).map_err(output::no_json)?;
    text.push(b'\n');
    write_whole(&clip.result(FACES_RECORD), &text)?;
    report.frames += found.frames;
    report.seconds += begun.elapsed().as_secs_f64();
    Ok(Line { warnings: found.warnings(), found: Some(found), ..Line::new(clip) })
}

/// A hash of all that decides the results.
fn key(networks: &Networks, settings: &Settings, frames: &Frames) -> Result<String> {
    let all = serde_json::to_string(&(VERSION, frames.hash()?, &networks.files, settings))
        .map_err(output::no_json)?;
    Ok(blake3::hash(all.as_bytes()).to_hex()[..16].to_owned())
}

/// What was found before, if the results of this key stand.
fn standing(clip: &Clip, key: &str) -> Option<Found> {
    let text = std::fs::read(clip.result(FACES_RECORD)).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let there = || RESULTS.iter().all(|ending| clip.result(ending).is_file());
    (record.key == key && (record.found.with_face == 0 || there())).then_some(record.found)
}

fn print(report: &Report) -> Result<()> {
    let row = |line: &Line| {
        let number = |value: Option<usize>| value.map_or("-".into(), |value| value.to_string());
        let found = line.found.as_ref();
        let share = |found: &Found| format!("{:.3}", found.confidence);
        vec![
            line.out.clone(),
            number(found.map(|found| found.frames)),
            number(found.map(|found| found.with_face)),
            found.map_or("-".into(), share),
            match (found, line.kept) {
                (None, _) => "failed".into(),
                (Some(found), _) if found.with_face == 0 => "no face".into(),
                (Some(_), true) => "stood already".into(),
                (Some(_), false) => "written".into(),
            },
        ]
    };
    let rows: Vec<Vec<String>> = report.clips.iter().map(row).collect();
    let header = ["results", "frames", "with a face", "confidence", ""];
    output::text_lines(output::table(&header, &rows))?;
    if report.frames == 0 {
        return Ok(());
    }
    output::text_lines(format_args!(
        "{} frames in {:.1} s: {:.1} frames/s",
        report.frames, report.seconds, report.frames_per_second
    ))
}

/// How the command ends.
fn verdict(report: &Report, failed: Option<Failure>) -> Result<()> {
    if let Some(failure) = failed {
        let failures = report.clips.iter().filter(|line| line.error.is_some()).count();
        return Err(match report.clips.len() {
            1 => Failure::new(failure.kind(), "no results"),
            all => Failure::new(
                failure.kind(),
                format!("{failures} of {all} videos failed, as said above"),
            ),
        });
    }
    let faces = |line: &Line| line.found.as_ref().is_some_and(|found| found.with_face > 0);
    if !report.clips.iter().any(faces) {
        return Err(Failure::new(Kind::BadData, "no video shows a face")
            .hint("look at a frame; --min-face finds smaller ones"));
    }
    Ok(())
}
