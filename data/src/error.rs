//! The error type of this crate.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::printable::{OneLine, Shown};

/// A `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`]; the program maps each to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The content of a file is invalid (exit code 65).
    BadData,
    /// A required file or sample does not exist (exit code 66).
    MissingData,
    /// The operating system refused to read or write (exit code 74).
    Io,
    /// Invalid settings (exit code 78).
    Config,
}

/// What to do with a file that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Return the error of the first such file in sample order.
    #[default]
    Fail,
    /// Treat the modality as missing and report it.
    Skip,
}

/// A position in a text file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, counted from 1.
    pub line: usize,
    /// Column (field of a table, or character), counted from 1; 0 means the whole line.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            0 => write!(f, ":{}", self.line),
            column => write!(f, ":{}:{column}", self.line),
        }
    }
}

/// An error of this crate. Its message starts with the file and ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content of a file is invalid.
    #[error("{}{}: {}", Shown(path), position.map(|p| p.to_string()).unwrap_or_default(), OneLine(message))]
    BadData {
        /// The file.
        path: PathBuf,
        /// The position in the file, when it is known.
        position: Option<Position>,
        /// What is wrong and what to do.
        message: String,
    },
    /// A file or a sample does not exist.
    #[error("{}: {}", Shown(path), OneLine(message))]
    MissingData {
        /// The file or folder.
        path: PathBuf,
        /// What is missing and what to do.
        message: String,
    },
    /// The operating system refused to read or write.
    #[error("{}: cannot {action}: {cause}; {advice}", Shown(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operation that failed, e.g. "read".
        action: &'static str,
        /// What to do about it.
        advice: &'static str,
        /// The error of the operating system.
        cause: std::io::Error,
    },
    /// Invalid settings.
    #[error("{}", OneLine(message))]
    Config {
        /// Which setting, what is wrong with it and what to do.
        message: String,
    },
}

impl Error {
    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadData { .. } => ErrorKind::BadData,
            Self::MissingData { .. } => ErrorKind::MissingData,
            Self::Io { .. } => ErrorKind::Io,
            Self::Config { .. } => ErrorKind::Config,
        }
    }

    /// Invalid content in `path`.
    pub(crate) fn bad(path: &Path, message: impl Into<String>) -> Self {
        Self::BadData { path: path.to_owned(), position: None, message: message.into() }
    }

    /// Invalid content in `path` at a line and column, both counted from 1; column 0 means the whole line.
    pub(crate) fn bad_at(
        path: &Path,
        line: usize,
        column: usize,
        message: impl Into<String>,
    ) -> Self {
        Self::BadData {
            path: path.to_owned(),
            position: Some(Position { line, column }),
            message: message.into(),
        }
    }

    /// The same error for a file that this line of a manifest names.
    #[must_use]
    pub fn named_in_line(mut self, line: Option<usize>) -> Self {
        if let (Some(line), Self::BadData { message, .. } | Self::MissingData { message, .. }) =
            (line, &mut self)
        {
            message.push_str(&format!(" (line {line} of the manifest)"));
        }
        self
    }

    /// `path`, or something in it, does not exist.
    pub(crate) fn missing(path: &Path, message: impl Into<String>) -> Self {
        Self::MissingData { path: path.to_owned(), message: message.into() }
    }

    /// Invalid settings.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config { message: message.into() }
    }

    /// The operating system refused to read `path`. A file that does not exist is [`Error::MissingData`].
    pub(crate) fn reading(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::missing(path, "does not exist; check the path");
        }
        Self::Io {
            path: path.to_owned(),
            action: "read",
            advice: "check permissions and disk health",
            cause: source,
        }
    }

    /// The operating system refused to write `path`.
    pub(crate) fn writing(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action: "write",
            advice: "check permissions and free space, or choose another folder",
            cause: source,
        }
    }
}
