//! Child processes whose standard output is read: no shell, no terminal, killed after a time limit.

use std::io::Read;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Largest part of standard error that is read, in bytes; the pipe is closed after it.
const MOST_COMPLAINTS: u64 = 1 << 16;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    Badly,
    TooLate,
}

/// A running process.
pub(crate) struct Running {
    child: Arc<Mutex<Child>>,
    done: Sender<()>,
    watch: JoinHandle<bool>,
    told: JoinHandle<String>,
}

impl Running {
    /// Starts a process that is killed after `most_time`, and returns the pipe of its standard output.
    ///
    /// # Errors
    /// The error of the operating system; `NotFound` when the program does not exist.
    pub(crate) fn start(
        command: &mut Command,
        most_time: Duration,
    ) -> std::io::Result<(Self, ChildStdout)> {
        // A process group of its own: Ctrl-C must not reach the child directly.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let pipes = child.stdout.take().zip(child.stderr.take());
        let (output, complaints) =
            pipes.ok_or_else(|| std::io::Error::other("the program has no pipes"))?;
        let told = std::thread::spawn(move || {
            let mut told = Vec::new();
            let _ = complaints.take(MOST_COMPLAINTS).read_to_end(&mut told);
            String::from_utf8_lossy(&told).into_owned()
        });
        let child = Arc::new(Mutex::new(child));
        let (done, wait) = channel();
        let watched = child.clone();
        let watch = std::thread::spawn(move || {
            let late = wait.recv_timeout(most_time) == Err(RecvTimeoutError::Timeout);
            if late {
                let _ = watched.lock().unwrap_or_else(PoisonError::into_inner).kill();
            }
            late
        });
        Ok((Self { child, done, watch, told }, output))
    }

    /// Waits for the process to exit, and returns the last line of its standard error (empty without one). The caller must
    /// have closed the pipe of standard output: a process that still writes to it then exits.
    pub(crate) fn end(self) -> (Ended, String) {
        let well = loop {
            // The watching thread needs the lock to kill the process, so it is not held while waiting.
            let ended = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
            match ended {
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Ok(Some(status)) => break status.success(),
                Err(_) => break false,
            }
        };
        drop(self.done);
        let late = self.watch.join().unwrap_or(false);
        let ended = match (late, well) {
            (true, _) => Ended::TooLate,
            (false, true) => Ended::Well,
            (false, false) => Ended::Badly,
        };
        let told = self.told.join().unwrap_or_default();
        let last = told.lines().rev().find(|line| !line.trim().is_empty());
        (ended, last.unwrap_or_default().trim().to_owned())
    }
}

/// Why the output of a process could not be read.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The process could not be started, or its pipe could not be read.
    System(std::io::Error),
    /// It wrote more than the limit.
    TooMuch,
    /// It was killed after the time limit.
    TooLate,
    /// Its exit status is not 0; with the last line of its standard error.
    Failed(String),
}

/// The standard output of a process: at most `most_bytes`, within `most_time`.
///
/// # Errors
/// See [`Trouble`].
pub(crate) fn output(
    command: &mut Command,
    most_bytes: u64,
    most_time: Duration,
) -> Result<Vec<u8>, Trouble> {
    let (running, pipe) = Running::start(command, most_time).map_err(Trouble::System)?;
    let mut bytes = Vec::new();
    let mut pipe = pipe.take(most_bytes.saturating_add(1));
    let read = pipe.read_to_end(&mut bytes);
    drop(pipe);
    let (ended, told) = running.end();
    // Checked first: closing the pipe makes such a process fail.
    if bytes.len() as u64 > most_bytes {
        return Err(Trouble::TooMuch);
    }
    match ended {
        Ended::TooLate => return Err(Trouble::TooLate),
        Ended::Badly => return Err(Trouble::Failed(told)),
        Ended::Well => {}
    }
    read.map_err(Trouble::System)?;
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(script: &str, most_time: Duration) -> Result<Vec<u8>, Trouble> {
        output(Command::new("/bin/sh").args(["-c", script]), 1000, most_time)
    }

    #[test]
    fn output_comes_whole_or_not_at_all() {
        let long = Duration::from_secs(60);
        assert_eq!(shell("printf abc; echo careful >&2", long).unwrap(), b"abc");
        assert!(
            matches!(shell("echo first >&2; echo no disc >&2; exit 3", long), Err(Trouble::Failed(told)) if told == "no disc")
        );
        assert!(matches!(shell("while :; do echo 0123456789; done", long), Err(Trouble::TooMuch)));
        let missing = output(&mut Command::new("/no/such/program"), 1000, long);
        assert!(
            matches!(missing, Err(Trouble::System(e)) if e.kind() == std::io::ErrorKind::NotFound)
        );
    }

    #[test]
    fn one_that_hangs_is_killed() {
        let started = Instant::now();
        let short = Duration::from_millis(200);
        assert!(matches!(shell("printf abc; exec sleep 60", short), Err(Trouble::TooLate)));
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
