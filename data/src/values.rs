//! Values of features, and views of them.

use std::sync::Arc;

use crate::formats::npy::MappedArray;
use crate::{Array, Result};

/// Values of a feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floating-point numbers.
    F32(Array<f32>),
    /// Pixels, 0 to 255.
    U8(Array<u8>),
}

impl Values {
    /// The sizes of the axes, time first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::U8(array) => array.shape(),
        }
    }
}

/// A feature opened for reading, `[T, ...]`.
#[derive(Clone, Debug)]
pub enum View {
    /// Numbers in a cache entry.
    F32(MappedArray<f32>),
    /// Pixels in a cache entry.
    U8(MappedArray<u8>),
    /// In memory.
    Memory(Arc<Values>),
}

impl View {
    /// The sizes of the axes, time first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::U8(array) => array.shape(),
            Self::Memory(values) => values.shape(),
        }
    }

    /// The values.
    pub fn numbers(&self) -> Numbers<'_> {
        match self {
            Self::F32(array) => Numbers::F32(array),
            Self::U8(array) => Numbers::U8(array),
            Self::Memory(values) => match values.as_ref() {
                Values::F32(array) => Numbers::F32(array.data()),
                Values::U8(array) => Numbers::U8(array.data()),
            },
        }
    }

    /// The view with its values copied into memory.
    ///
    /// # Errors
    /// None in practice: a view's values always fit its shape.
    pub(crate) fn into_memory(self) -> Result<Self> {
        let shape = self.shape().to_vec();
        let values = match &self {
            Self::F32(array) => Values::F32(Array::new(shape, array.to_vec())?),
            Self::U8(array) => Values::U8(Array::new(shape, array.to_vec())?),
            Self::Memory(_) => return Ok(self),
        };
        Ok(Self::Memory(Arc::new(values)))
    }
}

/// The values of a [`View`], last axis contiguous.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// Numbers.
    F32(&'a [f32]),
    /// Pixels.
    U8(&'a [u8]),
}

impl Numbers<'_> {
    /// Bytes of the values.
    pub(crate) fn size(self) -> usize {
        match self {
            Numbers::F32(values) => size_of_val(values),
            Numbers::U8(values) => values.len(),
        }
    }

    /// Writes the values in `range` to `out` as `f32`.
    pub(crate) fn copy_to(self, range: std::ops::Range<usize>, out: &mut [f32]) {
        match self {
            Numbers::F32(values) => out.copy_from_slice(&values[range]),
            Numbers::U8(values) => {
                out.iter_mut().zip(&values[range]).for_each(|(out, &x)| *out = f32::from(x))
            }
        }
    }
}
