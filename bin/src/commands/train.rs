//! `mpuc train`.

use crate::Context;
use crate::cli::TrainArgs;
use crate::config::{Layers, Resolved, path_value};
use crate::experiment::{self, Session};
use crate::failure::{Failure, Result};
use crate::output;
use crate::run_folder::{Found, RunFolder};
use toml::Value;

/// The configuration a command line asks for.
///
/// # Errors
/// See [`Resolved::new`].
pub fn resolve(args: &TrainArgs) -> Result<Resolved> {
    let mut flags = Vec::new();
    if let Some(path) = &args.data {
        flags.push(("--data", "data.path", path_value("--data", path)?));
    }
    if let Some(seeds) = &args.seeds {
        let seed = |&seed: &u64| i64::try_from(seed).map(Value::Integer);
        let seeds = seeds.iter().map(seed).collect::<std::result::Result<_, _>>();
        let seeds = seeds.map_err(|_| Failure::config("--seeds: a seed must be less than 2^63"))?;
        flags.push(("--seeds", "seeds", Value::Array(seeds)));
    }
    Resolved::new(&Layers {
        preset: args.preset.as_deref(),
        file: args.config.as_deref(),
        set: &args.set,
        flags,
    })
}

/// Runs the command.
///
/// # Errors
/// Whatever training ends with.
pub fn run(args: &TrainArgs, context: Context) -> Result<()> {
    let resolved = resolve(args)?;
    let device = args.device.open(&context.progress)?;
    let path = match &args.out {
        Some(path) => path.clone(),
        None => RunFolder::default_path(&resolved)?,
    };
    let stop = context.stop.within(args.max_time);
    let (run, found) = RunFolder::create(&path, &resolved, args.fresh)?;
    if found == Found::Existing {
        context.progress.line(format_args!("going on with the run in {}", path.display()));
    }
    let session = Session {
        resolved: &resolved,
        run: &run,
        device: &device,
        progress: &context.progress,
        stop: &stop,
    };
    let report = experiment::run(&session)?;
    if args.json { output::json(&report) } else { output::text_lines(report) }
}
