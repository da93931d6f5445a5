//! `mpuc profile`.

use super::ConfigArgs;
use crate::device::Choice;
use clap::Args;
use std::path::PathBuf;

/// `mpuc profile`.
#[derive(Debug, Args)]
#[command(
    long_about = "Record training steps of an arm on its own data: time, floating-point operations, bytes and memory of \
        every module and op, forward and backward.\n\n\
        Recorded steps alternate with others, so that the cost of the record is known. On the CPU the speed of each row \
        stands beside the roofline of this machine, measured in the same run. On a GPU a step's time is that of its \
        launches; the table of kernels has the time of the GPU itself. Nothing is trained to its end and no run folder is \
        touched.",
    after_help = "\
Examples:
  mpuc profile
      MPUC on the synthetic world: a table of modules, and of ops.
  mpuc profile --preset h5 --arm vavl --depth 4
      VAVL, down to the fourth level of its modules.
  mpuc profile --preset paper --data RAVDESS --steps 5 --out profiles/paper
      Also trace.json (open it in Perfetto), flame.svg, roofline.svg, memory.svg and profile.json.
  mpuc profile --preset smoke --device sim:fast
      On the simulated GPU: launches of every kernel."
)]
pub struct ProfileArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The device: auto (the first GPU, or the CPU), cpu, cuda, cuda:NUMBER, sim (a simulated GPU that checks
    /// every access) or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: Choice,
    /// The arm; without it mpuc, or else the first arm that trains.
    #[arg(long, value_name = "NAME")]
    pub arm: Option<String>,
    /// Recorded steps.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub steps: u16,
    /// Levels of modules in the table.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub depth: usize,
    /// A folder for trace.json, profile.json and the pictures.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the profile as one JSON object.
    #[arg(long)]
    pub json: bool,
}
