//! The launches of [`Affine`].

use super::Affine;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "affine",
    &[Part::PRELUDE, Part { file: "affine.cu", text: include_str!("affine.cu") }],
    include_str!("../../../ptx/affine.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    to: Pointer,
    count: i64,
    scale: f32,
    shift: f32,
    add: u32,
    unused: u32,
}

impl GpuOp for Affine {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let count = call.shapes[0].count();
        let arguments = Arguments {
            x: call.inputs[0],
            to: call.output,
            count: count as i64,
            scale: self.scale as f32,
            shift: self.shift as f32,
            add: 0,
            unused: 0,
        };
        Ok(device.launch(&PROGRAM, "affine_apply", Grid::elements(count), &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let count = call.shapes[0].count();
        let arguments = Arguments {
            x: call.grad_output,
            to: gradient.data,
            count: count as i64,
            scale: self.scale as f32,
            shift: 0.0,
            add: gradient.add.into(),
            unused: 0,
        };
        Ok(device.launch(&PROGRAM, "affine_apply", Grid::elements(count), &arguments)?)
    }
}
