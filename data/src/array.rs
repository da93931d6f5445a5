//! Plain host arrays: a shape and its values.

use crate::Error;

/// An array on the host in row-major order: the last axis is contiguous.
///
/// Time comes first and features come last, e.g. `[T, 68, 2]` for landmarks and `[T, 80]` for a mel spectrogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}

impl<T> Array<T> {
    /// An array of `shape` that owns `data`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] when the shape does not hold exactly `data.len()` values.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self, Error> {
        let shape = shape.into();
        match element_count(&shape) {
            Some(count) if count == data.len() => Ok(Self { shape, data }),
            _ => Err(Error::config(format!(
                "array: shape {shape:?} does not hold the {} values given; give a shape whose sizes multiply to that",
                data.len()
            ))),
        }
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, last axis contiguous.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The values, mutable.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The shape and the values.
    pub fn into_parts(self) -> (Vec<usize>, Vec<T>) {
        (self.shape, self.data)
    }
}

/// How many values an array of `shape` holds; `None` when that overflows.
pub(crate) fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_must_fit_the_values() {
        assert!(Array::new([2, 3], vec![0u8; 6]).is_ok());
        assert!(Array::new([2, 3], vec![0u8; 5]).is_err());
        assert!(Array::new([usize::MAX, 3], vec![0u8; 5]).is_err());
        assert!(Array::new([], vec![1.0]).is_ok());
    }
}
