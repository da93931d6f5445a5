//! Failures of the program, and the exit code of each kind.
//!
//! Functions return [`Result`]; `?` converts errors of the data crate, the engine and the operating system.
//! [`Context::context`] adds what was being done. A message says what is wrong, where and why; a hint says what
//! to do.

use std::fmt;

/// The result of the program's functions.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Kinds of failure, with distinct exit codes: see [`Kind::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// None of the other kinds.
    Other,
    /// A command line that cannot be understood.
    Usage,
    /// A loss or gradient that is not finite.
    Diverged,
    /// A check found something wrong.
    CheckFailed,
    /// A bench is slower than its baseline.
    Slower,
    /// A file whose content is wrong.
    BadData,
    /// A file or sample that is not there.
    MissingData,
    /// No GPU to work on, or one that cannot be used.
    NoDevice,
    /// An error in this program.
    Bug,
    /// Another process works in this folder.
    Locked,
    /// The operating system refused to read or write.
    Io,
    /// Saved and stopped before the end, by a time limit: the same command goes on.
    TryAgain,
    /// A configuration that cannot work.
    Config,
    /// Saved and stopped by SIGINT.
    Interrupted,
    /// Saved and stopped by SIGTERM or SIGUSR1.
    Terminated,
    /// The reader of standard output has closed it; exit code 0.
    BrokenPipe,
}

impl Kind {
    /// The kind of another process's exit code.
    pub fn of_code(code: u8) -> Self {
        let all = [
            Kind::Usage,
            Kind::Diverged,
            Kind::CheckFailed,
            Kind::BadData,
            Kind::MissingData,
            Kind::NoDevice,
            Kind::Bug,
            Kind::Locked,
            Kind::Io,
            Kind::TryAgain,
            Kind::Config,
            Kind::Interrupted,
            Kind::Terminated,
        ];
        all.into_iter().find(|kind| kind.code() == code).unwrap_or(Kind::Other)
    }

    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Kind::BrokenPipe => 0,
            Kind::Other => 1,
            Kind::Usage => 2,
            Kind::Diverged => 3,
            Kind::CheckFailed => 4,
            Kind::Slower => 5,
            Kind::BadData => 65,
            Kind::MissingData => 66,
            Kind::NoDevice => 69,
            Kind::Bug => 70,
            Kind::Locked => 73,
            Kind::Io => 74,
            Kind::TryAgain => 75,
            Kind::Config => 78,
            Kind::Interrupted => 130,
            Kind::Terminated => 143,
        }
    }
}

/// A failure: its kind, a message with what was being done, and optionally a hint.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// A failure with a message.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Failure { kind, error: anyhow::Error::msg(message.to_string()), hint: None }
    }

    /// A configuration that cannot work.
    pub fn config(message: impl fmt::Display) -> Self {
        Failure::new(Kind::Config, message)
    }

    /// An error of the operating system: `what` completes "cannot ...", e.g. `read`.
    pub fn io(what: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        let kind = if source.kind() == std::io::ErrorKind::NotFound {
            Kind::MissingData
        } else {
            Kind::Io
        };
        Failure::new(kind, format!("{}: cannot {what}: {source}", path.display()))
    }

    /// Sets the hint, in place of an earlier one.
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Puts what was being done before the message.
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.error = self.error.context(what.to_string());
        self
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its exit code.
    pub fn code(&self) -> u8 {
        self.kind.code()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The chain in one line: what was being done, then why it failed. Many errors have their cause in their text.
        let mut said = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            if !said.contains(&cause) {
                said = if said.is_empty() { cause } else { format!("{said}: {cause}") };
            }
        }
        f.write_str(&said)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Converts an error to a [`Failure`] with what was being done.
