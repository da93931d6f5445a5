//! The launches of [`Bce`].

use super::Bce;
use crate::gpu::{
    Backward, Device, Forward, GpuOp, Gradient, Grid, Part, Pointer, Program, Slices,
};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "bce",
    &[Part::PRELUDE, Part { file: "bce.cu", text: include_str!("bce.cu") }],
    include_str!("../../../ptx/bce.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    logits: Pointer,
    targets: Pointer,
    weights: Pointer,
    grad_output: Pointer,
    to: Pointer,
    count: i64,
    width: i64,
    length: i64,
    share: f32,
    add: u32,
}

impl Arguments {
    fn new(logits: Shape, inputs: &[Pointer], grad_output: Pointer) -> Self {
        let count = logits.count();
        Arguments {
            logits: inputs[0],
            targets: inputs[1],
            weights: inputs[2],
            grad_output,
            to: Pointer::NULL,
            count: count as i64,
            width: logits.features() as i64,
            length: 0,
            share: (1.0 / count as f64) as f32,
            add: 0,
        }
    }
}

/// Elements that one block sums for the loss.
const SLICE: usize = 4096;
/// Rows that one block sums over in the gradient of the weights.
const ROWS: usize = 512;

impl GpuOp for Bce {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let slices = Slices::of(call.shapes[0].count(), SLICE);
        let output = Gradient { data: call.output, add: false };
        let partial = device.partial(slices.count, 1, output)?;
        let arguments = Arguments {
            to: partial.pointer(),
            length: slices.length,
            ..Arguments::new(call.shapes[0], call.inputs, Pointer::NULL)
        };
        device.launch(&PROGRAM, "bce_forward", Grid::blocks(slices.count as usize), &arguments)?;
        Ok(device.sum_slices(partial)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let logits = call.shapes[0];
        let arguments = Arguments::new(logits, call.inputs, call.grad_output);
        for (gradient, kernel) in call.gradients.iter().zip(["bce_grad_logits", "bce_grad_targets"])
        {
            let Some(gradient) = gradient else { continue };
            let arguments = Arguments { to: gradient.data, add: gradient.add.into(), ..arguments };
            device.launch(&PROGRAM, kernel, Grid::elements(logits.count()), &arguments)?;
        }
        if let Some(gradient) = call.gradients[2] {
            let width = logits.features();
            let slices = Slices::of(logits.rows(), ROWS);
            let partial = device.partial(slices.count, width, gradient)?;
            let arguments = Arguments { to: partial.pointer(), length: slices.length, ..arguments };
            let grid = Grid::tiles(width.div_ceil(32), slices.count as usize);
            device.launch(&PROGRAM, "bce_grad_weights", grid, &arguments)?;
            device.sum_slices(partial)?;
        }
        Ok(())
    }
}
