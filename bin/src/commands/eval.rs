//! `mpuc eval`.

use crate::Context;
use crate::cli::EvalArgs;
use crate::failure::{Failure, Kind, Result};
use crate::run_folder::RunFolder;

/// Runs the command.
///
/// # Errors
/// Whatever evaluation ends with.
pub fn run(args: &EvalArgs, _context: Context) -> Result<()> {
    let (run, _) = RunFolder::open(&args.run)?;
    Err(Failure::new(Kind::Other, format!("{}: evaluation is not here yet", run.path().display())))
}
