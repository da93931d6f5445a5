//! `mpuc train`: trains and evaluates the arms of a configuration.

use crate::Context;
use crate::cli::TrainArgs;
use crate::config::Resolved;
use crate::experiment::{self, Session, Training};
use crate::failure::{Failure, Result};
use crate::output;
use crate::progress::Progress;
use crate::run_folder::{Found, RunFolder};
use crate::signals::Stop;
use engine::Device;
use std::cell::OnceCell;
use std::sync::Arc;
use toml::Value;

/// The configuration of a command line.
///
/// # Errors
/// See [`Resolved::new`].
pub fn resolve(args: &TrainArgs) -> Result<Resolved> {
    let mut flags = Vec::new();
    if let Some(seeds) = &args.seeds {
        let seed = |&seed: &u64| i64::try_from(seed).map(Value::Integer);
        let seeds = seeds.iter().map(seed).collect::<std::result::Result<_, _>>();
        let seeds = seeds.map_err(|_| Failure::config("--seeds: a seed must be less than 2^63"))?;
        flags.push(("--seeds", "seeds", Value::Array(seeds)));
    }
    let limits = [
        ("--limit-train", "limit_train", args.limit_train),
        ("--overfit-batches", "overfit_batches", args.overfit_batches),
    ];
    for (flag, key, limit) in limits {
        flags.extend(limit.map(|limit| (flag, key, Value::Integer(i64::from(limit)))));
    }
    args.config.resolve(flags)
}

/// Runs `mpuc train`.
///
/// # Errors
/// When the configuration, the data or training fails, or the run was stopped.
pub fn run(args: &TrainArgs, context: Context) -> Result<()> {
    let resolved = resolve(args)?;
    let device = args.device.open(&context.progress)?;
    let path = match &args.out {
        Some(path) => path.clone(),
        None => RunFolder::default_path(&resolved)?,
    };
    let stop = context.stop.within(args.max_time);
    if args.dry_run {
        return dry_run(args, &resolved, &device, &context.progress, &stop);
    }
    let (run, found) = RunFolder::create(&path, &resolved, args.fresh)?;
    if let Some(status) = run.status() {
        stop.note_end_in(Arc::clone(status));
    }
    match found {
        Found::New => {}
        Found::Existing => {
            context.progress.line(format_args!("continuing the run in {}", path.display()));
        }
        Found::Cleared(left) => {
            context.progress.line(format_args!("removed the run in {}", path.display()));
            for file in left {
                context
                    .progress
                    .line(format_args!("left in place, not of a run: {}", file.display()));
            }
        }
    }
    let session = Session {
        resolved: &resolved,
        run: &run,
        device: &device,
        progress: &context.progress,
        stop: &stop,
        training: Training::Continue,
        donors: &[],
        announce: true,
        overall: OnceCell::new(),
    };
    let report = experiment::run(&session)?;
    if args.json { output::json(&report) } else { output::text_lines(report) }
}

/// Prints what a run would do. Its folder is temporary, so that no run is touched.
fn dry_run(
    args: &TrainArgs,
    resolved: &Resolved,
    device: &Device,
    progress: &Progress,
    stop: &Stop,
) -> Result<()> {
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::io("create a folder in", &std::env::temp_dir(), &error))?;
    let (run, _) = RunFolder::create(&folder.path().join("run"), resolved, false)?;
    let training = Training::Continue;
    let overall = OnceCell::new();
    let (announce, donors) = (false, &[][..]);
    let run = &run;
    let session =
        Session { resolved, run, device, progress, stop, training, donors, announce, overall };
    let preview = experiment::preview(&session)?;
    if args.json { output::json(&preview) } else { output::text_lines(preview) }
}
