//! `mpuc faces`: face crops and 68 points from videos.

mod clip;
mod each;
mod networks;
mod sheet;
mod source;

use crate::Context;
use crate::cli::FacesArgs;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use clip::{Found, Settings};
use data::formats::companions;
use each::Work;
use engine::Device;
use models::faces::DetectorSettings;
use networks::Networks;
use serde::Serialize;
use source::{Clip, Clips};
use std::time::Instant;

#[derive(Debug, Default, Serialize)]
struct Report {
    clips: Vec<Line>,
    /// Frames processed now, and their number per second.
    frames: usize,
    seconds: f64,
    frames_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    path: String,
    out: String,
    /// Whether the results existed before.
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
/// Exit code 66 when a video or weights are missing, 65 when one cannot be read or no video has a face, 78 for
/// invalid settings, 130 or 143 when it was stopped.
pub fn run(args: &FacesArgs, context: &Context) -> Result<()> {
    check(args)?;
    let Clips { clips, silent, companions } = source::clips(&args.inputs, &args.out)?;
    if let Some(notice) = companions::notice(companions) {
        context.progress.line(notice);
    }
    if silent > 0 {
        context.progress.line(format_args!(
            "{silent} videos without sound are skipped; the same frames exist with sound"
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
    let work = Work { args, context, networks: &networks, settings: &settings };
    let on_gpu = !matches!(device, Device::Cpu);
    let begun = Instant::now();
    let (mut report, mut failed) = (Report::default(), None);
    for (clip, outcome) in clips.iter().zip(work.all(&clips, on_gpu)?) {
        report.clips.push(outcome.unwrap_or_else(|failure| {
            let error = Some(failure.to_string());
            failed.get_or_insert(failure);
            Line { error, ..Line::new(clip) }
        }));
    }
    let made = report.clips.iter().filter(|line| !line.kept).filter_map(|line| line.found.as_ref());
    report.frames = made.map(|found| found.frames).sum();
    report.seconds = begun.elapsed().as_secs_f64();
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
        return Err(Failure::config(format!("--margin {}: give 0.5 to 4", args.margin)));
    }
    if !(0.1..=1000.0).contains(&args.rate) {
        return Err(Failure::config(format!("--rate {}: give 0.1 to 1000", args.rate)));
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
                (Some(_), true) => "exists".into(),
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

/// The result of the command.
fn verdict(report: &Report, failed: Option<Failure>) -> Result<()> {
    if let Some(failure) = failed {
        let failures = report.clips.iter().filter(|line| line.error.is_some()).count();
        return Err(match report.clips.len() {
            1 => Failure::new(failure.kind(), "no results"),
            all => Failure::new(
                failure.kind(),
                format!("{failures} of {all} videos failed; their errors are above"),
            ),
        });
    }
    let faces = |line: &Line| line.found.as_ref().is_some_and(|found| found.with_face > 0);
    if !report.clips.iter().any(faces) {
        return Err(Failure::new(Kind::BadData, "no face in any video")
            .hint("look at a frame; a lower --min-face finds smaller faces"));
    }
    Ok(())
}
