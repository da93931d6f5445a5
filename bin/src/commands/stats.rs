//! `mpuc data stats`: counts and summaries of a data set.

use super::data::{Opened, open};
use crate::Context;
use crate::cli::StatsArgs;
use crate::failure::{Failure, Result};
use crate::output;
use data::features::{Decoder, Source};
use data::values::Values;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sums in f64, in the order of the samples, so that they do not depend on the number of threads.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sums {
    count: u64,
    sum: f64,
    squares: f64,
    least: f64,
    greatest: f64,
}

impl Sums {
    const NONE: Sums = Sums {
        count: 0,
        sum: 0.0,
        squares: 0.0,
        least: f64::INFINITY,
        greatest: f64::NEG_INFINITY,
    };

    fn of(values: impl Iterator<Item = f64>) -> Self {
        values.fold(Sums::NONE, |sums, value| {
            sums.and(Sums {
                count: 1,
                sum: value,
                squares: value * value,
                least: value,
                greatest: value,
            })
        })
    }

    fn and(self, other: Sums) -> Self {
        Sums {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
            least: self.least.min(other.least),
            greatest: self.greatest.max(other.greatest),
        }
    }

    fn describe(self) -> Option<Spread> {
        let count = self.count as f64;
        let mean = self.sum / count;
        let deviation = (self.squares / count - mean * mean).max(0.0).sqrt();
        (self.count > 0).then_some(Spread {
            mean,
            deviation,
            least: self.least,
            greatest: self.greatest,
        })
    }
}

/// Mean, standard deviation, minimum and maximum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Spread {
    mean: f64,
    deviation: f64,
    least: f64,
    greatest: f64,
}

/// The summary of one feature file.
struct Seen {
    shape: Vec<usize>,
    rate: Option<f64>,
    numbers: Sums,
}

#[derive(Debug, Serialize)]
struct ModalityStats {
    name: String,
    present: usize,
    missing: usize,
    unreadable: usize,
    /// The shape of one step.
    step: Vec<usize>,
    steps: Option<Spread>,
    seconds: Option<Spread>,
    values: Option<Spread>,
}

#[derive(Debug, Serialize)]
struct Report {
    path: String,
    samples: usize,
    classes: BTreeMap<String, usize>,
    unlabelled: usize,
    groups: BTreeMap<String, usize>,
    modalities: Vec<ModalityStats>,
}

/// Runs `mpuc data stats`.
///
/// # Errors
/// When the data is not found, or a file of a synthetic world differs from its checksum. Files that cannot be read are
/// counted, not errors.
pub fn run(args: &StatsArgs, context: &Context) -> Result<()> {
    let Opened { corpus, decoders, mut damaged, .. } = open(&args.source)?;
    if let Some((_, error)) = damaged.pop_first() {
        return Err(error.into());
    }
    let task = context.progress.task("files", (corpus.samples.len() * decoders.len()) as u64);
    let done = AtomicU64::new(0);
    let mut modalities = Vec::new();
    for (number, (name, decoder)) in corpus.modalities.iter().zip(&decoders).enumerate() {
        let look = |sample: &data::corpus::Sample| {
            let seen = sample.files[number].as_ref().map(|source| {
                if context.stop.asked().is_some() { None } else { look(decoder, source) }
            });
            task.tick(done.fetch_add(1, Ordering::Relaxed) + 1, name);
            seen
        };
        let seen: Vec<Option<Option<Seen>>> = corpus.samples.par_iter().map(look).collect();
        if let Some(reason) = context.stop.asked() {
            return Err(Failure::new(
                reason.saved("").kind(),
                "stopped before all files were read",
            ));
        }
        modalities.push(describe(name, &seen));
    }
    drop(task);
    let mut classes: BTreeMap<String, usize> =
        corpus.classes.iter().map(|name| (name.clone(), 0)).collect();
    let mut groups = BTreeMap::new();
    let mut unlabelled = 0;
    for sample in &corpus.samples {
        unlabelled += usize::from(sample.label.is_none());
        for (class, name) in corpus.classes.iter().enumerate() {
            let has = sample.label.is_some_and(|label| label.has(class));
            *classes.entry(name.clone()).or_default() += usize::from(has);
        }
        if let Some(group) = &sample.group {
            *groups.entry(group.clone()).or_default() += 1;
        }
    }
    let path = args.source.path.display().to_string();
    let report =
        Report { path, samples: corpus.samples.len(), classes, unlabelled, groups, modalities };
    if args.source.json { output::json(&report) } else { print(&report) }
}

fn look(decoder: &Decoder, source: &Source) -> Option<Seen> {
    let decoded = decoder.decode(source).ok()?;
    let numbers = match &decoded.values {
        Values::F32(array) => Sums::of(array.data().iter().map(|&value| f64::from(value))),
        Values::U8(array) => Sums::of(array.data().iter().map(|&value| f64::from(value))),
    };
    Some(Seen { shape: decoded.values.shape().to_vec(), rate: decoded.frames_per_second, numbers })
}

fn describe(name: &str, seen: &[Option<Option<Seen>>]) -> ModalityStats {
    let read: Vec<&Seen> = seen.iter().flatten().flatten().collect();
    let steps = |seen: &&Seen| seen.shape.first().map(|&steps| steps as f64);
    let seconds = |seen: &&Seen| Some(*seen.shape.first()? as f64 / seen.rate?);
    ModalityStats {
        name: name.into(),
        present: read.len(),
        missing: seen.iter().filter(|file| file.is_none()).count(),
        unreadable: seen.iter().flatten().filter(|file| file.is_none()).count(),
        step: read.first().map(|seen| seen.shape[1..].to_vec()).unwrap_or_default(),
        steps: Sums::of(read.iter().filter_map(steps)).describe(),
        seconds: Sums::of(read.iter().filter_map(seconds)).describe(),
        values: read.iter().fold(Sums::NONE, |sums, seen| sums.and(seen.numbers)).describe(),
    }
}

fn print(report: &Report) -> Result<()> {
    output::text_lines(format_args!(
        "{}: {} samples, {} groups",
        report.path,
        report.samples,
        report.groups.len()
    ))?;
    let mut classes: Vec<String> =
        report.classes.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if report.unlabelled > 0 {
        classes.push(format!("no label {}", report.unlabelled));
    }
    output::text_lines(format_args!("classes: {}\n", classes.join(", ")))?;
    let spread = |spread: Option<Spread>, digits: usize| match spread {
        Some(s) => format!("{:.digits$} ({:.digits$} to {:.digits$})", s.mean, s.least, s.greatest),
        None => "-".into(),
    };
    let cells = |m: &ModalityStats| {
        vec![
            m.name.clone(),
            m.present.to_string(),
            m.missing.to_string(),
            m.unreadable.to_string(),
            format!("{:?}", m.step),
            spread(m.steps, 0),
            spread(m.seconds, 2),
            m.values.map_or("-".into(), |v| format!("{:.4} +- {:.4}", v.mean, v.deviation)),
        ]
    };
    let cells: Vec<Vec<String>> = report.modalities.iter().map(cells).collect();
    let header =
        ["modality", "present", "missing", "unreadable", "step", "steps", "seconds", "values"];
    output::text_lines(output::table(&header, &cells))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_describe_numbers() {
        let spread = Sums::of([1.0, 2.0, 3.0, 6.0].into_iter()).describe().unwrap();
        assert_eq!((spread.mean, spread.least, spread.greatest), (3.0, 1.0, 6.0));
        assert!((spread.deviation - 3.5f64.sqrt()).abs() < 1e-12);
        assert_eq!(Sums::NONE.describe(), None);
    }
}
