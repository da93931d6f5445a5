//! The launches of [`SequencePool`].

use super::SequencePool;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "sequence_pool",
    &[Part::PRELUDE, Part { file: "sequence_pool.cu", text: include_str!("sequence_pool.cu") }],
    include_str!("../../../ptx/sequence_pool.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    lengths: Pointer,
    output: Pointer,
    grad_output: Pointer,
    to: Pointer,
    samples: i64,
    steps: i64,
    width: i64,
    deviation: u32,
    add: u32,
}

impl SequencePool {
    fn arguments(&self, shape: Shape, x: Pointer, indices: &[Pointer], to: Pointer) -> Arguments {
        Arguments {
            x,
            lengths: if self.masked { indices[0] } else { Pointer::NULL },
            output: Pointer::NULL,
            grad_output: Pointer::NULL,
            to,
            samples: shape[0] as i64,
            steps: shape[1] as i64,
            width: shape[2] as i64,
            deviation: self.std.into(),
            add: 0,
        }
    }
}

impl GpuOp for SequencePool {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let x = call.shapes[0];
        let arguments = self.arguments(x, call.inputs[0], call.indices, call.output);
        let grid = Grid::blocks(x[0] * x[2].div_ceil(32));
        Ok(device.launch(&PROGRAM, "sequence_pool_forward", grid, &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let arguments = Arguments {
            output: call.output,
            grad_output: call.grad_output,
            add: gradient.add.into(),
            ..self.arguments(call.shapes[0], call.inputs[0], call.indices, gradient.data)
        };
        let grid = Grid::elements(call.shapes[0].count());
        Ok(device.launch(&PROGRAM, "sequence_pool_backward", grid, &arguments)?)
    }
}
