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
    /// Time reading of voice, landmarks, frames and word vectors, and the loader's batches.
    Data(BenchDataArgs),
    /// Time the simulated GPU: a matrix product, checked on one thread and unchecked on all.
    Sim(BenchSimArgs),
}

/// The options of all benches.
#[derive(Debug, Clone, Default, Args)]
pub struct BenchArgs {
    /// Run only cases whose name begins with these parts, e.g. face or face/step; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Measurements of each case [default: as many as fit in the case's time].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: Option<u32>,
    /// On a GPU, list the kernels of each case too: launches in one run, and their time by events.
    #[arg(long)]
    pub kernels: bool,
    /// List the cases and exit.
    #[arg(long)]
    pub list: bool,
    /// A report that an earlier --json printed; each median is divided by the median in it.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Exit with code 5 if a case takes more than RATIO times as long as in the baseline, e.g. 1.1.
    #[arg(long, value_name = "RATIO", requires = "baseline")]
    pub fail_above: Option<f64>,
    /// The output format.
    #[command(flatten)]
    pub format: BenchFormat,
}

/// The output format of a bench; without any of these, a plain table.
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
    long_about = "Time single operations, forward (fwd) and backward (bwd), at the sizes of the paper's \
        networks. Channels are padded as in the engine; FLOPs are those of the operation's definition. `of floor` is the \
        roofline bound (peak and bandwidth are measured before and after the cases) divided by the median; it is above 1 \
        where Winograd does fewer operations or the data is in a cache. InfoNCE on 65,536 samples takes a minute and \
        runs only if --only names it. On a GPU, `device` is the time between two events on it, and launches and waits are \
        those of one run.",
    after_help = "\
Examples:
  mpuc bench ops
  mpuc bench ops --only sgemm --only conv3d/s1-1x3x3-64-144
  mpuc bench ops --only conv3d/r2plus1d --batch 8 --frames 16
      Every convolution of R(2+1)D-18: fwd, grad_input and grad_weight.
  mpuc bench ops --only infonce/n65536-d512
  mpuc bench ops --device cuda --only conv3d --kernels
  mpuc bench ops --sweep --csv > sweep.csv
  mpuc bench ops --json > before.json
  mpuc bench ops --baseline before.json --fail-above 1.1"
)]
pub struct BenchOpsArgs {
    /// The device: cpu, cuda, cuda:NUMBER, sim or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t = Choice::Cpu)]
    pub device: Choice,
    /// Clips in a batch, for conv3d/r2plus1d; commas for several.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "8")]
    pub batch: Vec<usize>,
    /// Frames of a clip, for conv3d/r2plus1d; commas for several.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "10")]
    pub frames: Vec<usize>,
    /// Instead, a few operations over sizes that double: where a launch, a cache, the bandwidth or the peak decides.
    #[arg(long)]
    pub sweep: bool,
    /// The options of all benches.
    #[command(flatten)]
    pub bench: BenchArgs,
}

/// `mpuc bench model`.
#[derive(Debug, Args)]
#[command(
    long_about = "Time each network of the paper and the whole of MPUC with four modalities, on random inputs: forward \
        (fwd), with gradients (fwd+bwd) and with the optimiser (step). Each network is trained with InfoNCE, a \
        512-1024-512 head and SGD. `fresh` counts allocations from the operating system after two warm-up steps; it \
        should be 0. `peak` is the peak memory of the program since the preparation of the case (VmHWM, Linux); run a \
        case alone for a figure without the cases before it. `of floor` is the time of the FLOPs at the measured peak, \
        divided by the median. On a GPU, `device` is the time between two events on it, `device MiB` the most memory \
        of tensors in use on it, and launches and waits are those of one run.",
    after_help = "\
Examples:
  mpuc bench model
  mpuc bench model --only text --only voice --repeats 20
  mpuc bench model --only mpuc/step --batch 4,8,16,32 --markdown
  mpuc bench model --only face/step --frames 8,16,32
  mpuc bench model --device cuda --only mpuc/step --kernels
  mpuc bench model --json > before.json
  mpuc bench model --baseline before.json --fail-above 1.1"
)]
pub struct BenchModelArgs {
    /// The device: cpu, cuda, cuda:NUMBER, sim or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t = Choice::Cpu)]
    pub device: Choice,
    /// Samples in a batch; commas for several.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "8")]
    pub batch: Vec<usize>,
    /// Frames of a face clip [default: 10]; commas for several. The case's name contains them: face/step/b8-t16.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub frames: Vec<usize>,
    /// The options of all benches.
    #[command(flatten)]
    pub bench: BenchArgs,
}

/// `mpuc bench data`.
#[derive(Debug, Args)]
#[command(
    long_about = "Time reading, on a small synthetic world in a temporary folder: WAV alone and with its mel \
        spectrogram, OpenFace landmarks, frames in npy, GloVe's vectors, and the loader's batches. Single files are \
        read on one thread; prepare and loader use as many threads as training. Files are in the page cache, not on \
        the disk.",
    after_help = "\
Examples:
  mpuc bench data
  mpuc bench data --only mel --only loader --json"
)]
pub struct BenchDataArgs {
    /// The options of all benches.
    #[command(flatten)]
    pub bench: BenchArgs,
}

/// `mpuc bench sim`.
#[derive(Debug, Args)]
pub struct BenchSimArgs {
    /// The options of all benches.
    #[command(flatten)]
    pub bench: BenchArgs,
}
