//! Shapes: the extents of a tensor's axes, slowest first, features last.

use std::fmt;
use std::ops::Deref;

/// The most axes of a tensor. A clip has 5: batch, three of space, and features.
pub const MAX_RANK: usize = 6;

/// The extents of a contiguous tensor, slowest axis first. The last axis is always the features.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    extents: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// The shape of a scalar.
    pub const SCALAR: Shape = Shape { extents: [1; MAX_RANK], rank: 0 };

    /// A shape of up to [`MAX_RANK`] axes.
    ///
    /// # Panics
    /// With more than [`MAX_RANK`] axes.
    pub fn new(extents: &[usize]) -> Self {
        assert!(extents.len() <= MAX_RANK, "got shape {extents:?}; use at most {MAX_RANK} axes");
        let mut shape = Shape { extents: [1; MAX_RANK], rank: extents.len() };
        shape.extents[..extents.len()].copy_from_slice(extents);
        shape
    }

    /// The number of elements; `usize::MAX` for more.
    pub fn count(&self) -> usize {
        self.iter().fold(1, |count, &extent| count.saturating_mul(extent))
    }

    /// The extent of the last axis; 1 for a scalar.
    pub fn features(&self) -> usize {
        self.last().copied().unwrap_or(1)
    }

    /// The number of rows of [`features`](Self::features) elements.
    pub fn rows(&self) -> usize {
        self[..self.rank.saturating_sub(1)].iter().product()
    }

    /// This shape with another extent on its last axis.
    pub fn with_features(&self, features: usize) -> Self {
        let mut shape = *self;
        shape.extents[self.rank.max(1) - 1] = features;
        shape.rank = self.rank.max(1);
        shape
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.extents[..self.rank]
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Self {
        Shape::new(&extents)
    }
}

impl From<&[usize]> for Shape {
    fn from(extents: &[usize]) -> Self {
        Shape::new(extents)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self[..])
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self[..])
    }
}
