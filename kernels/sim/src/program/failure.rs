//! Failures of the program with their exit codes.

use std::path::Path;

/// A run without findings.
pub const CLEAN: u8 = 0;
/// A run with findings, or one that reached its step limit.
pub const FINDINGS: u8 = 1;
/// A command line that cannot be understood, or arguments that do not fit the kernel.
pub const USAGE: u8 = 2;
/// A file whose content is wrong: no PTX, or unsupported instructions.
pub const BAD_DATA: u8 = 65;
/// A file that is missing.
pub const MISSING: u8 = 66;
/// The operating system refused to read or write.
pub const IO: u8 = 74;

/// A failure: its exit code and its message.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What; got; expected; what to do.
    pub message: String,
}

impl Failure {
    /// A failure of the command line.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { code: USAGE, message: message.into() }
    }

    /// A failure of a file's content.
    pub fn data(message: impl Into<String>) -> Failure {
        Failure { code: BAD_DATA, message: message.into() }
    }

    /// Puts a file's name before the message.
    pub fn of_file(self, path: &Path) -> Failure {
        Failure { message: format!("{}: {}", path.display(), self.message), ..self }
    }

    /// A failure of the operating system; `what` completes "cannot ...".
    pub fn io(what: &str, path: &Path, error: &std::io::Error) -> Failure {
        let code = if error.kind() == std::io::ErrorKind::NotFound { MISSING } else { IO };
        Failure { code, message: format!("{}: cannot {what}: {error}", path.display()) }
    }
}

impl From<ptx_sim::Error> for Failure {
    fn from(error: ptx_sim::Error) -> Failure {
        let code = match error {
            ptx_sim::Error::Launch(_) | ptx_sim::Error::NoKernel { .. } => USAGE,
            ptx_sim::Error::StepLimit { .. } => FINDINGS,
            _ => BAD_DATA,
        };
        let hint =
            if matches!(error, ptx_sim::Error::StepLimit { .. }) { " (--steps)" } else { "" };
        Failure { code, message: format!("{error}{hint}") }
    }
}
