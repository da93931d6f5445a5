//! What an op must say of itself to run on a GPU.

use super::{Device, Pointer, Program};
use crate::{Op, Result, Shape};

/// An op's kernels and how they are launched; f32. Lives in the op's `cuda.rs`.
///
/// The promises are those of [`Op`]: every element of the output and the saved buffers is written, gradients are
/// written or added, nothing is allocated that outlives the call ([`Device::allocate`] gives scratch), and the same
/// bits come out every time: no floating point atomics, sums in a fixed order.
pub trait GpuOp: Op {
    /// The kernels.
    const PROGRAM: &'static Program;

    /// Launches the forward pass.
    ///
    /// # Errors
    /// When a launch is refused.
    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()>;

    /// Launches the backward pass.
    ///
    /// # Errors
    /// When a launch is refused.
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
    /// Where the output goes.
    pub output: Pointer,
    /// Where the saved buffers go, floating point and indices, in the order of [`Plan::saved`](crate::op::Plan::saved).
    pub saved: &'a [Pointer],
}

/// The buffers of one backward pass, all on the device.
#[derive(Debug)]
pub struct Backward<'a> {
    /// Shapes of the inputs.
    pub shapes: &'a [Shape],
    /// The inputs; null where [`Op::keep`] did not ask for them.
    pub inputs: &'a [Pointer],
    /// Shapes of the index inputs.
    pub index_shapes: &'a [Shape],
    /// The index inputs.
    pub indices: &'a [Pointer],
    /// The output; null where [`Op::keep`] did not ask for it.
    pub output: Pointer,
    /// The saved buffers of the forward pass, in that order.
    pub saved: &'a [Pointer],
    /// The gradient of the output.
    pub grad_output: Pointer,
    /// Where the gradient of each input goes; `None` where nobody needs it.
    pub gradients: &'a [Option<Gradient>],
}

/// Where one gradient goes.
#[derive(Debug, Clone, Copy)]
pub struct Gradient {
    /// As many numbers as the input has.
    pub data: Pointer,
    /// Whether to add to what stands there; otherwise it holds nothing of worth.
    pub add: bool,
}
