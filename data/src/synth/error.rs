//! What can go wrong when a world is made.

use std::path::{Path, PathBuf};

/// An error of the made-up world: says what failed, where, and what to do.
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
        /// The range allowed.
        rule: &'static str,
    },
    /// A file or folder could not be read, written or renamed.
    #[error(
        "synth: cannot {action} {path}: {source}; check the permissions and the free space there"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The target folder holds something else.
    #[error("synth: {0} exists and does not hold this world; name an empty or a new folder")]
    Occupied(PathBuf),
    /// espeak-ng is not installed.
    #[error(
        "synth: there is no espeak-ng; install it (apt install espeak-ng, brew install espeak-ng), or leave out --voice"
    )]
    NoSpeaker,
    /// espeak-ng does not do what it should; with what it did.
    #[error("synth: espeak-ng {0}; install it again, or leave out --voice")]
    Speaker(String),
    /// There is no such clip.
    #[error("synth: this world has no clip {0}; take one that it lists")]
    NoClip(String),
    /// The progress callback asked to stop; nothing is left behind.
    #[error("synth: stopped after {done} of {total} clips; nothing was left in {root}")]
    Interrupted {
        /// Clips made before the stop.
        done: usize,
        /// Clips of the whole world.
        total: usize,
        /// The folder that would have been made.
        root: PathBuf,
    },
}

impl SynthError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
