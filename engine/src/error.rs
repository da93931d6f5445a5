//! Errors of the engine.

use crate::DType;
use std::path::PathBuf;

/// An error of the engine. Its message names the op, the parameter or the file, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An op does not accept its inputs.
    #[error(transparent)]
    Op(#[from] kernels::Error),
    /// A tensor has the wrong element type.
    #[error("{what}: got {got}, expected {expected}; convert it with Tensor::to")]
    DType {
        /// The value.
        what: String,
        /// The type of the tensor.
        got: DType,
        /// The type that is needed.
        expected: DType,
    },
    /// A tensor is on a GPU where the CPU needs it.
    #[error("the tensor is on {device}; copy it to the CPU with Tensor::on")]
    Place {
        /// The tensor's device.
        device: crate::Device,
    },
    /// A number of elements that does not match a shape.
    #[error("{what}: got {got} elements, expected {expected}")]
    Count {
        /// The value.
        what: &'static str,
        /// The number of elements.
        got: usize,
        /// The shape.
        expected: kernels::Shape,
    },
    /// An invalid use of the tape.
    #[error("tape: {0}")]
    Tape(&'static str),
    /// Trainable parameters without a gradient.
    #[error("no gradient reached {}: freeze what is not trained, or use it in the loss", names.join(", "))]
    NoGradient {
        /// Their names.
        names: Vec<String>,
    },
    /// A value that is NaN or infinite.
    #[error(
        "{what} is not finite: update {update} was not applied; lower the learning rate or check the data"
    )]
    NotFinite {
        /// The value: the loss, or the gradient of a parameter, by name.
        what: String,
        /// The number of the optimiser's update, from 1.
        update: u64,
    },
    /// A parameter name that is in use or missing.
    #[error("parameter {name}: {what}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// A model that does not support its settings or a batch.
    #[error("{model}: {what}")]
    Model {
        /// Its name.
        model: String,
        /// What it got, what it expected and what to do.
        what: String,
    },
    /// A value of a checkpoint's state that cannot be written or read.
    #[error("checkpoint: state {key:?}: {what}")]
    State {
        /// Its key.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// A file with invalid content.
    #[error("{}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// An error of the operating system.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The action that failed.
        what: &'static str,
        /// The operating system's error.
        source: std::io::Error,
    },
}

/// The result of most of the engine's functions.
pub type Result<T> = std::result::Result<T, Error>;