pub trait Context<T> {
    /// Adds what was being done.
    ///
    /// # Errors
    /// The error, if there was one.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Failure>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| error.into().context(what))
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        use engine::Error as E;
        let kind = match &error {
            E::NotFinite { .. } => Kind::Diverged,
            E::Corrupt { .. } => Kind::BadData,
            E::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::MissingData
            }
            E::Io { .. } => Kind::Io,
            // Networks refuse settings that do not go with the data under the parameter's or network's name.
            E::Parameter { .. } | E::Model { .. } | E::State { .. } => Kind::Config,
            E::Op(kernels::Error::Gpu(kernels::gpu::Error::Unavailable { .. })) => Kind::NoDevice,
            E::Op(kernels::Error::Gpu(kernels::gpu::Error::Findings { .. })) => Kind::CheckFailed,
            E::Op(_) => Kind::Other,
            E::DType { .. }
            | E::Place { .. }
            | E::Count { .. }
            | E::Tape(_)
            | E::NoGradient { .. } => Kind::Bug,
        };
        Failure { kind, error: error.into(), hint: None }
    }
}

impl From<kernels::Error> for Failure {
    fn from(error: kernels::Error) -> Self {
        engine::Error::from(error).into()
    }
}

impl From<kernels::gpu::Error> for Failure {
    fn from(error: kernels::gpu::Error) -> Self {
        kernels::Error::from(error).into()
    }
}

impl From<data::Error> for Failure {
    fn from(error: data::Error) -> Self {
        let kind = match error.kind() {
            data::ErrorKind::BadData => Kind::BadData,
            data::ErrorKind::MissingData => Kind::MissingData,
            data::ErrorKind::Io => Kind::Io,
            data::ErrorKind::Config => Kind::Config,
        };
        Failure { kind, error: error.into(), hint: None }
    }
}

impl From<data::synth::SynthError> for Failure {
    fn from(error: data::synth::SynthError) -> Self {
        use data::synth::SynthError as E;
        let kind = match &error {
            E::Setting { .. } => Kind::Config,
            E::Io { .. } => Kind::Io,
            E::Interrupted { .. } => Kind::Interrupted,
            _ => Kind::Other,
        };
        Failure { kind, error: error.into(), hint: None }
    }
}

/// An error without a path is one of standard output, the only file that is written without a path.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let kind = if error.kind() == std::io::ErrorKind::BrokenPipe {
            Kind::BrokenPipe
        } else {
            Kind::Io
        };
        Failure {
            kind,
            error: anyhow::Error::new(error).context("cannot write to standard output"),
            hint: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_codes() {
        let diverged =
            Failure::from(engine::Error::NotFinite { what: "the loss".into(), update: 1 });
        assert_eq!(diverged.code(), 3);
        let missing = data::Error::MissingData { path: "x.wav".into(), message: "gone".into() };
        assert_eq!(Failure::from(missing).code(), 66);
        let corrupt = engine::Error::Corrupt { path: "a".into(), what: "torn".into() };
        assert_eq!(Failure::from(corrupt).code(), 65);
        let full = engine::Error::Io {
            path: "a".into(),
            what: "write",
            source: std::io::ErrorKind::StorageFull.into(),
        };
        assert_eq!(Failure::from(full).code(), 74);
        let gone: Failure = std::io::Error::from(std::io::ErrorKind::BrokenPipe).into();
        assert_eq!(gone.code(), 0);
    }

    #[test]
    fn both_libraries_errors_pass_through_a_question_mark() {
        fn both(data_first: bool) -> Result<()> {
            if data_first {
                let failed: std::result::Result<(), _> =
                    Err(data::Error::Config { message: "folds must be at least 2".into() });
                failed.context("splitting the data")?;
            }
            Err(engine::Error::Tape("used twice"))?
        }
        let failure = both(true).unwrap_err();
        assert_eq!(failure.kind(), Kind::Config);
        assert_eq!(failure.to_string(), "splitting the data: folds must be at least 2");
        assert_eq!(both(false).unwrap_err().kind(), Kind::Bug);
    }

    #[test]
    fn a_cause_is_said_once() {
        let source = std::io::ErrorKind::PermissionDenied.into();
        let error = engine::Error::Io { path: "a".into(), what: "cannot write", source };
        let failure = Failure::from(error).context("saving");
        assert_eq!(failure.to_string(), "saving: a: cannot write: permission denied");
    }

    #[test]
    fn hints_come_last() {
        let failure = Failure::config("bad").hint("do this").context("reading x");
        assert_eq!(failure.to_string(), "reading x: bad\nhint: do this");
    }
}
