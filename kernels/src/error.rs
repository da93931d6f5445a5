//! What can be wrong with a call of an op.

use crate::Shape;

/// An op was given shapes or settings that it has no meaning for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Two shapes that do not go together.
    #[error("{op}: {what}: got {got}, expected {expected}")]
    Shape {
        /// The op's name.
        op: &'static str,
        /// Which input it is about and what to do.
        what: String,
        /// The shape that came.
        got: Shape,
        /// The shape that would have fitted, in words where it is not one shape.
        expected: String,
    },
    /// A number of inputs the op does not take.
    #[error("{op}: got {got} inputs, expected {expected}")]
    Arity {
        /// The op's name.
        op: &'static str,
        /// How many came.
        got: usize,
        /// How many it takes.
        expected: usize,
    },
    /// A setting of the op itself, such as a stride of 0 or a temperature below it.
    #[error("{op}: {what}")]
    Setting {
        /// The op's name.
        op: &'static str,
        /// What is wrong and what would be right.
        what: String,
    },
    /// A GPU or its driver.
    #[error(transparent)]
    Gpu(#[from] crate::gpu::Error),
}

/// The result of asking an op what it makes of its inputs.
pub type Result<T> = std::result::Result<T, Error>;
