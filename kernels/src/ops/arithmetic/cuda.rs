//! The launches of [`Arithmetic`].

use super::Arithmetic;
use crate::gpu::{
    Backward, Device, Forward, GpuOp, Gradient, Grid, Loops, Part, Pointer, Program, Slices, Split,
};
use crate::op::Case;
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "arithmetic",
    &[
        Part::PRELUDE,
        Part::WALK,
        Part { file: "arithmetic.cu", text: include_str!("arithmetic.cu") },
    ],
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

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Broadcast {
    walk: Loops,
    a: Pointer,
    b: Pointer,
    grad_output: Pointer,
    to: Pointer,
    length: i64,
    kind: u32,
    second: u32,
    add: u32,
    unused: u32,
}

/// Elements that one block sums if b is one number.
const SLICE: usize = 4096;
/// Rows that one block sums otherwise.
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

/// The gradient of a b that is broadcast.
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

impl Arithmetic {
    fn forward_broadcast(self, device: &Device, call: Forward<'_>) -> Result<()> {
        let walk = Arithmetic::walk(call.shapes[0], call.shapes[1], 0);
        let arguments = Broadcast {
            walk: Loops::from(&walk),
            a: call.inputs[0],
            b: call.inputs[1],
            grad_output: Pointer::NULL,
            to: call.output,
            length: 0,
            kind: self as u32,
            second: 0,
            add: 0,
            unused: 0,
        };
        let grid = Grid::elements(super::broadcast(call.shapes[0], call.shapes[1]).count());
        Ok(device.launch(&PROGRAM, "arithmetic_broadcast", grid, &arguments)?)
    }

    fn gradient_broadcast(
        self,
        device: &Device,
        call: &Backward<'_>,
        side: usize,
        gradient: Gradient,
    ) -> Result<()> {
        let walk = Arithmetic::walk(call.shapes[0], call.shapes[1], side + 1);
        let targets = call.shapes[side].count();
        let arguments = Broadcast {
            walk: Loops::from(&walk),
            a: call.inputs[0],
            b: call.inputs[1],
            grad_output: call.grad_output,
            to: gradient.data,
            length: 0,
            kind: self as u32,
            second: side as u32,
            add: gradient.add.into(),
            unused: 0,
        };
        if walk.run_is_kept && walk.reduced.is_empty() {
            let grid = Grid::elements(targets);
            return Ok(device.launch(&PROGRAM, "arithmetic_broadcast_grad", grid, &arguments)?);
        }
        let split = Split::of(&walk, false);
        let kernel = if split.columns {
            "arithmetic_broadcast_columns"
        } else {
            "arithmetic_broadcast_rows"
        };
        let arguments = Broadcast { length: split.slices.length, ..arguments };
        if split.slices.count == 1 {
            return Ok(device.launch(&PROGRAM, kernel, split.grid, &arguments)?);
        }
        let partial = device.partial(split.slices.count, targets, gradient)?;
        let arguments = Broadcast { to: partial.pointer(), add: 0, ..arguments };
        device.launch(&PROGRAM, kernel, split.grid, &arguments)?;
        Ok(device.sum_slices(partial)?)
    }
}

impl GpuOp for Arithmetic {
    const PROGRAM: &'static Program = &PROGRAM;

    fn large() -> Vec<Case<Self>> {
        // The largest blocks, with as many slices as there may be.
        vec![Case::new(Arithmetic::Multiply, &[&[1], &[65 * 8192]])]
    }

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        if !self.is_plain(call.shapes[0], call.shapes[1]) {
            return self.forward_broadcast(device, call);
        }
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
        if !self.is_plain(call.shapes[0], call.shapes[1]) {
            for (side, gradient) in call.gradients.iter().enumerate() {
                if let Some(gradient) = gradient {
                    self.gradient_broadcast(device, &call, side, *gradient)?;
                }
            }
            return Ok(());
        }
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
