//! `mpuc data check`: reads every file and reports errors and anomalies.

mod survey;

use super::data::{Opened, open};
use crate::Context;
use crate::cli::CheckArgs;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use data::corpus::Corpus;
use data::features::Source;
use data::printable::printable;
use data::values::Values;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use survey::{Seen, Survey, some};

/// One error in the data.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Problem {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    kind: &'static str,
    message: String,
    /// The sample and the modality that the file belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modality: Option<String>,
}

impl Problem {
    /// The same problem with the sample and the modality of the file.
    fn of(self, corpus: &Corpus, sample: usize, modality: usize) -> Self {
        let sample = corpus.samples.get(sample).map(|sample| sample.id.clone());
        Problem { sample, modality: corpus.modalities.get(modality).cloned(), ..self }
    }
}

impl From<&data::Error> for Problem {
    fn from(error: &data::Error) -> Self {
        let (file, position, message) = match error {
            data::Error::BadData { path, position, message } => {
                (Some(path), *position, message.clone())
            }
            data::Error::MissingData { path, message } => (Some(path), None, message.clone()),
            data::Error::Io { path, cause, .. } => (Some(path), None, cause.to_string()),
            data::Error::Config { message } => (None, None, message.clone()),
        };
        let kind = match error.kind() {
            data::ErrorKind::BadData => "bad",
            data::ErrorKind::MissingData => "missing",
            data::ErrorKind::Io => "unreadable",
            data::ErrorKind::Config => "settings",
        };
        Problem {
            file: file.map(|path| path.display().to_string()).unwrap_or_default(),
            line: position.map(|position| position.line),
            column: position.map(|position| position.column).filter(|&column| column > 0),
            kind,
            message,
            sample: None,
            modality: None,
        }
    }
}

/// One modality of the report.
#[derive(Debug, PartialEq, Serialize)]
struct Presence {
    name: String,
    present: usize,
    missing: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    path: String,
    format: &'static str,
    samples: usize,
    files: usize,
    modalities: Vec<Presence>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    notices: Vec<String>,
    #[serde(flatten)]
    survey: Survey,
}

/// The result of reading one file.
struct Outcome {
    problem: Option<Problem>,
    seen: Option<Seen>,
    warnings: Vec<String>,
}

