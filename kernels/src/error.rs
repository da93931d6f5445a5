//! Errors of a call of an op.

use crate::Shape;

/// Shapes or settings for which an op is not defined, or a GPU error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// An input whose shape the op does not accept.
    #[error("{op}: {what}: got {got}, expected {expected}")]
    Shape {
        /// The op's name.
        op: &'static str,
        /// The input, and what to do about it.
        what: String,
        /// The shape of the input.
        got: Shape,
        /// The shape that the op accepts, described in words if there are several.
        expected: String,
    },
    /// A number of inputs that the op does not accept.
    #[error("{op}: got {got} inputs, expected {expected}")]
    Arity {
        /// The op's name.
        op: &'static str,
        /// The number of inputs.
        got: usize,
        /// The number that the op accepts.
        expected: usize,
    },
    /// An invalid setting of the op, such as a stride of 0 or a negative temperature.
    #[error("{op}: {what}")]
    Setting {
        /// The op's name.
        op: &'static str,
        /// What is wrong and which values are valid.
        what: String,
    },
    /// An error of a GPU or its driver.
    #[error(transparent)]
    Gpu(#[from] crate::gpu::Error),
}

/// The result of a function that validates a call of an op.
pub type Result<T> = std::result::Result<T, Error>;
