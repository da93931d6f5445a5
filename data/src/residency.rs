//! The budget for cache entries that stay open between reads.
//!
//! Training reads a window of every feature at least once per epoch. An entry that stays open is not opened, mapped and
//! unmapped for each window.

use crate::Result;
use crate::values::View;

/// Largest cache entry that is copied into memory, in bytes of its values.
const SMALL: usize = 1 << 20;

/// Limits on the cache entries that a data set keeps open. Entries of at most 1 MiB are copied into memory until `memory`
/// is used up; other entries stay memory-mapped until `maps` is used up; the rest is opened for each read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Bytes of values that may still be copied into memory.
    pub(crate) memory: usize,
    /// Memory maps that may still be kept. Linux limits a process to 65,530 by default.
    pub(crate) maps: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { memory: 1 << 30, maps: 1 << 15 }
    }
}

impl Budget {
    /// The view to keep for a feature, subtracted from the budget; `None` when the budget is used up.
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
