//! Which cached features stay open between reads.
//!
//! A training run reads every feature once an epoch and more, a window at a time. To open, map and unmap its cache entry
//! for each window, and to fault its pages in again, took half of the processor's time in short epochs.

use crate::Result;
use crate::values::View;

/// Largest cache entry that is copied into memory, in bytes of its values.
const SMALL: usize = 1 << 20;

/// What a data set may keep open of the cache. Entries of at most 1 MiB are copied into memory until `memory` is spent;
/// larger and later ones stay mapped until `maps` is spent; the rest is opened for each read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Bytes of values that may be copied into memory.
    pub(crate) memory: usize,
    /// Maps that may stay open. Linux allows a process 65,530 unless told otherwise.
    pub(crate) maps: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { memory: 1 << 30, maps: 1 << 15 }
    }
}

impl Budget {
    /// The view to keep of a feature, paid from the budget; `None` when the budget has no room for it.
    ///
    /// # Errors
    /// None in practice: a view's values always fit its shape.
    pub(crate) fn keep(&mut self, view: View) -> Result<Option<View>> {
        if matches!(view, View::Memory(_)) {
            return Ok(Some(view));
        }
        let size = view.numbers().size();
        if size <= SMALL.min(self.memory) {
            self.memory -= size;
            return view.into_memory().map(Some);
        }
        if self.maps == 0 {
            return Ok(None);
        }
        self.maps -= 1;
        Ok(Some(view))
    }
}
