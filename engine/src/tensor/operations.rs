//! The ops as methods of tensors. Each is one line: what computes is in [`kernels::ops`].

use super::{Applied, Tensor};
use crate::tape::{Step, Tape};
use crate::{Error, Result};
use kernels::Shape;
use kernels::ops::Activation;

impl Tensor {
    /// The same numbers under another shape; costs nothing.
    ///
    /// # Errors
    /// When the counts differ.
    pub fn reshape(&self, shape: &[usize]) -> Result<Tensor> {
        let shape = Shape::new(shape);
        if shape.count() != self.count() {
            return Err(Error::Count { what: "Tensor::reshape", got: self.count(), expected: shape });
        }
        let out = self.reshaped(shape);
        match Tape::of(&[self])? {
            None => Ok(out),
            Some(tape) => tape.record(&[self], out, Step::Reshape(self.shape())),
        }
    }

    /// An activation of each number.
    ///
    /// # Errors
    /// Never for floats.
    pub fn activation(&self, kind: Activation) -> Result<Tensor> {
        Tensor::apply(kind, &[self], &[]).map(Applied::into_output)
    }

    /// max(x, 0).
    ///
    /// # Errors
    /// Never for floats.
    pub fn relu(&self) -> Result<Tensor> {
        self.activation(Activation::Relu)
    }
}

impl Applied {
    /// The output alone.
    pub fn into_output(self) -> Tensor {
        self.output
    }
}
