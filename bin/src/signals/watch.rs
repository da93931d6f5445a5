//! The thread that acts on signals. Handlers only set numbers and wake it.

use super::Shared;
use crate::failure::Kind;
use crate::output;
use crate::run_folder::State;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::flag;
use signal_hook::low_level::{exit, pipe};
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Installs the handlers and starts the thread.
pub(super) fn install(shared: &Arc<Shared>) -> io::Result<()> {
    let (mut wakes, wake) = UnixStream::pair()?;
    let seen = Arc::new(AtomicBool::new(false));
    for (signal, code) in [(SIGINT, 130), (SIGTERM, 143), (SIGUSR1, 143)] {
        // Handlers run in this order: `seen` is unset at the first signal; the second ends the program.
        flag::register_conditional_shutdown(signal, code, Arc::clone(&seen))?;
        flag::register(signal, Arc::clone(&seen))?;
        let shared = Arc::clone(shared);
        // SAFETY: a store into an atomic number is allowed in a signal handler.
        unsafe {
            signal_hook::low_level::register(signal, move || {
                let _ = shared.signal.compare_exchange(
                    0,
                    signal as usize,
                    Ordering::SeqCst,
                    Ordering::SeqCst,
                );
            })
        }?;
        pipe::register(signal, wake.try_clone()?)?;
    }
    // A file size limit must cause a write error, which is reported, and not kill the program.
    flag::register(SIGXFSZ, Arc::default())?;
    #[cfg(target_os = "linux")]
    super::fault::install(wake)?;
    let shared = Arc::clone(shared);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while wakes.read_exact(&mut [0]).is_ok() {
            shared.act();
        }
    })?;
    Ok(())
}

impl Shared {
    fn act(&self) {
        #[cfg(target_os = "linux")]
        if let Some(message) = super::fault::message() {
            self.end(State::Failed, Kind::Io, &message);
        }
        let Some(reason) = self.asked() else { return };
        if self.saving.load(Ordering::SeqCst) > 0 {
            output::note("saving after this step; press again to stop at once");
        } else {
            self.end(State::Stopped, reason.kind(), reason.what());
        }
    }

    /// Ends the program. Other threads may hold any lock, one of them for ever.
    fn end(&self, state: State, kind: Kind, message: &str) -> ! {
        if let Ok(status) = self.status.try_lock()
            && let Some(status) = &*status
        {
            status.end(state, message);
        }
        output::note(format_args!("mpuc: {message}"));
        exit(kind.code().into())
    }
}
