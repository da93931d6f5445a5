//! Sources: where one modality of one sample comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::Hash;

use super::{Decoded, Decoder};
use crate::formats::archive::Member;
use crate::{Error, Result};

/// Where one modality of one sample comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A file inside a ZIP archive.
    Member(Member),
    /// Literal text.
    Text(String),
    /// A part of a file that many samples share.
    Excerpt(Arc<dyn Excerpt>),
}

/// A part of a file that many samples share, e.g. the rows of one segment in a computational sequence.
///
/// A corpus implements it when its samples are not files of their own.
pub trait Excerpt: fmt::Debug + Send + Sync {
    /// The file, for messages.
    fn path(&self) -> &Path;

    /// A name that identifies the excerpt: two excerpts are equal when their keys are.
    fn key(&self) -> String;

    /// A hash of everything in the source that the decoded values depend on; `hash_file` hashes the content of a file.
    ///
    /// # Errors
    /// Those of `hash_file`.
    fn content(&self, hash_file: &dyn Fn(&Path) -> Result<Hash>) -> Result<Hash>;

    /// Decodes the excerpt. A feature of 0 frames means that the file has nothing for the sample.
    ///
    /// # Errors
    /// Errors of reading the file; bad settings when it cannot give the decoder's feature.
    fn decode(&self, decoder: &Decoder) -> Result<Decoded>;
}

impl Source {
    /// The path of the file, of the archive joined with the member's name, or `<text>`; for messages and file extensions.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Member(member) => member.path(),
            Self::Text(_) => Path::new("<text>"),
            Self::Excerpt(excerpt) => excerpt.path(),
        }
    }

    /// The path of a source that is a whole file.
    ///
    /// # Errors
    /// Bad data or bad settings for any other source.
    pub(super) fn file(&self) -> Result<&Path> {
        match self {
            Self::File(path) => Ok(path),
            Self::Member(member) => Err(Error::bad(
                member.path(),
                "only recordings, landmarks and videos are read from inside an archive; unpack the archive",
            )),
            Self::Excerpt(excerpt) => Ok(excerpt.path()),
            Self::Text(text) => {
                let start: String = text.chars().take(20).collect();
                Err(Error::config(format!(
                    "literal text (`{start}`) where a file is needed; only a words feature takes text"
                )))
            }
        }
    }

    /// A hash of everything in the source that the decoded values depend on; `hash_file` hashes the content of a file.
    ///
    /// # Errors
    /// Those of `hash_file`.
    pub(crate) fn content(&self, hash_file: &dyn Fn(&Path) -> Result<Hash>) -> Result<Hash> {
        match self {
            Self::File(path) => hash_file(path),
            // The archive's directory has a checksum of each member; unpacking 12 GB of videos would take minutes.
            Self::Member(member) => Ok(blake3::hash(member.identity().as_bytes())),
            Self::Text(text) => Ok(blake3::hash(text.as_bytes())),
            Self::Excerpt(excerpt) => excerpt.content(hash_file),
        }
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => a == b,
            (Self::Member(a), Self::Member(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Excerpt(a), Self::Excerpt(b)) => a.key() == b.key(),
            _ => false,
        }
    }
}

impl Eq for Source {}
