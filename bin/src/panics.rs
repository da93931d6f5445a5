//! Panics: errors in this program, which are reported once.

use crate::output;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether panics are caught and reported by [`catching`], so that the hook prints nothing.
static PANICS_ARE_CAUGHT: AtomicBool = AtomicBool::new(false);

/// Calls a function and catches its panic. From then on the panic hook prints nothing.
///
/// # Errors
/// The panic's message.
pub fn catching<T>(body: impl FnOnce() -> T) -> std::result::Result<T, String> {
    PANICS_ARE_CAUGHT.store(true, Ordering::Relaxed);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic".into())
    })
}

/// Installs a panic hook that prints one message, with a request to report it.
pub fn install_panic_hook() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    std::panic::set_hook(Box::new(|panic| {
        if PANICS_ARE_CAUGHT.load(Ordering::Relaxed) || data::fence::inside() {
            return;
        }
        if TOLD.swap(true, Ordering::Relaxed) {
            return;
        }
        output::note(format_args!(
            "mpuc: a bug: {panic}\nThis is an error in mpuc {}, not in your input. Please report it with the \
             command line and the run folder's invocation.json; a run that was saved goes on with the same command.",
            env!("CARGO_PKG_VERSION")
        ));
    }));
}
