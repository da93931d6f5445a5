//! Features: the decoded values of one modality of one sample, in memory or in the cache.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Result;
use crate::cache::entry;
use crate::values::{Values, View};

/// The decoded values of one modality of one sample.
#[derive(Clone, Debug)]
pub enum Feature {
    /// In memory.
    Memory(Arc<Values>),
    /// The path of a cache entry.
    File(PathBuf),
}

impl Feature {
    /// Opens the feature. A cache entry is memory-mapped: values are read from disk when they are accessed.
    ///
    /// # Errors
    /// Missing or bad data when a cache entry was removed or changed during the run.
    pub fn open(&self) -> Result<View> {
        match self {
            Self::Memory(values) => Ok(View::Memory(values.clone())),
            Self::File(path) => entry::open(path),
        }
    }
}
