//! The launches of [`CrossEntropy`].

use super::CrossEntropy;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::op::Case;
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "cross_entropy",
    &[Part::PRELUDE, Part { file: "cross_entropy.cu", text: include_str!("cross_entropy.cu") }],
    include_str!("../../../ptx/cross_entropy.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    logits: Pointer,
    classes: Pointer,
    grad_output: Pointer,
    log_sum: Pointer,
    scale: Pointer,
    to: Pointer,
    rows: i64,
    width: i64,
    add: u32,
    unused: u32,
}

impl GpuOp for CrossEntropy {
    const PROGRAM: &'static Program = &PROGRAM;

    fn large() -> Vec<Case<Self>> {
        // The largest blocks.
        vec![Case::new(CrossEntropy, &[&[2, 8200]]).index(&[2], vec![8199, 3])]
    }

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let (rows, width) = (call.shapes[0].rows(), call.shapes[0].features());
        let arguments = Arguments {
            logits: call.inputs[0],
            classes: call.indices[0],
            grad_output: Pointer::NULL,
            log_sum: call.saved[0],
            scale: Pointer::NULL,
            to: call.output,
            rows: rows as i64,
            width: width as i64,
            add: 0,
            unused: 0,
        };
        device.launch(&PROGRAM, "cross_entropy_log_sum", Grid::teams(rows, width), &arguments)?;
        Ok(device.launch(&PROGRAM, "cross_entropy_forward", Grid::blocks(1), &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let (rows, width) = (call.shapes[0].rows(), call.shapes[0].features());
        let scale = device.scratch(1)?;
        let arguments = Arguments {
            logits: call.inputs[0],
            classes: call.indices[0],
            grad_output: call.grad_output,
            log_sum: call.saved[0],
            scale: scale.pointer(),
            to: gradient.data,
            rows: rows as i64,
            width: width as i64,
            add: gradient.add.into(),
            unused: 0,
        };
        device.launch(&PROGRAM, "cross_entropy_scale", Grid::blocks(1), &arguments)?;
        Ok(device.launch(
            &PROGRAM,
            "cross_entropy_backward",
            Grid::teams(rows, width),
            &arguments,
        )?)
    }
}
