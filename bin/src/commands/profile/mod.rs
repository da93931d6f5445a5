//! `mpuc profile`: where the time of training steps goes.

mod launches;
mod pictures;
mod summary;
mod trace;

use crate::Context;
use crate::cli::ProfileArgs;
use crate::experiment::{self, Session, Training};
use crate::failure::{Failure, Result};
use crate::output;
use crate::run_folder::RunFolder;
use kernels::cpu::probe::Peak;
use kernels::gpu::nvtx;
use std::cell::OnceCell;
use std::path::Path;
use summary::Summary;

/// Runs `mpuc profile`.
///
/// # Errors
/// When the configuration, the data or a step fails, or a file cannot be written.
pub fn run(args: &ProfileArgs, context: &Context) -> Result<()> {
    let resolved = args.config.resolve(Vec::new())?;
    let device = args.device.open(&context.progress)?;
    // Before the steps: an error after them would come too late.
    if let Some(folder) = &args.out {
        can_write(folder)?;
    }
    let temporary = tempfile::tempdir()
        .map_err(|error| Failure::io("create a folder in", &std::env::temp_dir(), &error))?;
    let (run, _) = RunFolder::create(&temporary.path().join("run"), &resolved, false)?;
    let session = Session {
        resolved: &resolved,
        run: &run,
        device: &device,
        progress: &context.progress,
        stop: &context.stop,
        training: Training::Continue,
        donors: &[],
        announce: false,
        overall: OnceCell::new(),
    };
    if let Some(problem) = nvtx::problem() {
        output::note(problem);
    }
    let recorded = experiment::profile(&session, args.arm.as_deref(), usize::from(args.steps))?;
    // The peak is that of the CPU.
    let peak = device.gpu().is_none().then(Peak::measure);
    let summary = Summary::new(&recorded, &device, peak);
    if let Some(folder) = &args.out {
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).map_err(|error| Failure::io("write", &path, &error))
        };
        let json = serde_json::to_string_pretty(&summary).map_err(output::no_json)?;
        write("profile.json", json.as_bytes())?;
        write("trace.json", trace::chrome(&recorded)?.as_bytes())?;
        write("flame.svg", pictures::flame(&recorded)?.as_bytes())?;
        write("memory.svg", pictures::memory(&recorded).svg()?.as_bytes())?;
        if let Some(peak) = &peak {
            write("roofline.svg", pictures::roofline(&summary, peak).svg()?.as_bytes())?;
        }
        context.progress.line(format_args!("wrote {}", list(folder)));
    }
    match args.json {
        true => output::json(&summary)?,
        false => output::text_lines(summary.tables(args.depth))?,
    }
    match recorded.stopped {
        Some(reason) => Err(reason.saved(format_args!(
            "{} of {} steps were recorded",
            recorded.steps.len(),
            args.steps
        ))),
        None => Ok(()),
    }
}

/// The files of a profile.
const FILES: [&str; 5] = ["profile.json", "trace.json", "flame.svg", "memory.svg", "roofline.svg"];

/// Creates the folder; fails if one of the files cannot be written there. Files that exist keep their content.
fn can_write(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::io("create the folder", folder, &error))?;
    tempfile::tempfile_in(folder)
        .map_err(|error| Failure::io("create a file in", folder, &error))?;
    for path in FILES.map(|name| folder.join(name)) {
        if path.symlink_metadata().is_ok() {
            let opened = std::fs::OpenOptions::new().append(true).open(&path);
            opened.map_err(|error| Failure::io("write", &path, &error))?;
        }
    }
    Ok(())
}

fn list(folder: &Path) -> String {
    format!("{}: trace.json, profile.json, flame.svg and plots", folder.display())
}
