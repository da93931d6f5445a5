//! `mpuc eval`.

use crate::Context;
use crate::cli::EvalArgs;
use crate::experiment::{Material, Report, Session, judge_again};
use crate::failure::Result;
use crate::output;
use crate::run_folder::RunFolder;
use std::time::Instant;

/// Runs the command.
///
/// # Errors
/// When the run or its data is not there, or a checkpoint is damaged.
pub fn run(args: &EvalArgs, context: Context) -> Result<()> {
    let started = Instant::now();
    let (run, resolved) = RunFolder::open(&args.run)?;
    let device = args.device.open(&context.progress)?;
    let session = Session {
        resolved: &resolved,
        run: &run,
        device: &device,
        progress: &context.progress,
        stop: &context.stop,
    };
    let material = Material::open(&resolved, &context.progress, &context.stop)?;
    material.hold_to(&run)?;
    let mut results = Vec::new();
    for &seed in &resolved.config.seeds {
        for fold in 0..material.splits.len() {
            results.push(judge_again(&session, &material, seed, fold)?);
            if let Some(reason) = context.stop.asked() {
                return Err(reason.saved("nothing was changed"));
            }
        }
    }
    let stamp = material.stamp(&resolved, &device)?;
    let elapsed = started.elapsed().as_secs_f64();
    let report = Report::new(&results, &material.classes, stamp, run.path(), elapsed);
    if args.json { output::json(&report) } else { output::text_lines(report) }
}
