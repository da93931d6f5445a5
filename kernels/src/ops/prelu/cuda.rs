//! The launches of [`Prelu`].

use super::Prelu;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program, Slices};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "prelu",
    &[Part::PRELUDE, Part { file: "prelu.cu", text: include_str!("prelu.cu") }],
    include_str!("../../../ptx/prelu.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    weight: Pointer,
    grad_output: Pointer,
    to: Pointer,
    count: i64,
    width: i64,
    length: i64,
    add: u32,
    unused: u32,
}

impl Arguments {
    fn new(shapes: &[Shape], inputs: &[Pointer], grad_output: Pointer, to: Pointer) -> Self {
        Arguments {
            x: inputs[0],
            weight: inputs[1],
            grad_output,
            to,
            count: shapes[0].count() as i64,
            width: shapes[1].count() as i64,
            length: 0,
            add: 0,
            unused: 0,
        }
    }
}

/// Elements that one block sums for one slope.
const SLICE: usize = 4096;
/// Rows that one block sums over for one slope of each feature.
const ROWS: usize = 512;

impl GpuOp for Prelu {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let arguments = Arguments::new(call.shapes, call.inputs, Pointer::NULL, call.output);
        Ok(device.launch(
            &PROGRAM,
            "prelu_forward",
            Grid::elements(call.shapes[0].count()),
            &arguments,
        )?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let (count, width) = (call.shapes[0].count(), call.shapes[1].count());
        let arguments = Arguments::new(call.shapes, call.inputs, call.grad_output, Pointer::NULL);
        if let Some(gradient) = call.gradients[0] {
            let arguments = Arguments { to: gradient.data, add: gradient.add.into(), ..arguments };
            device.launch(&PROGRAM, "prelu_grad_input", Grid::elements(count), &arguments)?;
        }
        if let Some(gradient) = call.gradients[1] {
            let slices =
                if width == 1 { Slices::of(count, SLICE) } else { Slices::of(count / width, ROWS) };
            let partial = device.partial(slices.count, width, gradient)?;
            let arguments = Arguments { to: partial.pointer(), length: slices.length, ..arguments };
            if width == 1 {
                device.launch(
                    &PROGRAM,
                    "prelu_grad_slope",
                    Grid::blocks(slices.count as usize),
                    &arguments,
                )?;
            } else {
                let grid = Grid::tiles(width.div_ceil(32), slices.count as usize);
                device.launch(&PROGRAM, "prelu_grad_weight", grid, &arguments)?;
            }
            device.sum_slices(partial)?;
        }
        Ok(())
    }
}
