//! Requests to stop: SIGINT, SIGTERM, SIGUSR1 and a time limit. A command obeys a signal within a second: training saves
//! after the current step, everything else ends at once, because every file is written atomically.

#[cfg(target_os = "linux")]
mod fault;
#[cfg(unix)]
mod watch;

use crate::failure::{Failure, Kind, Result};
use crate::run_folder::StatusFile;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Why a run must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM, or SIGUSR1, which batch systems send before a time limit.
    Terminate,
    /// The time given with `--max-time` is over.
    Deadline,
}

impl Reason {
    /// The failure with which a command ends after everything is saved.
    pub fn saved(self, hint: impl std::fmt::Display) -> Failure {
        Failure::new(self.kind(), format!("{}; everything is saved", self.what())).hint(hint)
    }

    fn kind(self) -> Kind {
        match self {
            Reason::Interrupt => Kind::Interrupted,
            Reason::Terminate => Kind::Terminated,
            Reason::Deadline => Kind::TryAgain,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Reason::Interrupt => "interrupted",
            Reason::Terminate => "terminated by a signal",
            Reason::Deadline => "the time given with --max-time is over",
        }
    }
}

/// The stop request, which training polls at each step.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    shared: Arc<Shared>,
    deadline: Option<Instant>,
}

/// What signal handlers, the thread that watches for signals and the command share.
#[derive(Debug, Default)]
struct Shared {
    /// The number of the first signal; 0 before it.
    signal: AtomicUsize,
    /// How many parts of the program save their work before they stop.
    saving: AtomicUsize,
    /// Where the end of the program is written down.
    status: Mutex<Option<Arc<StatusFile>>>,
}

/// As long as this value exists, a signal does not end the program: its owner polls [`Stop::asked`] and saves.
#[derive(Debug)]
pub struct Saving(Arc<Shared>);

impl Drop for Saving {
    fn drop(&mut self) {
        self.0.saving.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stop {
    /// Installs the handlers: the first signal is a request, the second ends the program at once.
    ///
    /// # Errors
    /// When the operating system rejects the handlers.
    pub fn install() -> Result<Self> {
        let stop = Stop::default();
        #[cfg(unix)]
        watch::install(&stop.shared).map_err(|error| {
            Failure::new(Kind::Other, format!("cannot watch for signals: {error}"))
        })?;
        Ok(stop)
    }

    /// Sets a time limit, from now.
    pub fn within(mut self, limit: Option<Duration>) -> Self {
        self.deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        self
    }

    /// Writes the end of the program to this file, if a signal ends it.
    pub fn note_end_in(&self, status: Arc<StatusFile>) {
        *self.shared.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    /// Announces that this part of the program polls [`asked`](Self::asked) and saves its work.
    pub fn saving(&self) -> Saving {
        self.shared.saving.fetch_add(1, Ordering::SeqCst);
        Saving(Arc::clone(&self.shared))
    }

    /// The reason to save and stop, if there is one.
    pub fn asked(&self) -> Option<Reason> {
        self.shared.asked().or_else(|| {
            let over = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            over.then_some(Reason::Deadline)
        })
    }
}

impl Shared {
    fn asked(&self) -> Option<Reason> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            2 => Some(Reason::Interrupt),
            _ => Some(Reason::Terminate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_codes() {
        let stop = Stop::default();
        assert_eq!(stop.asked(), None);
        assert_eq!(stop.clone().within(Some(Duration::ZERO)).asked(), Some(Reason::Deadline));
        stop.shared.signal.store(15, Ordering::SeqCst);
        assert_eq!(stop.asked(), Some(Reason::Terminate));
        stop.shared.signal.store(2, Ordering::SeqCst);
        assert_eq!(stop.asked(), Some(Reason::Interrupt));
        let codes =
            [Reason::Interrupt, Reason::Terminate, Reason::Deadline].map(|r| r.saved("").code());
        assert_eq!(codes, [130, 143, 75]);
        let saving = stop.saving();
        assert_eq!(stop.shared.saving.load(Ordering::SeqCst), 1);
        drop(saving);
        assert_eq!(stop.shared.saving.load(Ordering::SeqCst), 0);
    }
}
