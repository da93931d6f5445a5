//! Corpora: how each lies on disk, and what is known of the whole.

pub mod crema_d;
pub mod manifest;
pub mod mosei;
pub mod ravdess;
pub mod tree;

use serde::{Deserialize, Serialize};

/// What a corpus of recorded actors has of a performance, each in files of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// `.wav`.
    Voice,
    /// `.csv`, as OpenFace writes them.
    Landmarks,
    /// `.npy`: frames `[T, H, W, 3]`; without them the video, `.mp4`.
    Clip,
}

impl Modality {
    /// The modality's name in a [`Corpus`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Landmarks => "landmarks",
            Self::Clip => "faces",
        }
    }
}
