//! The command line: all commands and their options.

mod bench;
mod config;
mod faces;
mod predict;
mod profile;
mod study;
mod train;
mod weights;

pub use bench::*;
pub use config::*;
pub use faces::*;
pub use predict::*;
pub use profile::*;
pub use study::*;
pub use train::*;
pub use weights::*;

use crate::device::Choice;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use data::corpora::{FORMATS, Format};
use std::path::PathBuf;
use std::time::Duration;

/// Emotion recognition from voice, facial landmarks, faces and text: contrastive pretraining without labels, then a
/// small classifier on the frozen features.
#[derive(Debug, Parser)]
#[command(
    name = "mpuc",
    version,
    max_term_width = 110,
    after_help = "Start with `mpuc train`: it makes a small synthetic world, trains on it and prints a table.\n\
                  `mpuc COMMAND --help` describes a command, with examples."
)]
pub struct Cli {
    /// Number of threads [default: number of cores]. Results do not depend on it, only time does.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Print no progress on standard error, only errors and warnings.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Pretrain without labels, then evaluate the frozen features.
    Train(TrainArgs),
    /// Evaluate a trained run again, from its checkpoints.
    Eval(EvalArgs),
    /// Run a configuration on several data sets and under several conditions, and compare its arms.
    Study(StudyArgs),
    /// Predict the emotion of recordings with a trained run.
    Predict(PredictArgs),
    /// Compute the frozen features of recordings with a trained run.
    Embed(EmbedArgs),
    /// List the built-in configurations, or print one in full.
    Presets(PresetsArgs),
    /// Print the paper's tables with your runs beside its figures.
    Report(ReportArgs),
    /// Make, check and describe data.
    #[command(subcommand)]
    Data(DataCommand),
    /// List and remove cached features and synthetic worlds.
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Detect and track the face in videos: crops and 68 points.
    Faces(FacesArgs),
    /// Inspect and convert weights that PyTorch trained.
    #[command(subcommand)]
    Weights(WeightsCommand),
    /// Check every operation's gradients against central differences.
    Gradcheck(GradcheckArgs),
    /// Record training steps: time, work and memory of every module and op, as a table, a trace and pictures.
    Profile(ProfileArgs),
    /// Measure speed.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// List, compile, disassemble and simulate the CUDA kernels.
    #[command(subcommand)]
    Kernels(KernelsCommand),
    /// Print what this machine has, which devices work, and how to add what is missing.
    Doctor(DoctorArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
}

/// `mpuc report`.
#[derive(Debug, Args)]
#[command(
    long_about = "Print tables I to IV of the paper (Franceschini et al., ICPR 2022) with the figures of finished runs \
        beside its rows, and the protocol of each. A run is in a table only if it was trained on that table's corpus; a \
        synthetic world is in none. Cells without a run are empty.",
    after_help = "\
Examples:
  mpuc report --paper runs/ravdess runs/mosei
  mpuc report --paper --markdown runs/* > tables.md"
)]
pub struct ReportArgs {
    /// The tables of the paper.
    #[arg(long)]
    pub paper: bool,
    /// Run folders.
    #[arg(value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Print tables in Markdown.
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Print tables and runs as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc data ...`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Make a synthetic world with RAVDESS's or CMU-MOSEI's names and formats.
    Synth(SynthArgs),
    /// Read every file and report everything that is wrong.
    Check(CheckArgs),
    /// Decode all features into the cache, so that training only reads them.
    Prepare(PrepareArgs),
    /// Count samples, classes and groups, and summarise the features.
    Stats(StatsArgs),
}

/// `mpuc data synth`.
#[derive(Debug, Args)]
#[command(
    long_about = "Make a synthetic world: actors who perform eight emotions, with voice (WAV), facial landmarks \
        (OpenFace CSV) and face frames (.npy) in RAVDESS's folders and names, or as CMU-MOSEI's .csd files. Equal \
        settings give equal bytes on any machine; with --voice espeak only with the same espeak-ng on the same \
        machine. A folder that has this world already is not changed.",
    after_help = "\
Examples:
  mpuc data synth worlds/default
  mpuc data synth --shape mosei worlds/segments
  mpuc data synth --voice espeak worlds/spoken
  mpuc data synth worlds/hard --difficulty 1.5 --seed 3
  mpuc data synth worlds/tiny --actors 3 --clips 8 --set face_size=16
  mpuc data synth --shape mosei worlds/hard --set segments.slips=0.4 --set segments.absent_voice=0.15"
)]
pub struct SynthArgs {
    /// The folder to make.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The corpus whose names and formats it has.
    #[arg(long, default_value = "ravdess")]
    pub shape: Shape,
    /// The voice synthesiser; not with --shape mosei, which has no recordings.
    #[arg(long)]
    pub voice: Option<Voice>,
    /// Number of actors, 1 to 99; with --shape mosei one video for each.
    #[arg(long, value_name = "N")]
    pub actors: Option<usize>,
    /// Clips or segments of each actor, 1 to 60.
    #[arg(long, value_name = "N")]
    pub clips: Option<usize>,
    /// Seed of all random numbers.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Factor of all noise: 0 for prototypes without noise, 1 for the calibrated level.
    #[arg(long, value_name = "X")]
    pub difficulty: Option<f64>,
    /// Another setting of the world, e.g. identity=0.5 or segments.slips=0.4; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print what was made as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// The names and formats of a synthetic world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// RAVDESS: voice (WAV), facial landmarks (OpenFace CSV) and face frames (.npy) in its tree and names.
    Ravdess,
    /// CMU-MOSEI: words, voice, landmarks, faces and labels of videos as .csd files.
    Mosei,
}

/// The voice synthesiser of a synthetic world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Voice {
    /// Built in: pulses and noise through formant filters.
    Formants,
    /// espeak-ng, which must be installed; it speaks RAVDESS's two statements.
    Espeak,
}

/// The formats of corpora by name, for `--format`.
fn formats() -> impl TypedValueParser<Value = Format> {
    let value = |format: &Format| PossibleValue::new(format.name()).help(format.about());
    PossibleValuesParser::new(FORMATS.iter().map(value))
        .try_map(|name| Format::named(&name).ok_or("there is no such format"))
}

/// Where data is and how to read it, for `check` and `stats`.
#[derive(Debug, Args)]
pub struct DataSource {
    /// A folder with a corpus (files or archives), or a manifest.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Which corpus it is; recognised by file names without it.
    #[arg(long, value_parser = formats())]
    pub format: Option<Format>,
    /// Word vectors in GloVe's text format, for manifests with text.
    #[arg(long, value_name = "FILE")]
    pub vectors: Option<PathBuf>,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc data check`.
#[derive(Debug, Args)]
#[command(
    long_about = "Read every file of a data set and report all errors with file and line, and anomalies: performances \
        without a modality, by actor; counts that differ from the published ones; unusual lengths; duplicate files. \
        Exit code 65 when a file is bad, 66 when one is missing.",
    after_help = "\
Examples:
  mpuc data check /data/RAVDESS
      Speech and song, as downloaded archives or unpacked.
  mpuc data check /data/CREMA-D --format crema_d
  mpuc data check /data/CMU-MOSEI
  mpuc data check utterances.csv --vectors glove.6B.300d.txt --json"
)]
pub struct CheckArgs {
    /// The data.
    #[command(flatten)]
    pub source: DataSource,
}

/// `mpuc data prepare`.
#[derive(Debug, Args)]
#[command(
    long_about = "Decode all features of a configuration into the cache. `mpuc train` does the same when it starts. \
        Features that are in the cache are not decoded again.",
    after_help = "\
Examples:
  mpuc data prepare --preset paper --data /data/RAVDESS
  mpuc data prepare --config my.toml --set data.cache=/fast/disk"
)]
pub struct PrepareArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print what was done as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc data stats`.
#[derive(Debug, Args)]
#[command(
    long_about = "Count samples, classes and groups of a data set, and summarise durations and features.",
    after_help = "\
Examples:
  mpuc data stats worlds/default
  mpuc data stats utterances.csv --json"
)]
pub struct StatsArgs {
    /// The data.
    #[command(flatten)]
    pub source: DataSource,
}

/// `mpuc gradcheck`.
#[derive(Debug, Args)]
#[command(
    long_about = "Check every operation: gradients in f64 against central differences, f32 against f64, that every \
        element is written, and that added and written gradients are equal. Each operation is checked on its own cases \
        and on random ones; a failing random case is shrunk. On a GPU, real or simulated, values and gradients of the \
        CUDA kernels are compared with those of the CPU in f64. Exit code 4 when a check fails.",
    after_help = "\
Examples:
  mpuc gradcheck
  mpuc gradcheck --op conv3d --cases 200 --seed 7
  mpuc gradcheck --device sim
  mpuc gradcheck --device cuda
  mpuc gradcheck --json | jq '.ops[] | select(.findings > 0)'"
)]
pub struct GradcheckArgs {
    /// The device: cpu, sim (the CUDA kernels on a simulated GPU that checks every access), cuda or
    /// cuda:NUMBER.
    #[arg(long, value_name = "DEVICE", default_value_t = Choice::Cpu)]
    pub device: Choice,
    /// Check only this operation; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub op: Vec<String>,
    /// Number of random cases of each operation, in addition to its own cases.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub cases: u32,
    /// Seed of the random cases and numbers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc kernels ...`.
#[derive(Debug, Subcommand)]
pub enum KernelsCommand {
    /// List the kernels with their registers, spills and shared memory.
    List(KernelsListArgs),
    /// Compile the kernels with NVRTC and compare their resources with the budget.
    Compile(KernelsCompileArgs),
    /// Print a program's machine code.
    Sass(KernelsSassArgs),
    /// Run an operation's cases on the simulated GPU and count instructions and memory traffic.
    Sim(KernelsSimArgs),
    /// Model the time of the kernels on GPUs that need not be there.
    Model(KernelsModelArgs),
}

/// `mpuc kernels list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Registers, spilled bytes and shared memory are those of the committed budget; nothing is compiled."
)]
pub struct KernelsListArgs {
    /// The GPU architecture.
    #[arg(long, value_name = "ARCH", default_value = "sm_90")]
    pub arch: String,
    /// Print the list as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc kernels compile`.
#[derive(Debug, Args)]
#[command(
    long_about = "Compile every kernel with NVRTC, for the simulator (PTX) and for GPUs (sm_80, sm_90, sm_100), and \
        compare registers, spilled bytes and shared memory with the committed budget. Exit code 4 when a kernel exceeds \
        it, 69 without NVRTC.",
    after_help = "\
Examples:
  mpuc kernels compile
  mpuc kernels compile --op conv3d
  mpuc kernels compile --commit
      In the repository, after a change of a kernel: writes kernels/ptx."
)]
pub struct KernelsCompileArgs {
    /// Compile only this operation's program; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub op: Vec<String>,
    /// Write the PTX and the budget into kernels/ptx of the repository that is the current folder.
    #[arg(long, conflicts_with = "op")]
    pub commit: bool,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc kernels sass`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mpuc kernels sass linear
  mpuc kernels sass conv3d --arch sm_80 | less

Needs NVRTC and nvdisasm (`pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm`).")]
pub struct KernelsSassArgs {
    /// The operation.
    #[arg(value_name = "OP")]
    pub op: String,
    /// The GPU architecture.
    #[arg(long, value_name = "ARCH", default_value = "sm_90")]
    pub arch: String,
}

/// `mpuc kernels sim`.
#[derive(Debug, Args)]
#[command(
    long_about = "Run an operation's cases, forward and backward, on the simulated GPU with every check. Print executed \
        instructions, the fraction of active lanes, memory sectors and shared-memory wavefronts, by kernel and by source \
        line. The counts come from a model of the hardware; they are not times.",
    after_help = "\
Examples:
  mpuc kernels sim linear
  mpuc kernels sim info_nce --lines 20"
)]
pub struct KernelsSimArgs {
    /// The operation.
    #[arg(value_name = "OP")]
    pub op: String,
    /// Number of source lines to print for each kernel, the most executed first.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub lines: usize,
    /// Print the counts as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc kernels model`.
#[derive(Debug, Args)]
#[command(
    long_about = "Model the time of kernels on GPUs: of a training step of MPUC with four modalities, of an operation's test \
        cases, or of every kernel. The simulator runs some blocks of each launch; their machine instructions by unit, \
        wavefronts, distinct bytes and critical path stand for the grid. Each resource of the GPU's data sheet needs some \
        time for these; the launch takes the longest, and that resource is its limiter. `of roof` is the time of the \
        operations at the f32 peak, or of the bytes at the memory's bandwidth, over the modelled time. Everything is a \
        model; with --device cuda the measured time stands beside it.",
    after_help = "\
Examples:
  mpuc kernels model
  mpuc kernels model --batch 32 --frames 8 --gpu h100
  mpuc kernels model conv3d --gpu a100,h100
  mpuc kernels model --all
      Compares every kernel with kernels/ptx/model.csv; exit code 4 when one takes a tenth longer.
  mpuc kernels model --all --commit
      In the repository, after a change of a kernel: writes that file.
  mpuc kernels model --device cuda --gpu h200"
)]
pub struct KernelsModelArgs {
    /// The operation; without one, a training step of MPUC.
    #[arg(value_name = "OP", conflicts_with = "all")]
    pub op: Option<String>,
    /// Every kernel, at the largest of the operations' test cases, against the budget.
    #[arg(long)]
    pub all: bool,
    /// Write the modelled times into kernels/ptx of the repository that is the current folder.
    #[arg(long, requires = "all")]
    pub commit: bool,
    /// The GPUs: a100, h100, h200, b200 [default: all]; commas for several.
    #[arg(long, value_name = "GPU", value_delimiter = ',')]
    pub gpu: Vec<String>,
    /// Samples in a batch of the step.
    #[arg(long, value_name = "N", default_value_t = 8, conflicts_with_all = ["op", "all"])]
    pub batch: usize,
    /// Frames of a face clip of the step.
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with_all = ["op", "all"])]
    pub frames: usize,
    /// A device to measure beside the model: cuda, cuda:NUMBER or sim:fast.
    #[arg(long, value_name = "DEVICE", conflicts_with = "all")]
    pub device: Option<Choice>,
    /// Print the table as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print the findings as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mpuc completions bash > ~/.local/share/bash-completion/completions/mpuc
  mpuc completions zsh > ~/.zfunc/_mpuc
  mpuc completions fish > ~/.config/fish/completions/mpuc.fish")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `mpuc presets`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mpuc presets
  mpuc presets paper > my.toml
      A complete configuration to start from: `mpuc train --config my.toml`.")]
pub struct PresetsArgs {
    /// The preset to print in full, with the source of each value.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// `mpuc cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List cached features and synthetic worlds, with size and age.
    List(CacheListArgs),
    /// Remove cached features and synthetic worlds; they are made again when they are needed.
    Clean(CacheCleanArgs),
}

/// `mpuc cache list`.
#[derive(Debug, Args)]
pub struct CacheListArgs {
    /// Print the list as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// `mpuc cache clean`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mpuc cache clean --older-than 30d
  mpuc cache clean")]
pub struct CacheCleanArgs {
    /// Only what was written before this time, e.g. 12h, 30d.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub older_than: Option<Duration>,
}

/// A time with its unit.
///
/// # Errors
/// What is expected instead.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "expected a number with its unit: 90s, 30m, 2h15m or 30d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_read() {
        let cli = Cli::parse_from([
            "mpuc",
            "train",
            "--seeds",
            "0,1",
            "--max-time",
            "2h15m",
            "--threads",
            "3",
        ]);
        let Command::Train(train) = cli.command else { panic!() };
        assert_eq!((train.seeds, cli.threads), (Some(vec![0, 1]), Some(3)));
        assert_eq!(train.max_time, Some(Duration::from_secs(8100)));
        assert!(Cli::try_parse_from(["mpuc", "train", "--threads", "0"]).is_err());
        for (value, accepted) in [("soon", false), ("3", false), ("", false), ("1d 2h", true)] {
            let parsed = Cli::try_parse_from(["mpuc", "cache", "clean", "--older-than", value]);
            let says = |error: clap::Error| error.to_string().contains("a number with its unit");
            assert_eq!(parsed.map_err(says).err(), (!accepted).then_some(true), "{value}");
        }
    }
}
