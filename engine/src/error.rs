//! What can go wrong in the engine.

use crate::DType;
use std::path::PathBuf;

/// An error of the engine. Its message names the op, the parameter or the file, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An op refused its inputs.
    #[error(transparent)]
    Op(#[from] kernels::Error),
    /// Numbers of one type where another was needed.
    #[error("{what}: got {got}, expected {expected}; convert it with Tensor::to")]
    DType {
        /// Where.
        what: String,
        /// The type that came.
        got: DType,
        /// The type that was needed.
        expected: DType,
    },
    /// Numbers that lie on a GPU where the processor needs them.
    #[error("the tensor lies on {device}; bring it over with Tensor::on")]
    Place {
        /// Where it lies.
        device: crate::Device,
    },
    /// A number of elements that does not fill a shape.
    #[error("{what}: {got} elements do not fill {expected}")]
    Count {
        /// Where.
        what: &'static str,
        /// How many there are.
        got: usize,
        /// The shape they should fill.
        expected: kernels::Shape,
    },
    /// A misuse of the tape.
    #[error("tape: {0}")]
    Tape(&'static str),
    /// Trainable parameters that no gradient reached.
    #[error("no gradient reached {}: freeze what is not trained, or use it in the loss", names.join(", "))]
    NoGradient {
        /// Their names.
        names: Vec<String>,
    },
    /// Not a number, or infinite.
    #[error(
        "{what} is not finite: update {update} was not applied; lower the learning rate or look at the data"
    )]
    NotFinite {
        /// What is not: the loss, or the gradient of a parameter by name.
        what: String,
        /// Which update of the optimiser, from 1.
        update: u64,
    },
    /// A parameter name that is taken, or not there.
    #[error("parameter {name}: {what}")]
    Parameter {
        /// Its name.
        name: String,
        /// What is wrong and what to do.
        what: String,
    },
    /// A network or system that cannot be made of these settings, or cannot take this batch.
    #[error("{model}: {what}")]
    Model {
        /// Its name.
        model: String,
        /// What came, what was expected and what to do.
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
    /// A file that is not what it should be.
    #[error("{}: {what}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        what: String,
    },
    /// The operating system refused.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
}

/// The result of most of the engine's functions.
pub type Result<T> = std::result::Result<T, Error>;
