//! The launches of [`Gate`].

use super::Gate;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "gate",
    &[Part::PRELUDE, Part { file: "gate.cu", text: include_str!("gate.cu") }],
    include_str!("../../../ptx/gate.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    grad_output: Pointer,
    to: Pointer,
    count: i64,
    width: i64,
    kind: u32,
    add: u32,
}

impl GpuOp for Gate {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let count = call.shapes[0].count() / self.parts();
        let arguments = Arguments {
            x: call.inputs[0],
            grad_output: Pointer::NULL,
            to: call.output,
            count: count as i64,
            width: (call.shapes[0].features() / self.parts()) as i64,
            kind: *self as u32,
            add: 0,
        };
        Ok(device.launch(&PROGRAM, "gate_forward", Grid::elements(count), &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let count = call.shapes[0].count() / self.parts();
        let arguments = Arguments {
            x: call.inputs[0],
            grad_output: call.grad_output,
            to: gradient.data,
            count: count as i64,
            width: (call.shapes[0].features() / self.parts()) as i64,
            kind: *self as u32,
            add: gradient.add.into(),
        };
        Ok(device.launch(&PROGRAM, "gate_backward", Grid::elements(count), &arguments)?)
    }
}
