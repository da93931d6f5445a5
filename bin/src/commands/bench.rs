//! `mpuc bench model`.

use crate::Context;
use crate::cli::BenchModelArgs;
use crate::failure::Result;

pub fn run(_args: &BenchModelArgs, _context: &Context) -> Result<()> {
    Ok(())
}
