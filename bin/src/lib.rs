//! The `mpuc` program as a library: its binary only calls [`main`].

mod bundle;
mod cli;
mod commands;
mod config;
mod device;
mod experiment;
mod failure;
mod output;
mod panics;
mod plot;
mod progress;
mod published;
mod run_folder;
mod signals;
mod study;

use clap::Parser;
use clap::error::ErrorKind;
use data::plain::of_numbers;
use failure::{Failure, Kind, Result};
use progress::Progress;
use signals::Stop;
use std::process::ExitCode;

/// The context of every command, besides its arguments.
struct Context {
    /// The progress display.
    progress: Progress,
    /// The request to save and stop, which long work polls.
    stop: Stop,
}

/// Runs the command of the process's arguments and returns its exit code.
pub fn main() -> ExitCode {
    panics::install_panic_hook();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and versions go to standard output with code 0, errors to standard error with code 2.
            match error.kind() {
                ErrorKind::ValueValidation => {
                    output::note(format_args!("{}", of_numbers(&error.to_string()).trim_end()));
                }
                _ => drop(error.print()),
            }
            return ExitCode::from(if error.use_stderr() { Kind::Usage.code() } else { 0 });
        }
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(cli)));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            if failure.kind() != Kind::BrokenPipe {
                output::note(format_args!("mpuc: {failure}"));
            }
            ExitCode::from(failure.code())
        }
        // The panic hook has printed the message.
        Err(_) => ExitCode::from(Kind::Bug.code()),
    }
}

fn run(cli: cli::Cli) -> Result<()> {
    if let Some(threads) = cli.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build_global();
        pool.map_err(|error| {
            Failure::new(Kind::Other, format!("cannot start {threads} threads: {error}"))
        })?;
    }
    let context = Context { progress: Progress::new(cli.quiet), stop: Stop::install()? };
    commands::run(cli.command, context)
}
