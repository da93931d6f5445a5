//! The launches of [`Activation`].

use super::Activation;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::{Op, Result};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "activation",
    &[Part::PRELUDE, Part { file: "activation.cu", text: include_str!("activation.cu") }],
    include_str!("../../../ptx/activation.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    kept: Pointer,
    grad_output: Pointer,
    to: Pointer,
    count: i64,
    kind: u32,
    add: u32,
}

impl GpuOp for Activation {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let count = call.shapes[0].count();
        let arguments = Arguments {
            kept: call.inputs[0],
            grad_output: Pointer::NULL,
            to: call.output,
            count: count as i64,
            kind: *self as u32,
            add: 0,
        };
        Ok(device.launch(&PROGRAM, "activation_forward", Grid::elements(count), &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let count = call.shapes[0].count();
        let arguments = Arguments {
            kept: if self.keep().output { call.output } else { call.inputs[0] },
            grad_output: call.grad_output,
            to: gradient.data,
            count: count as i64,
            kind: *self as u32,
            add: gradient.add.into(),
        };
        Ok(device.launch(&PROGRAM, "activation_backward", Grid::elements(count), &arguments)?)
    }
}
