//! The launches of [`Slice`].

use super::Slice;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "slice",
    &[Part::PRELUDE, Part { file: "slice.cu", text: include_str!("slice.cu") }],
    include_str!("../../../ptx/slice.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    from: Pointer,
    to: Pointer,
    count: i64,
    length: i64,
    offset: i64,
    stride: i64,
    add: u32,
    unused: u32,
}

impl Slice {
    /// The arguments for an x of this shape.
    fn arguments(&self, x: Shape, from: Pointer, to: Pointer) -> Arguments {
        let (whole, _, (count, length)) = self.runs(x);
        Arguments {
            from,
            to,
            count: (count * length) as i64,
            length: length as i64,
            offset: whole.offset as i64,
            stride: whole.stride as i64,
            add: 0,
            unused: 0,
        }
    }
}

impl GpuOp for Slice {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let arguments = self.arguments(call.shapes[0], call.inputs[0], call.output);
        Ok(device.launch(
            &PROGRAM,
            "slice_forward",
            Grid::elements(arguments.count as usize),
            &arguments,
        )?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let count = call.shapes[0].count();
        let arguments = Arguments {
            count: count as i64,
            add: gradient.add.into(),
            ..self.arguments(call.shapes[0], call.grad_output, gradient.data)
        };
        Ok(device.launch(&PROGRAM, "slice_backward", Grid::elements(count), &arguments)?)
    }
}
