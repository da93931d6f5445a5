//! The one error type of this crate.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of trouble an [`Error`] is; the program maps each to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A file is there but its content is wrong (exit code 65).
    BadData,
    /// A file or a sample that is needed is not there (exit code 66).
    MissingData,
    /// The operating system refused to read or write (exit code 74).
    Io,
    /// Settings that cannot work (exit code 78).
    Config,
}

/// What to do with a file that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Stop at the first in sample order.
    #[default]
    Fail,
    /// Treat the modality as missing and report it.
    Skip,
}

/// A place in a text file, both counted from 1; column 0 means "the whole line".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column (field of a table, or character), from 1; 0 when the whole line is meant.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            0 => write!(f, ":{}", self.line),
            column => write!(f, ":{}:{column}", self.line),
        }
    }
}

/// Anything that can go wrong with data. Messages start with the file, and end with what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content of a file is wrong.
    #[error("{}{}: {message}", path.display(), place.map(|p| p.to_string()).unwrap_or_default())]
    BadData {
        /// The file.
        path: PathBuf,
        /// Where in the file, when it is known.
        place: Option<Place>,
        /// What is wrong and what to do.
        message: String,
    },
    /// A file or a sample is missing.
    #[error("{}: {message}", path.display())]
    MissingData {
        /// The file or folder.
        path: PathBuf,
        /// What is missing and what to do.
        message: String,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {cause}; {advice}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, e.g. "read".
        action: &'static str,
        /// What to do about it.
        advice: &'static str,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// Settings that cannot work.
    #[error("{message}")]
    Config {
        /// Which setting, what is wrong with it and what to do.
        message: String,
    },
}

impl Error {
    /// Which sort of trouble this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadData { .. } => ErrorKind::BadData,
            Self::MissingData { .. } => ErrorKind::MissingData,
            Self::Io { .. } => ErrorKind::Io,
            Self::Config { .. } => ErrorKind::Config,
        }
    }

    /// Wrong content in `path`.
    pub(crate) fn bad(path: &Path, message: impl Into<String>) -> Self {
        Self::BadData { path: path.to_owned(), place: None, message: message.into() }
    }

    /// Wrong content in `path` at a line and column (both from 1; column 0 for the whole line).
    pub(crate) fn bad_at(
        path: &Path,
        line: usize,
        column: usize,
        message: impl Into<String>,
    ) -> Self {
        Self::BadData {
            path: path.to_owned(),
            place: Some(Place { line, column }),
            message: message.into(),
        }
    }

    /// Something at `path` is not there.
    pub(crate) fn missing(path: &Path, message: impl Into<String>) -> Self {
        Self::MissingData { path: path.to_owned(), message: message.into() }
    }

    /// Settings that cannot work.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::Config { message: message.into() }
    }

    /// The operating system refused to read `path`; a file that is not there is missing data.
    pub(crate) fn reading(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::missing(path, "there is no such file; check the path");
        }
        Self::Io {
            path: path.to_owned(),
            action: "read",
            advice: "check that it is a file you may read and that the disk is well",
            cause: source,
        }
    }

    /// The operating system refused to write `path`.
    pub(crate) fn writing(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action: "write",
            advice: "check the folder's permissions and the free space, or choose another folder",
            cause: source,
        }
    }
}