/// Runs `mpuc data check`.
///
/// # Errors
/// Exit code 65 when a file is bad, 66 when one is missing and none is bad.
pub fn run(args: &CheckArgs, context: &Context) -> Result<()> {
    let opened = match open(&args.source) {
        Ok(opened) => opened,
        Err(failure) if args.source.json && failure.kind() == Kind::BadData => {
            // An unreadable manifest is reported like any other problem of the data.
            let path = args.source.path.display().to_string();
            let problem = Problem {
                file: path,
                line: None,
                column: None,
                kind: "bad",
                message: failure.to_string(),
                sample: None,
                modality: None,
            };
            let path = problem.file.clone();
            output::json(&serde_json::json!({ "path": path, "problems": [problem] }))?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    };
    let mut outcomes = read_all(&opened, context)?;
    let Opened { corpus, format, mut damaged, .. } = opened;
    let seen: Vec<Seen> = outcomes.iter_mut().filter_map(|outcome| outcome.seen.take()).collect();
    let mut problems: Vec<Problem> =
        outcomes.iter().filter_map(|outcome| outcome.problem.clone()).collect();
    problems.extend(odd_shapes(&corpus, &seen));
    problems.extend(differing(&corpus, &mut damaged));
    let survey = Survey::new(&corpus, format, &args.source.path, &seen);
    let missing = corpus.missing();
    let modalities = corpus.modalities.iter().zip(missing);
    let samples = corpus.samples.len();
    let presence = |(name, missing): (&String, usize)| Presence {
        name: name.clone(),
        present: samples - missing,
        missing,
    };
    let report = Report {
        path: args.source.path.display().to_string(),
        format: format.name(),
        samples,
        files: outcomes.len(),
        modalities: modalities.map(presence).collect(),
        problems,
        warnings: outcomes.into_iter().flat_map(|outcome| outcome.warnings).collect(),
        notices: corpus.notices,
        survey,
    };
    if args.source.json {
        output::json(&report)?;
    } else {
        print(&report)?;
    }
    verdict(&report.problems)
}

fn read_all(opened: &Opened, context: &Context) -> Result<Vec<Outcome>> {
    let files: Vec<(usize, usize, &Source)> = opened
        .corpus
        .samples
        .iter()
        .enumerate()
        .flat_map(|(sample, row)| {
            let files = row.files.iter().enumerate();
            files.filter_map(move |(modality, source)| Some((sample, modality, source.as_ref()?)))
        })
        .collect();
    let task = context.progress.task("files", files.len() as u64);
    let done = AtomicU64::new(0);
    let read = |&(sample, modality, source): &(usize, usize, &Source)| {
        if context.stop.asked().is_some() {
            return None;
        }
        let outcome = read_one(opened, source, sample, modality);
        task.tick(done.fetch_add(1, Ordering::Relaxed) + 1, "");
        Some(outcome)
    };
    let outcomes: Vec<Option<Outcome>> = files.par_iter().map(read).collect();
    match context.stop.asked() {
        Some(reason) => {
            Err(Failure::new(reason.saved("").kind(), "stopped before all files were read"))
        }
        None => Ok(outcomes.into_iter().flatten().collect()),
    }
}

/// Reads one file and keeps only a hash of its values, since a data set may be larger than memory.
fn read_one(opened: &Opened, source: &Source, sample: usize, modality: usize) -> Outcome {
    match opened.decoders[modality].decode(source) {
        Ok(decoded) => {
            let name = source.path().display();
            let steps = decoded.values.shape().first().copied().unwrap_or(0) as f64;
            Outcome {
                problem: None,
                seen: Some(Seen {
                    sample,
                    modality,
                    seconds: decoded.frames_per_second.map(|rate| steps / rate),
                    values: hash(&decoded.values),
                    shape: decoded.values.shape().to_vec(),
                }),
                warnings: decoded
                    .warnings
                    .iter()
                    .map(|warning| format!("{name}: {warning}"))
                    .collect(),
            }
        }
        Err(error) => {
            let error = error.named_in_line(opened.corpus.samples[sample].line);
            let problem = Problem::from(&error).of(&opened.corpus, sample, modality);
            Outcome { problem: Some(problem), seen: None, warnings: Vec::new() }
        }
    }
}

/// Files whose features have another shape than those of most samples: training would refuse them.
fn odd_shapes(corpus: &Corpus, seen: &[Seen]) -> Vec<Problem> {
    let shape = |seen: &Seen| (seen.sample, seen.modality, seen.shape.clone());
    let shapes: Vec<_> = seen.iter().map(shape).collect();
    let odd = data::shapes::odd(corpus, &shapes).into_iter();
    odd.map(|odd| Problem::from(&odd.error).of(corpus, odd.sample, odd.modality)).collect()
}

/// Files of a synthetic world that differ from their checksums, with their samples, then those of no sample.
fn differing(corpus: &Corpus, damaged: &mut BTreeMap<PathBuf, data::Error>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (sample, row) in corpus.samples.iter().enumerate() {
        for (modality, source) in row.files.iter().enumerate() {
            if let Some(error) = source.as_ref().and_then(|s| damaged.remove(s.path())) {
                problems.push(Problem::from(&error).of(corpus, sample, modality));
            }
        }
    }
    problems.extend(damaged.values().map(Problem::from));
    problems
}

/// A hash of a feature's values, independent of the file format.
fn hash(values: &Values) -> [u8; 32] {
    let numbers = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    match values {
        Values::F32(array) => *blake3::hash(&numbers(array.data())).as_bytes(),
        Values::U8(array) => *blake3::hash(array.data()).as_bytes(),
    }
}

fn print(report: &Report) -> Result<()> {
    for problem in &report.problems {
        let line = problem.line.map_or(String::new(), |line| format!(":{line}"));
        let column = problem.column.map_or(String::new(), |column| format!(":{column}"));
        let whose = match (&problem.sample, &problem.modality) {
            // The message may name the sample already.
            (Some(sample), Some(name)) if !problem.message.contains(&format!("`{sample}`")) => {
                format!(" (`{name}` of sample `{sample}`)")
            }
            _ => String::new(),
        };
        output::text_lines(format_args!(
            "{}{line}{column}: {}{whose}",
            printable(&problem.file, false),
            printable(&problem.message, false)
        ))?;
    }
    let notes = [some("note", &report.warnings), some("note", &report.notices)].concat();
    notes.iter().try_for_each(output::text_lines)?;
    report.survey.lines().iter().try_for_each(output::text_lines)?;
    let cells = |m: &Presence| vec![m.name.clone(), m.present.to_string(), m.missing.to_string()];
    let cells: Vec<Vec<String>> = report.modalities.iter().map(cells).collect();
    output::text_lines(output::table(&["modality", "present", "missing"], &cells))?;
    output::text_lines(format_args!(
        "{} samples, {} files read, {} problems",
        report.samples,
        report.files,
        report.problems.len()
    ))
}

fn verdict(problems: &[Problem]) -> Result<()> {
    let count = |kind: &str| problems.iter().filter(|problem| problem.kind == kind).count();
    let (missing, unreadable) = (count("missing"), count("unreadable"));
    let bad = problems.len() - missing - unreadable;
    let kind = match (bad, missing, unreadable) {
        (0, 0, 0) => return Ok(()),
        (0, 0, _) => Kind::Io,
        (0, ..) => Kind::MissingData,
        _ => Kind::BadData,
    };
    let message = format!("{bad} bad, {missing} missing and {unreadable} unreadable files");
    Err(Failure::new(kind, message)
        .hint("repair them, or train without them with --set data.on_error=skip"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_say_where() {
        let error = data::Error::BadData {
            path: "a.csv".into(),
            position: Some(data::Position { line: 7, column: 0 }),
            message: "three cells".into(),
        };
        let problem = Problem::from(&error);
        assert_eq!((problem.file.as_str(), problem.line, problem.column), ("a.csv", Some(7), None));
        let gone = data::Error::MissingData { path: "b.wav".into(), message: "gone".into() };
        let gone = Problem::from(&gone);
        assert_eq!(verdict(std::slice::from_ref(&gone)).unwrap_err().code(), 66);
        assert_eq!(verdict(&[gone, problem]).unwrap_err().code(), 65);
        assert!(verdict(&[]).is_ok());
    }
}
