//! Tables that kernels read: rows of addresses and sizes, uploaded only if they changed.

use super::{Block, Device, Pointer, Result};
use bytemuck::NoUninit;

/// A table of rows on a device.
#[derive(Debug)]
pub struct Table<T> {
    rows: Vec<T>,
    block: Option<Block>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { rows: Vec::new(), block: None }
    }
}

impl<T: NoUninit + PartialEq> Table<T> {
    /// Replaces the rows. Uploads nothing if they are equal to the device's.
    ///
    /// # Errors
    /// When the device is out of memory or fails.
    pub fn replace(&mut self, device: &Device, rows: Vec<T>) -> Result<()> {
        let there = self.block.as_ref().is_some_and(|block| block.device().is(device));
        if there && self.rows == rows {
            return Ok(());
        }
        // Kernels launched before this still read the old rows, since work runs in order.
        self.block = Some(device.upload(&rows)?);
        self.rows = rows;
        Ok(())
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The address of the first row; null before the first [`replace`](Self::replace).
    pub(super) fn pointer(&self) -> Pointer {
        self.block.as_ref().map_or(Pointer::NULL, Block::pointer)
    }
}
