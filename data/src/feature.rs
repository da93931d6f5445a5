//! One modality of one sample: in memory, or in the cache.

use std::path::PathBuf;
use std::sync::Arc;

use crate::Result;
use crate::cache::entry;
use crate::values::{Values, View};

/// One modality of one sample.
#[derive(Clone, Debug)]
pub enum Feature {
    /// In memory.
    Memory(Arc<Values>),
    /// A cache entry, mapped when it is opened.
    File(PathBuf),
}

impl Feature {
    /// Opens the feature. Cache entries are mapped, not read: only values that are looked at come from disk.
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
