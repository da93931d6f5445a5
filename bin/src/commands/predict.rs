//! `mpuc predict`: predicts the classes, labels or attributes of recordings.

use crate::Context;
use crate::bundle::{self, Bundle, Sample};
use crate::cli::{BundleArgs, PredictArgs};
use crate::failure::{Failure, Kind, Result};
use crate::output;
use crate::run_folder::RunFolder;
use models::evaluate::Rows;
use models::targets::Task;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The prediction for one sample.
#[derive(Debug, Serialize)]
struct Prediction {
    id: String,
    /// The most probable class, or the labels with a probability above 0.5; empty for attributes.
    predicted: Vec<String>,
    /// Empty for attributes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    probabilities: BTreeMap<String, f32>,
    /// Empty for classes and labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, f32>,
    /// The modalities of its files.
    used: Vec<String>,
    missing: Vec<String>,
}

impl Prediction {
    /// The probability of a class or label, or the number of an attribute.
    fn figure(&self, name: &str) -> f32 {
        let figure = self.probabilities.get(name).or_else(|| self.attributes.get(name));
        figure.copied().unwrap_or(f32::NAN)
    }
}

/// Runs `mpuc predict`.
///
/// # Errors
/// 66 when the bundle or a file does not exist, 65 when a file is damaged, 78 when the system was trained without labels.
pub fn run(args: &PredictArgs, context: &Context) -> Result<()> {
    let (bundle, samples) = open(&args.bundle, context)?;
    let files: Vec<Sample> = samples.iter().map(|(_, sample)| sample.clone()).collect();
    let probabilities = bundle.probabilities(&bundle.outputs(&files)?)?;
    let predictions: Vec<Prediction> = samples
        .iter()
        .enumerate()
        .map(|(number, (id, sample))| prediction(&bundle, id, sample, &probabilities, number))
        .collect();
    if args.json {
        #[derive(Serialize)]
        struct Report<'a> {
            arm: &'a str,
            seed: u64,
            fold: usize,
            samples: Vec<Prediction>,
            protocol: &'a crate::config::Stamp,
        }
        let described = &bundle.description;
        return output::json(&Report {
            arm: &described.arm,
            seed: described.seed,
            fold: described.fold,
            samples: predictions,
            protocol: &described.protocol,
        });
    }
    let classes = &bundle.description.classes;
    let header: Vec<&str> =
        ["sample", "predicted"].into_iter().chain(classes.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = predictions
        .iter()
        .map(|prediction| {
            let figures = classes.iter().map(|class| format!("{:.3}", prediction.figure(class)));
            [prediction.id.clone(), prediction.predicted.join(" ")]
                .into_iter()
                .chain(figures)
                .collect()
        })
        .collect();
    output::text_lines(output::table(&header, &rows))?;
    for prediction in predictions.iter().filter(|prediction| !prediction.missing.is_empty()) {
        let missing = prediction.missing.join(", ");
        context.progress.warn(format_args!("{}: predicted without {missing}", prediction.id));
    }
    Ok(())
}

fn prediction(
    bundle: &Bundle,
    id: &str,
    sample: &Sample,
    probabilities: &Rows,
    number: usize,
) -> Prediction {
    let classes = &bundle.description.classes;
    let row = probabilities.row(number);
    let predicted = match &bundle.description.task {
        Some(Task::EachOf(_)) => {
            let marked = classes.iter().zip(row).filter(|(_, p)| **p > 0.5);
            marked.map(|(class, _)| class.clone()).collect()
        }
        Some(Task::Attributes(_)) => Vec::new(),
        _ => {
            let values: Vec<f64> = row.iter().map(|&p| f64::from(p)).collect();
            vec![classes[models::targets::argmax(&values)].clone()]
        }
    };
    let figures = classes.iter().cloned().zip(row.iter().copied()).collect();
    let (probabilities, attributes) = match &bundle.description.task {
        Some(Task::Attributes(_)) => (BTreeMap::new(), figures),
        _ => (figures, BTreeMap::new()),
    };
    let missing = bundle.modalities().filter(|name| !sample.contains_key(*name));
    Prediction {
        id: id.to_owned(),
        predicted,
        probabilities,
        attributes,
        used: sample.keys().cloned().collect(),
        missing: missing.map(str::to_owned).collect(),
    }
}

