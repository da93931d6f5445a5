//! Requests to save and stop a run: SIGINT, SIGTERM, SIGUSR1 and a time limit.

use crate::failure::{Failure, Kind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
        let (kind, what) = match self {
            Reason::Interrupt => (Kind::Interrupted, "interrupted; everything is saved"),
            Reason::Terminate => (Kind::Terminated, "terminated by a signal; everything is saved"),
            Reason::Deadline => {
                (Kind::TryAgain, "the time given with --max-time is over; everything is saved")
            }
        };
        Failure::new(kind, what).hint(hint)
    }
}

/// The stop request, which training polls at each step.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    signal: Arc<AtomicUsize>,
    deadline: Option<Instant>,
}

impl Stop {
    /// Installs the handlers: the first signal is recorded, the second ends the program at once.
    ///
    /// # Errors
    /// When the operating system rejects the handlers.
    pub fn install() -> Result<Self> {
        let stop = Stop::default();
        #[cfg(unix)]
        stop.install_unix().map_err(|error| {
            Failure::new(Kind::Other, format!("cannot watch for signals: {error}"))
        })?;
        Ok(stop)
    }

    #[cfg(unix)]
    fn install_unix(&self) -> std::io::Result<()> {
        use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
        use signal_hook::flag;
        let seen = Arc::new(std::sync::atomic::AtomicBool::new(false));
        for (signal, code) in [(SIGINT, 130), (SIGTERM, 143), (SIGUSR1, 143)] {
            // Handlers run in this order: `seen` is unset at the first signal; the second ends the program.
            flag::register_conditional_shutdown(signal, code, Arc::clone(&seen))?;
            flag::register(signal, Arc::clone(&seen))?;
            flag::register_usize(signal, Arc::clone(&self.signal), signal as usize)?;
        }
        // A file size limit must cause a write error, which is reported, and not kill the program.
        flag::register(SIGXFSZ, Arc::default())?;
        Ok(())
    }

    /// Sets a time limit, from now.
    pub fn within(mut self, limit: Option<Duration>) -> Self {
        self.deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        self
    }

    /// The reason to save and stop, if there is one.
    pub fn asked(&self) -> Option<Reason> {
        match self.signal.load(Ordering::Relaxed) {
            0 => self
                .deadline
                .filter(|&deadline| Instant::now() >= deadline)
                .map(|_| Reason::Deadline),
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
        stop.signal.store(15, Ordering::Relaxed);
        assert_eq!(stop.asked(), Some(Reason::Terminate));
        stop.signal.store(2, Ordering::Relaxed);
        assert_eq!(stop.asked(), Some(Reason::Interrupt));
        let codes =
            [Reason::Interrupt, Reason::Terminate, Reason::Deadline].map(|r| r.saved("").code());
        assert_eq!(codes, [130, 143, 75]);
    }
}
