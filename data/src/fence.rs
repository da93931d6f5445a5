//! A fence around third-party decoders: a panic inside it becomes an error.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a fence. A panic hook should print nothing then: the panic becomes an [`crate::Error`]
/// that names the file.
pub fn inside() -> bool {
    INSIDE.get()
}

/// Runs `body` and catches its panic. Values that `body` modified must not be used after a panic.
///
/// # Errors
/// The message of the panic.
pub(crate) fn run<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    let outer = INSIDE.replace(true);
    let result = catch_unwind(AssertUnwindSafe(body));
    INSIDE.set(outer);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_fence_is_left() {
        assert_eq!(run(inside), Ok(true));
        let nothing: [u8; 0] = [];
        let error = run(|| nothing[std::hint::black_box(3)]).unwrap_err();
        assert!(error.contains("out of bounds"), "{error}");
        assert!(!inside());
    }
}
