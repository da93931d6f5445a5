//! The trait that an op implements to run on a GPU.

use super::{Device, Pointer, Program};
use crate::op::Case;
use crate::{Op, Result, Shape};

/// An op's f32 kernels and their launches, in the op's `cuda.rs`.
///
/// The contract is that of [`Op`]: write every element of the output and of the saved buffers, write or add to each
/// gradient, allocate only scratch ([`Device::allocate`]) that is dropped before the call returns, and give the same
/// bits in every run: no floating point atomics, sums in a fixed order.
pub trait GpuOp: Op {
    /// The kernels.
    const PROGRAM: &'static Program;

    /// Cases beyond the sizes at which launches take another path, e.g. sums in slices. The gradient check on the CPU,
    /// whose time grows with the square of the size, does without them.
    fn large() -> Vec<Case<Self>> {
        Vec::new()
    }

    /// Launches the forward pass.
    ///
    /// # Errors
    /// When a launch fails.
    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()>;

    /// Launches the backward pass.
    ///
    /// # Errors
    /// When a launch fails.
    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()>;
}

/// The buffers of one forward pass, all on the device.
#[derive(Debug)]
pub struct Forward<'a> {
    /// Shapes of the inputs.
    pub shapes: &'a [Shape],
    /// The inputs.
    pub inputs: &'a [Pointer],
    /// Shapes of the index inputs.
    pub index_shapes: &'a [Shape],
    /// The index inputs.
    pub indices: &'a [Pointer],
    /// The output. Every element must be written; it is uninitialised before.
    pub output: Pointer,
    /// The saved buffers, floating point and indices, in the order of [`Plan::saved`](crate::op::Plan::saved).
    pub saved: &'a [Pointer],
}

/// The buffers of one backward pass, all on the device.
#[derive(Debug)]
pub struct Backward<'a> {
    /// Shapes of the inputs.
    pub shapes: &'a [Shape],
    /// The inputs; null where [`Op::keep`] does not name them.
    pub inputs: &'a [Pointer],
    /// Shapes of the index inputs.
    pub index_shapes: &'a [Shape],
    /// The index inputs.
    pub indices: &'a [Pointer],
    /// The output; null where [`Op::keep`] does not name it.
    pub output: Pointer,
    /// The saved buffers of the forward pass, in its order.
    pub saved: &'a [Pointer],
    /// The gradient of the output.
    pub grad_output: Pointer,
    /// The gradient of each input; `None` where it is not needed.
    pub gradients: &'a [Option<Gradient>],
}

/// The target of one input's gradient.
#[derive(Debug, Clone, Copy)]
pub struct Gradient {
    /// As many elements as the input.
    pub data: Pointer,
    /// Whether to add to `data`; otherwise `data` is uninitialised: overwrite it.
    pub add: bool,
}
