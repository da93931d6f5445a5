//! The launches of [`Reduce`].

use super::{Reduce, ReduceKind};
use crate::gpu::{
    Backward, Block, Device, Forward, GpuOp, Gradient, Grid, Loops, Part, Pointer, Program, Split,
};
use crate::op::Case;
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "reduce",
    &[Part::PRELUDE, Part::WALK, Part { file: "reduce.cu", text: include_str!("reduce.cu") }],
    include_str!("../../../ptx/reduce.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    walk: Loops,
    x: Pointer,
    y: Pointer,
    grad_output: Pointer,
    first: Pointer,
    to: Pointer,
    length: i64,
    slices: u32,
    kind: u32,
    share: f32,
    add: u32,
}

impl Reduce {
    fn arguments(&self, shape: Shape, target: usize, x: Pointer, y: Pointer) -> Arguments {
        let mean = self.kind == ReduceKind::Mean;
        Arguments {
            walk: Loops::from(&self.walk(shape, target)),
            x,
            y,
            grad_output: Pointer::NULL,
            first: Pointer::NULL,
            to: Pointer::NULL,
            length: 0,
            slices: 1,
            kind: self.kind as u32,
            share: if mean { (1.0 / self.terms(shape) as f64) as f32 } else { 1.0 },
            add: 0,
        }
    }
}

/// The rows kernel or the columns kernel, as the split requires.
fn chosen(split: Split, rows: &'static str, columns: &'static str) -> &'static str {
    if split.columns { columns } else { rows }
}

impl GpuOp for Reduce {
    const PROGRAM: &'static Program = &PROGRAM;

    fn large() -> Vec<Case<Self>> {
        // The largest blocks, with as many slices as there may be.
        [ReduceKind::Sum, ReduceKind::Max]
            .map(|kind| Case::new(Reduce::new(kind, &[0]), &[&[65 * 8192]]))
            .into()
    }

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let (shape, output) = (call.shapes[0], call.output);
        let split = Split::of(&self.walk(shape, 1), false);
        let targets = shape.count() / self.terms(shape);
        let arguments = Arguments {
            length: split.slices.length,
            slices: split.slices.count,
            ..self.arguments(shape, 1, call.inputs[0], output)
        };
        let each = Grid::elements(targets);
        let sum = chosen(split, "reduce_sum_rows", "reduce_sum_columns");
        if matches!(self.kind, ReduceKind::Sum | ReduceKind::Mean) {
            let output = Gradient { data: output, add: false };
            let partial = device.partial(split.slices.count, targets, output)?;
            let to = partial.pointer();
            device.launch(&PROGRAM, sum, split.grid, &Arguments { to, ..arguments })?;
            return Ok(device.sum_slices(partial)?);
        }
        let one = split.slices.count == 1;
        let partial = device.scratch(split.slices.count as usize * targets)?;
        let max = chosen(split, "reduce_max_rows", "reduce_max_columns");
        let to = if one { output } else { partial.pointer() };
        device.launch(&PROGRAM, max, split.grid, &Arguments { to, ..arguments })?;
        let from_partial = Arguments { x: partial.pointer(), to: output, ..arguments };
        if !one {
            device.launch(&PROGRAM, "reduce_max_slices", each, &from_partial)?;
        }
        if self.kind == ReduceKind::LogSumExp {
            let exponentials = Arguments { to: partial.pointer(), ..arguments };
            device.launch(&PROGRAM, sum, split.grid, &exponentials)?;
            device.launch(&PROGRAM, "reduce_log", each, &from_partial)?;
        }
        Ok(())
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let shape = call.shapes[0];
        let targets = shape.count() / self.terms(shape);
        let max = self.kind == ReduceKind::Max;
        let first = max.then(|| device.allocate(8 * targets)).transpose()?;
        let first = first.as_ref().map_or(Pointer::NULL, Block::pointer);
        if max {
            let split = Split::of(&self.walk(shape, 1), true);
            let arguments = Arguments {
                first,
                length: split.slices.length,
                ..self.arguments(shape, 1, call.inputs[0], call.output)
            };
            let kernel = chosen(split, "reduce_first_rows", "reduce_first_columns");
            device.launch(&PROGRAM, kernel, split.grid, &arguments)?;
        }
        let arguments = Arguments {
            grad_output: call.grad_output,
            first,
            to: gradient.data,
            add: gradient.add.into(),
            ..self.arguments(shape, 0, call.inputs[0], call.output)
        };
        Ok(device.launch(&PROGRAM, "reduce_backward", Grid::elements(shape.count()), &arguments)?)
    }
}
