//! The launches of [`Embedding`].

use super::Embedding;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Gradient, Grid, Part, Pointer, Program};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "embedding",
    &[Part::PRELUDE, Part { file: "embedding.cu", text: include_str!("embedding.cu") }],
    include_str!("../../../ptx/embedding.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    table: Pointer,
    tokens: Pointer,
    grad_output: Pointer,
    to: Pointer,
    entries: i64,
    width: i64,
    count: i64,
    add: u32,
    unused: u32,
}

/// Columns that one block of the backward pass sums; 32 times `COLUMNS` there.
const TILE: usize = 128;

impl GpuOp for Embedding {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let (table, count) = (call.shapes[0], call.index_shapes[0].count());
        let arguments = Arguments {
            table: call.inputs[0],
            tokens: call.indices[0],
            grad_output: Pointer::NULL,
            to: call.output,
            entries: table[0] as i64,
            width: table[1] as i64,
            count: count as i64,
            add: 0,
            unused: 0,
        };
        Ok(device.launch(
            &PROGRAM,
            "embedding_forward",
            Grid::elements(count * table[1]),
            &arguments,
        )?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let (table, count) = (call.shapes[0], call.index_shapes[0].count());
        let extents = [table[0], table[1]];
        sum_rows(device, call.grad_output, call.indices[0], count, extents, gradient)
    }
}

/// Sums `count` rows by their tokens, in order, into a matrix of these entries and width.
pub(crate) fn sum_rows(
    device: &Device,
    rows: Pointer,
    tokens: Pointer,
    count: usize,
    [entries, width]: [usize; 2],
    to: Gradient,
) -> Result<()> {
    let arguments = Arguments {
        table: Pointer::NULL,
        tokens,
        grad_output: rows,
        to: to.data,
        entries: entries as i64,
        width: width as i64,
        count: count as i64,
        add: to.add.into(),
        unused: 0,
    };
    let grid = Grid::tiles(entries, width.div_ceil(TILE));
    Ok(device.launch(&PROGRAM, "embedding_backward", grid, &arguments)?)
}
