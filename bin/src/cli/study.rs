//! `mpuc study`.

use super::duration;
use crate::device::Choice;
use crate::study::Job;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// `mpuc study`.
#[derive(Debug, Args)]
#[command(
    long_about = "Run a configuration on several data sets, under several conditions, with every seed and fold, and print \
        one table for each condition: means, deviations, paired differences with their intervals, and tests.\n\n\
        A study file is a configuration with a table [study]. Each cell (condition, data set, seed, fold) is a run of its \
        own in the study's folder. The same command continues a stopped study; a finished one is printed from its \
        results. It writes study.json, study.md, study.html and plots (SVG, PNG).\n\n\
        Built-in studies: h5 (five worlds in CMU-MOSEI's shape), hard (five in RAVDESS's shape), vavl (a missing modality), \
        world (the default world: three folds, three seeds).",
    after_help = "\
Examples:
  mpuc study mine.toml
  mpuc study mine.toml --jobs 4
      Four processes on this machine.
  mpuc study mine.toml --job $SLURM_ARRAY_TASK_ID/16
      One of sixteen jobs, e.g. of a Slurm array from 1 to 16; then `mpuc study mine.toml` merges the results.
  mpuc study mine.toml --print
      The table of the cells that are finished; nothing is trained.
  mpuc study mine.toml --into README.md
      Replaces the text between the lines <!-- study mine --> and <!-- end of study --> and names the figures that moved.
      <!-- study mine missing mpuc all --> takes the scores of the arm mpuc without a modality, under the condition all.
  mpuc study all --into README.md
      Every built-in study that has a section in the file; cells that are not finished are run first. With --print
      nothing is trained.

A study file:
  base = \"world\"
  arms = [\"untrained\", \"mpuc\", \"late_fusion\"]
  baseline = \"mpuc\"
  seeds = [0, 1]
  [study]
  title = \"Three worlds\"
  units = { key = \"data.world.seed\", values = [21, 22, 23] }
  [[study.conditions]]
  name = \"all\"
  [[study.conditions]]
  name = \"half\"
  settings = { data.missing.voice = 0.5 }"
)]
pub struct StudyArgs {
    /// A study file, the name of a built-in study, or `all`: those that have a section in the file of --into.
    #[arg(value_name = "STUDY")]
    pub study: PathBuf,
    /// The study's folder; runs/study-NAME without it. With `all`, the folder of these folders; runs without it.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// A single setting for every cell, e.g. training.epochs=10; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The device: auto (the first GPU, or the CPU), cpu, cuda, cuda:NUMBER, sim (a simulated GPU that checks
    /// every access) or sim:fast.
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: Choice,
    /// Number of processes on this machine; each has its share of the threads.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: u16,
    /// Run only this share of the cells: job K of N.
    #[arg(long, value_name = "K/N", conflicts_with = "jobs")]
    pub job: Option<Job>,
    /// Print the results of the finished cells; train nothing.
    #[arg(long, conflicts_with_all = ["jobs", "job", "fresh"])]
    pub print: bool,
    /// Start again: remove the runs of all cells.
    #[arg(long)]
    pub fresh: bool,
    /// Save and stop after this time, e.g. 90s, 30m, 2h15m.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub max_time: Option<Duration>,
    /// Write the tables into this file, between the study's two comment lines, and name the figures that moved.
    #[arg(long, value_name = "FILE", conflicts_with = "job")]
    pub into: Option<PathBuf>,
    /// Print tables in Markdown.
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}
