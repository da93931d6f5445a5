//! Tables that kernels read: rows of addresses and sizes, uploaded again only where they changed.

use super::{Block, Device, Pointer, Result};
use bytemuck::NoUninit;

/// Rows on a device.
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
    /// Replaces the rows; uploads nothing where they are those that the device has.
    ///
    /// # Errors
    /// When the device has no room or refuses.
    pub fn replace(&mut self, device: &Device, rows: Vec<T>) -> Result<()> {
        let there = self.block.as_ref().is_some_and(|block| block.device().is(device));
        if there && self.rows == rows {
            return Ok(());
        }
        // Kernels before this read the old rows first: all work is done in its order.
        self.block = Some(device.upload(&rows)?);
        self.rows = rows;
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Where the rows start; null before the first [`replace`](Self::replace).
    pub(super) fn pointer(&self) -> Pointer {
        self.block.as_ref().map_or(Pointer::NULL, Block::pointer)
    }
}
