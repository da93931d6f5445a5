//! `mpuc study --jobs N`: the cells on several processes of this machine.

use crate::Context;
use crate::cli::StudyArgs;
use crate::config::Study;
use crate::failure::{Failure, Kind, Result};
use crate::signals::Stop;
use crate::study::{finished, groups};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Time between two looks at the processes.
const INTERVAL: Duration = Duration::from_millis(100);
/// Time between two counts of finished cells.
const COUNTING: Duration = Duration::from_secs(5);

/// Starts the processes and waits until all have ended. Each prints its own warnings.
///
/// # Errors
/// When a process cannot be started or fails, or a stop was requested and every process has saved its work.
pub fn run(
    args: &StudyArgs,
    name: &Path,
    study: &Study,
    folder: &Path,
    context: &Context,
    stop: &Stop,
) -> Result<()> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Kind::Other, format!("cannot find this program: {error}")))?;
    // Cells that share networks are of one job.
    let most = groups(study)?.into_iter().max().map_or(1, |last| last + 1);
    let jobs = usize::from(args.jobs).min(most);
    let threads = (rayon::current_num_threads() / jobs).max(1);
    let start = |number: usize| -> Result<Child> {
        let mut command = Command::new(&program);
        command.args(["study", "--quiet", "--threads", &threads.to_string()]);
        command.args(["--job", &format!("{number}/{jobs}"), "--device", &args.device.to_string()]);
        command.arg("--out").arg(folder);
        command.args(args.set.iter().flat_map(|set| ["--set", set]));
        if args.fresh {
            command.arg("--fresh");
        }
        command.arg("--").arg(name).stdin(Stdio::null()).stdout(Stdio::null());
        command
            .spawn()
            .map_err(|error| Failure::new(Kind::Other, format!("cannot start a process: {error}")))
    };
    // The processes save their work when they are stopped; this one waits for them.
    let saving = stop.saving();
    let mut children = Children(Vec::new());
    for number in 1..=jobs {
        children.0.push((number, start(number)?));
    }
    let task = context.progress.task("cells", study.cells.len() as u64);
    let (mut first, mut told, mut counted) = (None, false, None::<Instant>);
    while !children.0.is_empty() {
        if stop.asked().is_some() && !told {
            children.stop();
            told = true;
        }
        for (number, code) in children.ended()? {
            if code != 0 {
                first.get_or_insert((number, code));
            }
        }
        if counted.is_none_or(|at| at.elapsed() >= COUNTING) {
            task.tick(finished(folder, study)?.len() as u64, "");
            counted = Some(Instant::now());
        }
        std::thread::sleep(INTERVAL);
    }
    drop(saving);
    if let Some(reason) = stop.asked() {
        return Err(reason.saved("the same command continues"));
    }
    match first {
        None => Ok(()),
        Some((number, code)) => {
            let what =
                format!("job {number}/{jobs} failed with exit code {code}; its message is above");
            Err(Failure::new(Kind::of_code(code), what)
                .hint("what is finished is kept; the same command continues"))
        }
    }
}

/// The processes that run, by the number of their job. They are stopped when this value is dropped early.
struct Children(Vec<(usize, Child)>);

impl Children {
    /// Asks every process to save and stop.
    fn stop(&mut self) {
        for (_, child) in &mut self.0 {
            #[cfg(unix)]
            if let Ok(process) = libc::pid_t::try_from(child.id()) {
                // SAFETY: a signal to a child that was not waited for yet, so its number is still its own.
                unsafe { libc::kill(process, libc::SIGTERM) };
            }
            // What is saved then is the last checkpoint.
            #[cfg(not(unix))]
            let _ = child.kill();
        }
    }

    /// The jobs that have ended since the last call, with their exit codes.
    fn ended(&mut self) -> Result<Vec<(usize, u8)>> {
        let mut ended = Vec::new();
        for (number, child) in &mut self.0 {
            let status = child.try_wait().map_err(|error| {
                Failure::new(Kind::Other, format!("cannot wait for job {number}: {error}"))
            })?;
            if let Some(status) = status {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                ended.push((*number, code.unwrap_or(Kind::Other.code())));
            }
        }
        self.0.retain(|(number, _)| ended.iter().all(|(other, _)| other != number));
        Ok(ended)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.stop();
    }
}
