//! The launches of [`Arithmetic`].

use super::Arithmetic;
use crate::gpu::{
    Backward, Device, Forward, GpuOp, Gradient, Grid, Part, Pointer, Program, Slices,
};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "arithmetic",
    &[Part::PRELUDE, Part { file: "arithmetic.cu", text: include_str!("arithmetic.cu") }],
    include_str!("../../../ptx/arithmetic.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    a: Pointer,
    b: Pointer,
    grad_output: Pointer,
    to: Pointer,
    count: i64,
    width: i64,
    length: i64,
    kind: u32,
    add: u32,
}

/// Elements that one block sums where b is one number.
const SLICE: usize = 4096;
/// Rows that one block sums over elsewhere.
const ROWS: usize = 512;

impl Arithmetic {
    fn arguments(self, shapes: &[Shape], inputs: &[Pointer], grad_output: Pointer) -> Arguments {
        Arguments {
            a: inputs[0],
            b: inputs[1],
            grad_output,
            to: Pointer::NULL,
            count: shapes[0].count() as i64,
            width: shapes[1].count() as i64,
            length: 0,
            kind: self as u32,
            add: 0,
        }
    }
}

/// The gradient of b where it is repeated.
fn grad_repeated(
    device: &Device,
    arguments: Arguments,
    count: usize,
    width: usize,
    gradient: Gradient,
) -> Result<()> {
    let slices =
        if width == 1 { Slices::of(count, SLICE) } else { Slices::of(count / width, ROWS) };
    let partial = device.partial(slices.count, width, gradient)?;
    let arguments = Arguments { to: partial.pointer(), length: slices.length, ..arguments };
    if width == 1 {
        let grid = Grid::blocks(slices.count as usize);
        device.launch(&PROGRAM, "arithmetic_grad_second_total", grid, &arguments)?;
    } else {
        let grid = Grid::tiles(width.div_ceil(32), slices.count as usize);
        device.launch(&PROGRAM, "arithmetic_grad_second_rows", grid, &arguments)?;
    }
    Ok(device.sum_slices(partial)?)
}

impl GpuOp for Arithmetic {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let arguments = self.arguments(call.shapes, call.inputs, Pointer::NULL);
        let arguments = Arguments { to: call.output, ..arguments };
        Ok(device.launch(
            &PROGRAM,
            "arithmetic_forward",
            Grid::elements(call.shapes[0].count()),
            &arguments,
        )?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let (count, width) = (call.shapes[0].count(), call.shapes[1].count());
        let arguments = self.arguments(call.shapes, call.inputs, call.grad_output);
        let written = |gradient: Gradient| Arguments {
            to: gradient.data,
            add: gradient.add.into(),
            ..arguments
        };
        if let Some(gradient) = call.gradients[0] {
            device.launch(
                &PROGRAM,
                "arithmetic_grad_first",
                Grid::elements(count),
                &written(gradient),
            )?;
        }
        match call.gradients[1] {
            Some(gradient) if width == count => {
                device.launch(
                    &PROGRAM,
                    "arithmetic_grad_second",
                    Grid::elements(count),
                    &written(gradient),
                )?;
            }
            Some(gradient) => grad_repeated(device, arguments, count, width, gradient)?,
            None => {}
        }
        Ok(())
    }
}
