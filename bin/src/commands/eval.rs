//! `mpuc eval`: evaluates a run again, from its checkpoints.

use crate::Context;
use crate::cli::EvalArgs;
use crate::experiment::{self, Session, Training};
use crate::failure::Result;
use crate::output;
use crate::run_folder::RunFolder;

/// Runs `mpuc eval`.
///
/// # Errors
/// When the run or its data is missing or has changed, or a checkpoint is damaged.
pub fn run(args: &EvalArgs, context: Context) -> Result<()> {
    let (run, resolved) = RunFolder::read(&args.run)?;
    let device = args.device.open(&context.progress)?;
    let session = Session {
        resolved: &resolved,
        run: &run,
        device: &device,
        progress: &context.progress,
        stop: &context.stop,
        training: Training::Restore { unfinished: args.unfinished },
        donors: &[],
        announce: true,
        overall: std::cell::OnceCell::new(),
    };
    let report = experiment::judge_again(&session)?;
    if args.json { output::json(&report) } else { output::text_lines(report) }
}
