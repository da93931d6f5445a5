//! The launches of [`Regression`].

use super::Regression;
use crate::Result;
use crate::gpu::{
    Backward, Device, Forward, GpuOp, Gradient, Grid, Part, Pointer, Program, Slices,
};
use crate::op::Case;
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "regression",
    &[Part::PRELUDE, Part { file: "regression.cu", text: include_str!("regression.cu") }],
    include_str!("../../../ptx/regression.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    prediction: Pointer,
    target: Pointer,
    grad_output: Pointer,
    to: Pointer,
    count: i64,
    length: i64,
    share: f32,
    kind: u32,
    add: u32,
    unused: u32,
}

/// Elements that one block sums.
const SLICE: usize = 4096;

impl GpuOp for Regression {
    const PROGRAM: &'static Program = &PROGRAM;

    fn large() -> Vec<Case<Self>> {
        // More terms than the most slices of the usual length hold.
        let shape: &[usize] = &[65 * SLICE];
        vec![Case::new(Regression::Mse, &[shape, shape])]
    }

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let count = call.shapes[0].count();
        let slices = Slices::of(count, SLICE);
        let output = Gradient { data: call.output, add: false };
        let partial = device.partial(slices.count, 1, output)?;
        let arguments = Arguments {
            prediction: call.inputs[0],
            target: call.inputs[1],
            grad_output: Pointer::NULL,
            to: partial.pointer(),
            count: count as i64,
            length: slices.length,
            share: (1.0 / count as f64) as f32,
            kind: *self as u32,
            add: 0,
            unused: 0,
        };
        device.launch(
            &PROGRAM,
            "regression_forward",
            Grid::blocks(slices.count as usize),
            &arguments,
        )?;
        Ok(device.sum_slices(partial)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let count = call.shapes[0].count();
        // The loss is symmetric in its two inputs.
        for (side, gradient) in call.gradients.iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let arguments = Arguments {
                prediction: call.inputs[side],
                target: call.inputs[1 - side],
                grad_output: call.grad_output,
                to: gradient.data,
                count: count as i64,
                length: 0,
                share: (1.0 / count as f64) as f32,
                kind: *self as u32,
                add: gradient.add.into(),
                unused: 0,
            };
            device.launch(&PROGRAM, "regression_backward", Grid::elements(count), &arguments)?;
        }
        Ok(())
    }
}
