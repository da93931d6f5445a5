//! The launches of [`Softmax`].

use super::Softmax;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "softmax",
    &[Part::PRELUDE, Part { file: "softmax.cu", text: include_str!("softmax.cu") }],
    include_str!("../../../ptx/softmax.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    grad_output: Pointer,
    to: Pointer,
    rows: i64,
    width: i64,
    add: u32,
    unused: u32,
}

impl GpuOp for Softmax {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let (rows, width) = (call.shapes[0].rows(), call.shapes[0].features());
        let arguments = Arguments {
            x: call.inputs[0],
            grad_output: Pointer::NULL,
            to: call.output,
            rows: rows as i64,
            width: width as i64,
            add: 0,
            unused: 0,
        };
        Ok(device.launch(&PROGRAM, "softmax_forward", Grid::teams(rows, width), &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let (rows, width) = (call.shapes[0].rows(), call.shapes[0].features());
        let arguments = Arguments {
            x: call.output,
            grad_output: call.grad_output,
            to: gradient.data,
            rows: rows as i64,
            width: width as i64,
            add: gradient.add.into(),
            unused: 0,
        };
        Ok(device.launch(&PROGRAM, "softmax_backward", Grid::teams(rows, width), &arguments)?)
    }
}
