//! Arrays in memory-mapped files.

use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use super::Element;
use crate::array::element_count;
use crate::{Error, Result};

/// A memory-mapped array; dereferences to its values.
///
/// Values are read from disk when they are first accessed, so an array may be larger than memory.
#[derive(Clone, Debug)]
pub struct MappedArray<T> {
    shape: Vec<usize>,
    values: Values<T>,
}

#[derive(Clone, Debug)]
enum Values<T> {
    /// Aligned values in bytes `start..end` of the map.
    Mapped { map: Arc<Mmap>, start: usize, end: usize },
    /// Values that are not aligned in the file, copied into memory.
    Copied(Arc<[T]>),
}

impl<T: Element> MappedArray<T> {
    /// Bytes `start..end` of `map` as an array of `shape`.
    ///
    /// # Errors
    /// Bad data when the number of bytes does not fit the shape.
    pub(crate) fn new(
        path: &Path,
        map: Arc<Mmap>,
        shape: Vec<usize>,
        start: usize,
        end: usize,
    ) -> Result<Self> {
        let bytes = map.get(start..end);
        let needed = element_count(&shape).and_then(|count| count.checked_mul(size_of::<T>()));
        let Some(bytes) = bytes.filter(|bytes| Some(bytes.len()) == needed) else {
            let size = map.len();
            return Err(Error::bad(
                path,
                format!(
                    "the shape {shape:?} does not fit the file's {size} bytes: cut short or corrupt; write the file again"
                ),
            ));
        };
        let values = match bytemuck::try_cast_slice::<u8, T>(bytes) {
            Ok(_) => Values::Mapped { map, start, end },
            Err(_) => {
                let values = bytes.chunks_exact(size_of::<T>());
                Values::Copied(values.map(bytemuck::pod_read_unaligned).collect())
            }
        };
        Ok(Self { shape, values })
    }

    /// An array in memory, whose values fit its shape.
    pub(super) fn copied(shape: Vec<usize>, values: Vec<T>) -> Self {
        Self { shape, values: Values::Copied(values.into()) }
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

impl<T: Element> std::ops::Deref for MappedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.values {
            // The cast succeeded in `new`, and neither the address nor the length can change.
            Values::Mapped { map, start, end } => bytemuck::cast_slice(&map[*start..*end]),
            Values::Copied(values) => values,
        }
    }
}
