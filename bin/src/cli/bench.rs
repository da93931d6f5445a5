//! `mpuc bench`.

use crate::device::Choice;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `mpuc bench ...`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time single operations, forward and backward.
    Ops(BenchOpsArgs),
    /// Time the networks: forward, forward and backward, and a whole training step.
    Model(BenchModelArgs),
    /// Time reading: voice, landmarks, frames, word vectors, and the loader's batches.
    Data(BenchDataArgs),
    /// Time the simulated GPU: a matrix product, checked on one thread and unchecked on all.
    Sim(BenchSimArgs),
}

/// What all benches take.
#[derive(Debug, Clone, Default, Args)]
pub struct BenchArgs {
    /// Only cases whose name begins with these parts, e.g. face or face/step; may be given many times.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Measurements of each case; by time without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: Option<u32>,
    /// List the cases and stop.
    #[arg(long)]
    pub list: bool,
    /// What an earlier --json printed: its medians are what these are divided by.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Exit with code 5 if a case takes more than this many times as long as in the baseline, e.g. 1.1.
    #[arg(long, value_name = "RATIO", requires = "baseline")]
    pub fail_above: Option<f64>,
    /// How the results are printed.
    #[command(flatten)]
    pub format: BenchFormat,
}

/// How the results of a bench are printed; a table for people without any.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub struct BenchFormat {
    /// Print the results as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Print the results as CSV, one column for each of JSON's fields.
    #[arg(long)]
    pub csv: bool,
    /// Print the results as a table in Markdown.
    #[arg(long)]
    pub markdown: bool,
}

/// `mpuc bench ops`.
#[derive(Debug, Args)]
#[command(
    long_about = "Time single operations on the CPU, forward (fwd) and backward (bwd), at the sizes of the paper's \
        networks. Channels are as the engine stores them, FLOPs those of the operation's definition. `of floor` is the \
        least time that the arithmetic or the memory traffic could take (multiply-adds and bandwidth are measured before \
        and after), divided by the median; it is above 1 where Winograd does fewer operations or a cache holds the data. \
        A contrastive loss on 65,536 samples takes a minute and runs only if named.",
    after_help = "\
Examples:
  mpuc bench ops
  mpuc bench ops --only sgemm --only conv3d/s1-1x3x3-64-144
  mpuc bench ops --only conv3d/r2plus1d --batch 8 --frames 16
      Every convolution of R(2+1)D-18: fwd, grad_input and grad_weight.
  mpuc bench ops --only infonce/n65536-d512
  mpuc bench ops --json > before.json
  mpuc bench ops --baseline before.json --fail-above 1.1"
)]
pub struct BenchOpsArgs {
    /// Clips in a batch, for conv3d/r2plus1d; commas for several.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "8")]
    pub batch: Vec<usize>,
    /// Frames of a clip, for conv3d/r2plus1d; commas for several.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "10")]
    pub frames: Vec<usize>,
    /// What all benches take.
    #[command(flatten)]
    pub bench: BenchArgs,
}

/// `mpuc bench model`.
#[derive(Debug, Args)]
#[command(
    long_about = "Time each network of the paper and the whole of MPUC with four modalities, on random inputs: forward \
        (fwd), with gradients (fwd+bwd) and with the optimiser (step). Each network learns by InfoNCE through a \
        512-1024-512 head and SGD. After two warm-up steps a step must get no fresh memory from the operating system; \
        how often it did is printed. `peak` is the most memory that the program had at once since the case began to be \
        made ready (VmHWM, Linux): run a case alone for a figure that owes nothing to the ones before. `of floor` is \
        the time that the FLOPs would take at the measured peak of multiply-adds, divided by the median.",
    after_help = "\
Examples:
  mpuc bench model
  mpuc bench model --only text --only voice --repeats 20
  mpuc bench model --only mpuc/step --batch 4,8,16,32 --markdown
  mpuc bench model --only face/step --frames 8,16,32
  mpuc bench model --device cuda
  mpuc bench model --json > before.json
  mpuc bench model --baseline before.json --fail-above 1.1"
)]
pub struct BenchModelArgs {
    /// Where to compute: cpu, cuda, cuda:NUMBER, sim or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t = Choice::Cpu)]
    pub device: Choice,
    /// Samples in a batch; commas for several.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "8")]
    pub batch: Vec<usize>,
    /// Frames of a clip of faces, 10 without it; commas for several. Named in the case: face/step/b8-t16.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub frames: Vec<usize>,
    /// What all benches take.
    #[command(flatten)]
    pub bench: BenchArgs,
}

/// `mpuc bench data`.
#[derive(Debug, Args)]
#[command(
    long_about = "Time reading, on a small made-up world in a temporary folder: WAV alone and with its mel spectrogram, \
        OpenFace landmarks, frames in npy, GloVe's vectors, and the loader's batches. Single files are read on one \
        thread; prepare and loader use as many as in training. Files come from the page cache, not from the disk.",
    after_help = "\
Examples:
  mpuc bench data
  mpuc bench data --only mel --only loader --json"
)]
pub struct BenchDataArgs {
    /// What all benches take.
    #[command(flatten)]
    pub bench: BenchArgs,
}

/// `mpuc bench sim`.
#[derive(Debug, Args)]
pub struct BenchSimArgs {
    /// What all benches take.
    #[command(flatten)]
    pub bench: BenchArgs,
}
