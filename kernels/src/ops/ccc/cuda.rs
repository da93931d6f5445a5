//! The launches of [`Ccc`].

use super::Ccc;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Gradient, Grid, Part, Pointer, Program};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "ccc",
    &[Part::PRELUDE, Part { file: "ccc.cu", text: include_str!("ccc.cu") }],
    include_str!("../../../ptx/ccc.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    prediction: Pointer,
    target: Pointer,
    grad_output: Pointer,
    moments: Pointer,
    to: Pointer,
    rows: i64,
    width: i64,
    other_mean: u32,
    add: u32,
}

impl GpuOp for Ccc {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let (rows, width) = (call.shapes[0].rows(), call.shapes[0].features());
        let output = Gradient { data: call.output, add: false };
        let losses = device.partial(width as u32, 1, output)?;
        let arguments = Arguments {
            prediction: call.inputs[0],
            target: call.inputs[1],
            grad_output: Pointer::NULL,
            moments: call.saved[0],
            to: losses.pointer(),
            rows: rows as i64,
            width: width as i64,
            other_mean: 0,
            add: 0,
        };
        device.launch(&PROGRAM, "ccc_forward", Grid::blocks(width), &arguments)?;
        // Each column is one slice of the loss.
        Ok(device.sum_slices(losses)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let (rows, width) = (call.shapes[0].rows(), call.shapes[0].features());
        // CCC is symmetric in its two inputs.
        for (side, gradient) in call.gradients.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let arguments = Arguments {
                prediction: call.inputs[side],
                target: call.inputs[1 - side],
                grad_output: call.grad_output,
                moments: call.saved[0],
                to: gradient.data,
                rows: rows as i64,
                width: width as i64,
                other_mean: 1 - side as u32,
                add: gradient.add.into(),
            };
            device.launch(&PROGRAM, "ccc_backward", Grid::elements(rows * width), &arguments)?;
        }
        Ok(())
    }
}