/// Loads the bundle of the arguments; returns it and the samples with their names.
///
/// # Errors
/// 66 when the bundle or a file does not exist, 2 when the modality of a file is not known.
pub(super) fn open(
    args: &BundleArgs,
    context: &Context,
) -> Result<(Bundle, Vec<(String, Sample)>)> {
    let device = args.device.open(&context.progress)?;
    let bundle = Bundle::load(&bundle_path(args)?, &device)?;
    let samples = samples(&bundle, &args.files)?;
    Ok((bundle, samples))
}

/// The path of the bundle of the arguments.
///
/// # Errors
/// 66 when the run or the bundle does not exist.
pub(super) fn bundle_path(args: &BundleArgs) -> Result<PathBuf> {
    if args.run.is_file() {
        return Ok(args.run.clone());
    }
    let resolved = RunFolder::configuration(&args.run)?;
    let trained =
        || resolved.arms.iter().filter(|arm| arm.system().is_some() && arm.training.epochs > 0);
    let arm = match &args.arm {
        Some(name) => name.clone(),
        None => default_arm(trained().map(|arm| arm.name.as_str())).unwrap_or_default().to_owned(),
    };
    let seed = args.seed.or(resolved.config.seeds.first().copied()).unwrap_or_default();
    let path = args.run.join(bundle::file(&arm, seed, args.fold));
    if path.exists() {
        return Ok(path);
    }
    let names: Vec<&str> = trained().map(|arm| arm.name.as_str()).collect();
    let message = format!("{}: there is no such bundle", path.display());
    Err(Failure::new(Kind::MissingData, message).hint(format!(
        "`mpuc train` writes it when the arm is trained; the arms are {}, the seeds {:?}",
        names.join(", "),
        resolved.config.seeds
    )))
}

/// The arm `mpuc` if there is one, otherwise the first.
fn default_arm<'a>(mut names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    names.clone().find(|name| *name == "mpuc").or_else(|| names.next())
}

/// Groups files into samples.
fn samples(bundle: &Bundle, files: &[String]) -> Result<Vec<(String, Sample)>> {
    let mut given: Vec<(String, PathBuf)> = Vec::new();
    for file in files {
        given.push(modality(bundle, file)?);
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    given.iter().for_each(|(name, _)| *counts.entry(name).or_default() += 1);
    let one = counts.values().all(|&count| count == 1);
    let stem = |path: &Path| path.with_extension("").display().to_string();
    let first = given.first().map(|(_, path)| stem(path)).unwrap_or_default();
    let mut samples: Vec<(String, Sample)> = Vec::new();
    for (name, path) in given {
        let id = if one { first.clone() } else { stem(&path) };
        let at = samples.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
            samples.push((id.clone(), Sample::new()));
            samples.len() - 1
        });
        if samples[at].1.insert(name.clone(), path).is_some() {
            let message = format!("{id}: has two files of the modality `{name}`");
            return Err(Failure::new(Kind::Usage, message)
                .hint("give the files of two samples different names"));
        }
    }
    Ok(samples)
}

/// The modality of a file: as `MODALITY=FILE` says, or by its ending.
fn modality(bundle: &Bundle, file: &str) -> Result<(String, PathBuf)> {
    let known: Vec<&str> = bundle.modalities().collect();
    let (name, path) = match file.split_once('=') {
        Some((name, path)) if known.contains(&name) => (Some(name), Path::new(path)),
        _ => (None, Path::new(file)),
    };
    if !path.exists() {
        let message = format!("{}: the file does not exist", path.display());
        return Err(Failure::new(Kind::MissingData, message).hint("check its path"));
    }
    let name = name.or_else(|| bundle.modality_of(path)).ok_or_else(|| {
        let message = format!("{}: its modality is not known", path.display());
        let hint =
            format!("write MODALITY={}; the modalities are {}", path.display(), known.join(", "));
        Failure::new(Kind::Usage, message).hint(hint)
    })?;
    Ok((name.to_owned(), path.to_owned()))
}
