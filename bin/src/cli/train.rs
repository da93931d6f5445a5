//! `mpuc train` and `mpuc eval`.

use super::{ConfigArgs, duration};
use crate::device::Choice;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// `mpuc train`.
#[derive(Debug, Args)]
#[command(
    long_about = "Pretrain without labels, then evaluate the frozen features.\n\n\
        The configuration is a preset; settings of a file, then of --set and the other flags replace those of the \
        preset. All results are in the run folder. The same command continues a stopped run. Ctrl-C saves and stops; \
        a second Ctrl-C stops without saving.",
    after_help = "\
Examples:
  mpuc train
      One fold and one seed of the synthetic world: a first look.
  mpuc train --preset world
      Three folds and three seeds of the synthetic world, with all controls.
  mpuc train --preset paper --data /data/RAVDESS --out runs/ravdess
      The paper's recipe on RAVDESS.
  mpuc train --preset mosei --data /data/CMU-MOSEI
      Six emotions of CMU-MOSEI's segments, from the SDK's .csd files.
  mpuc train --set training.epochs=10 --set sampling.sampler=within_group
      Single settings; `key=` removes an optional one.
  mpuc train --config my.toml --seeds 0,1,2 --max-time 2h
      A file of settings. Saves and stops after two hours (exit code 75); the same command continues.

Presets: quick (the default), smoke (seconds), world, hard, h5, paper, authors, mosei, mosei_cae, mosei_smoke
(seconds).
A file may have `base = \"world\"` and only the settings that differ. The run folder's config.toml lists every setting
and its source."
)]
pub struct TrainArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The run folder; runs/PRESET-HASH without it.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The device: auto (the first GPU, or the CPU), cpu, cuda, cuda:NUMBER, sim (a simulated GPU that checks
    /// every access) or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: Choice,
    /// Seeds, with commas between them; sets seeds.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub seeds: Option<Vec<u64>>,
    /// Print the results as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Start again: remove the files of a run in the folder.
    #[arg(long)]
    pub fresh: bool,
    /// Train on at most this number of samples of each fold, drawn at random; sets limit_train.
    #[arg(long, value_name = "N")]
    pub limit_train: Option<u32>,
    /// Train on the first N batches again and again, without a validation part: the loss of a system that works
    /// falls to almost nothing; sets overfit_batches.
    #[arg(long, value_name = "N")]
    pub overfit_batches: Option<u32>,
    /// Prepare the data, print what would be trained (arms, parameters, memory, steps), and stop.
    #[arg(long)]
    pub dry_run: bool,
    /// Save and stop after this time, e.g. 90s, 30m, 2h15m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub max_time: Option<Duration>,
}

/// `mpuc eval`.
#[derive(Debug, Args)]
#[command(
    long_about = "Evaluate a trained run again, from its checkpoints: probes, retrieval, confusion matrices.",
    after_help = "\
Examples:
  mpuc eval runs/quick-1f2e3d4c5b
  mpuc eval runs/ravdess --json > ravdess.json"
)]
pub struct EvalArgs {
    /// The run folder.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// The device: auto (the first GPU, or the CPU), cpu, cuda, cuda:NUMBER, sim (a simulated GPU that checks
    /// every access) or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: Choice,
    /// Evaluate networks whose training was stopped before its end; without it that is an error (exit code 75).
    #[arg(long)]
    pub unfinished: bool,
    /// Print the results as one JSON object.
    #[arg(long)]
    pub json: bool,
}
