//! `mpuc weights`: lists and converts the tensors of a file that PyTorch wrote.

use crate::cli::{ConvertArgs, InspectArgs, Network};
use crate::experiment::{lacking, matched};
use crate::failure::{Failure, Kind, Result};
use crate::output;
use data::formats::weights::{Entry, Format, Number, Weights};
use models::backbones::{BackboneSettings, R2Plus1dSettings};
use models::weights::Match;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Report<'a> {
    path: String,
    format: Format,
    tensors: Vec<Line<'a>>,
    others: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'a Match>,
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    r#type: Number,
    shape: &'a [usize],
}

impl<'a> From<&'a Entry> for Line<'a> {
    fn from(entry: &'a Entry) -> Self {
        Line { name: entry.name(), r#type: entry.number(), shape: entry.shape() }
    }
}

impl Network {
    fn settings(self) -> BackboneSettings {
        match self {
            Network::R2plus1d => BackboneSettings::R2plus1d(R2Plus1dSettings::default()),
        }
    }
}

/// Runs `mpuc weights inspect`.
///
/// # Errors
/// Exit code 65 when the file cannot be read, or lacks parameters of the network.
pub fn inspect(args: &InspectArgs) -> Result<()> {
    let weights = Weights::open(&args.file)?;
    let network = args.network.map(|network| matched(&weights, &network.settings())).transpose()?;
    let report = Report {
        path: args.file.display().to_string(),
        format: weights.format(),
        tensors: weights.entries().iter().map(Line::from).collect(),
        others: weights.others(),
        network: network.as_ref(),
    };
    if args.json {
        output::json(&report)?;
    } else if let Some(network) = &network {
        print_match(network)?;
    } else {
        print(&weights)?;
    }
    let Some(network) = &network else { return Ok(()) };
    match lacking(network).len() {
        0 => Ok(()),
        lacks => Err(Failure::new(
            Kind::BadData,
            format!(
                "{}: {lacks} parameters of the network are missing or have another shape; {} match",
                args.file.display(),
                network.found.len()
            ),
        )
        .hint("give the file of torchvision's r2plus1d_18")),
    }
}

/// Runs `mpuc weights convert`.
///
/// # Errors
/// Exit code 65 when the file cannot be read, 74 when the output cannot be written.
pub fn convert(args: &ConvertArgs) -> Result<()> {
    let weights = Weights::open(&args.file)?;
    if args.out.exists() {
        return Err(Failure::new(Kind::Io, format!("{}: exists", args.out.display()))
            .hint("remove it, or choose another name"));
    }
    weights.save(&args.out)?;
    output::text_lines(format_args!("{}: {}", args.out.display(), summary(&weights)))
}

fn print(weights: &Weights) -> Result<()> {
    let cells = |entry: &Entry| {
        let number = format!("{:?}", entry.number()).to_lowercase();
        let name = if entry.name().is_empty() { "(no name)" } else { entry.name() };
        vec![name.to_owned(), number, shape(entry.shape())]
    };
    let cells: Vec<Vec<String>> = weights.entries().iter().map(cells).collect();
    output::text_lines(output::table(&["tensor", "type", "shape"], &cells))?;
    output::text_lines(summary(weights))
}

fn summary(weights: &Weights) -> String {
    let format = match weights.format() {
        Format::Safetensors => "safetensors",
        Format::TorchZip => "torch.save",
        Format::TorchLegacy => "torch.save, legacy format",
        Format::Manifest => "TensorFlow.js",
    };
    let count: usize = weights.entries().iter().map(Entry::count).sum();
    let others = match weights.others() {
        0 => String::new(),
        others => format!(", and {others} other objects"),
    };
    format!("tensors: {}, with {count} elements{others} ({format})", weights.entries().len())
}

fn print_match(network: &Match) -> Result<()> {
    if !network.prefix.is_empty() {
        output::text_lines(format_args!("names have the prefix `{}`", network.prefix))?;
    }
    for name in &network.missing {
        output::text_lines(format_args!("missing: {name}"))?;
    }
    for reshaped in &network.reshaped {
        output::text_lines(format_args!(
            "another shape: {} is {}, the network's {}",
            reshaped.name,
            shape(&reshaped.file),
            shape(&reshaped.network)
        ))?;
    }
    for name in &network.extra {
        output::text_lines(format_args!("extra: {name}"))?;
    }
    output::text_lines(format_args!(
        "{} parameters found, {} missing, {} with another shape; {} tensors are not of this network. (The last layer, \
         fc, may differ: it is initialised at random.)",
        network.found.len(),
        network.missing.len(),
        network.reshaped.len(),
        network.extra.len()
    ))
}

fn shape(sizes: &[usize]) -> String {
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    format!("[{}]", sizes.join(", "))
}
