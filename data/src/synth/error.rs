//! Errors of the synthetic world.

use std::path::{Path, PathBuf};

/// An error of the synthetic world. Its message says what failed, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// A setting is outside its range.
    #[error("synth: setting `{name}` is {value}; it must be {rule}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The value given.
        value: String,
        /// The allowed range.
        rule: &'static str,
    },
    /// A file or folder could not be read, written or renamed.
    #[error(
        "synth: cannot {action} {path}: {source}; check the permissions and the free space there"
    )]
    Io {
        /// The operation that failed.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The target folder has other content.
    #[error("synth: {0} exists and has other content; give an empty or a new folder")]
    Occupied(PathBuf),
    /// espeak-ng is not installed.
    #[error(
        "synth: espeak-ng is not installed; install it (apt install espeak-ng, brew install espeak-ng), or leave out --voice"
    )]
    NoSpeaker,
    /// espeak-ng failed; with the reason.
    #[error("synth: espeak-ng {0}; install it again, or leave out --voice")]
    Speaker(String),
    /// The world has no clip with this name.
    #[error("synth: the world has no clip {0}; use one of World::clips")]
    NoClip(String),
    /// The progress callback stopped the work; all files were removed.
    #[error("synth: stopped after {done} of {total} clips; {root} was not created")]
    Interrupted {
        /// Clips written before the stop.
        done: usize,
        /// Clips of the whole world.
        total: usize,
        /// The folder that was to be created.
        root: PathBuf,
    },
}

impl SynthError {
    /// The error of a setting with this value.
    pub(super) fn setting(name: &'static str, value: impl ToString, rule: &'static str) -> Self {
        Self::Setting { name, value: value.to_string(), rule }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
