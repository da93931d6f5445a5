//! `mpuc predict` and `mpuc embed`.

use crate::device::Choice;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// The bundle and the files of `mpuc predict` and `mpuc embed`.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// The run folder, or a bundle: a file below its folder `models`.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The arm; default: mpuc, or the first that trains a system.
    #[arg(long, value_name = "NAME")]
    pub arm: Option<String>,
    /// The seed; default: the first of the configuration.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The fold, from 1.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub fold: usize,
    /// The files of samples. Files whose names differ only in their endings are one sample; if no two files are of one
    /// modality, all are one sample. MODALITY=FILE says which modality a file is of.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<String>,
    /// The device: auto (the first GPU, or the CPU), cpu, cuda, cuda:NUMBER, sim or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: Choice,
}

/// `mpuc predict`.
#[derive(Debug, Args)]
#[command(
    long_about = "Predict the emotion of recordings with a trained run. The corpus is not needed.",
    after_help = "\
Examples:
  mpuc predict runs/quick-0123456789 clip.wav clip.csv clip.npy
      Voice, landmarks and faces of one clip.
  mpuc predict runs/quick-0123456789 --arm late_fusion --json a.wav b.wav
      Two clips of which the voice alone is known, as JSON."
)]
pub struct PredictArgs {
    /// The bundle and the files.
    #[command(flatten)]
    pub bundle: BundleArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc embed`.
#[derive(Debug, Args)]
#[command(
    long_about = "Compute the frozen features of recordings with a trained run. The corpus is not needed.",
    after_help = "\
Examples:
  mpuc embed runs/quick-0123456789 clip.wav clip.csv clip.npy --out clip.npy
      All features of one clip side by side, [1, features].
  mpuc embed runs/quick-0123456789 *.wav --out voices.safetensors
      One tensor a modality, [samples, features], with the samples' names in the metadata entry `ids`."
)]
pub struct EmbedArgs {
    /// The bundle and the files.
    #[command(flatten)]
    pub bundle: BundleArgs,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Its format; default: by the file's ending.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<EmbedFormat>,
}

/// The format of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EmbedFormat {
    /// NumPy: all modalities side by side, and the samples' names in FILE.ids.json.
    Npy,
    /// safetensors: one tensor a modality.
    Safetensors,
}
