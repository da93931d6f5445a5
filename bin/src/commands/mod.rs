//! The commands, one file for each.

mod bench;
mod cache;
mod check;
mod data;
mod doctor;
mod embed;
mod eval;
mod faces;
mod gradcheck;
mod kernels;
mod predict;
mod prepare;
mod presets;
mod profile;
mod report;
mod stats;
mod study;
mod train;
mod weights;

use crate::Context;
use crate::cli::{
    BenchCommand, CacheCommand, Cli, Command, DataCommand, KernelsCommand, WeightsCommand,
};
use crate::failure::Result;
use clap::CommandFactory;

/// Runs a command.
///
/// # Errors
/// The error with which the command ends.
pub fn run(command: Command, context: Context) -> Result<()> {
    match command {
        Command::Train(args) => train::run(&args, context),
        Command::Eval(args) => eval::run(&args, context),
        Command::Study(args) => study::run(&args, &context),
        Command::Predict(args) => predict::run(&args, &context),
        Command::Embed(args) => embed::run(&args, &context),
        Command::Presets(args) => presets::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Data(DataCommand::Synth(args)) => data::synth(&args, &context),
        Command::Data(DataCommand::Check(args)) => check::run(&args, &context),
        Command::Data(DataCommand::Prepare(args)) => prepare::run(&args, &context),
        Command::Data(DataCommand::Stats(args)) => stats::run(&args, &context),
        Command::Cache(CacheCommand::List(args)) => cache::list(&args),
        Command::Cache(CacheCommand::Clean(args)) => cache::clean(&args, &context),
        Command::Faces(args) => faces::run(&args, &context),
        Command::Weights(WeightsCommand::Inspect(args)) => weights::inspect(&args),
        Command::Weights(WeightsCommand::Convert(args)) => weights::convert(&args),
        Command::Gradcheck(args) => gradcheck::run(&args, &context),
        Command::Profile(args) => profile::run(&args, &context),
        Command::Bench(BenchCommand::Ops(args)) => bench::ops(&args, &context),
        Command::Bench(BenchCommand::Model(args)) => bench::model(&args, &context),
        Command::Bench(BenchCommand::Data(args)) => bench::data(&args, &context),
        Command::Bench(BenchCommand::Sim(args)) => bench::simulator(&args, &context),
        Command::Kernels(KernelsCommand::List(args)) => kernels::list(&args),
        Command::Kernels(KernelsCommand::Compile(args)) => kernels::compile(&args, &context),
        Command::Kernels(KernelsCommand::Sass(args)) => kernels::sass(&args),
        Command::Kernels(KernelsCommand::Sim(args)) => kernels::simulate(&args),
        Command::Kernels(KernelsCommand::Model(args)) => kernels::model(&args, &context),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "mpuc", &mut script);
            crate::output::text_lines(String::from_utf8_lossy(&script).trim_end())
        }
    }
}
