//! The launches of [`Attention`].

use super::Attention;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "attention",
    &[
        Part::PRELUDE,
        Part::PRODUCT,
        Part { file: "attention.cu", text: include_str!("attention.cu") },
    ],
    include_str!("../../../ptx/attention.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    queries: Pointer,
    keys: Pointer,
    values: Pointer,
    lengths: Pointer,
    output: Pointer,
    grad_output: Pointer,
    log_sums: Pointer,
    along: Pointer,
    to: Pointer,
    to_values: Pointer,
    rows: i64,
    query_count: u32,
    key_count: u32,
    heads: u32,
    head: u32,
    stream: [u32; 4],
    dropped_below: u32,
    kept: f32,
    scale: f32,
    dropout: u32,
    add: u32,
    add_values: u32,
}

/// The side of a tile of the matrix product; `TILE` in `product.cuh`.
const TILE: usize = Part::PRODUCT_TILE;

/// The arguments with the inputs.
fn arguments(
    op: &Attention,
    shapes: &[Shape],
    inputs: &[Pointer],
    indices: &[Pointer],
) -> Arguments {
    let head = shapes[0][2] / op.heads;
    Arguments {
        queries: inputs[0],
        keys: inputs[1],
        values: inputs[2],
        lengths: if op.masked { indices[0] } else { Pointer::NULL },
        output: Pointer::NULL,
        grad_output: Pointer::NULL,
        log_sums: Pointer::NULL,
        along: Pointer::NULL,
        to: Pointer::NULL,
        to_values: Pointer::NULL,
        rows: (shapes[0].rows() * op.heads) as i64,
        query_count: shapes[0][1] as u32,
        key_count: shapes[1][1] as u32,
        heads: op.heads as u32,
        head: head as u32,
        stream: op.stream.name(),
        dropped_below: (op.dropout * 4_294_967_296.0) as u32,
        kept: (1.0 / (1.0 - op.dropout)) as f32,
        scale: op.scale(head) as f32,
        dropout: (op.dropout > 0.0).into(),
        add: 0,
        add_values: 0,
    }
}

/// Blocks for tiles of queries, or of keys, and of the features of a head.
fn tiles(arguments: &Arguments, clips: usize, count: u32) -> Grid {
    let rows = clips * arguments.heads as usize;
    let [count, head] = [count, arguments.head].map(|n| (n as usize).div_ceil(TILE));
    Grid::tiles(rows * count, head)
}

impl GpuOp for Attention {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let arguments = Arguments {
            log_sums: call.saved[0],
            to: call.output,
            ..arguments(self, call.shapes, call.inputs, call.indices)
        };
        let grid = tiles(&arguments, call.shapes[0][0], arguments.query_count);
        Ok(device.launch(&PROGRAM, "attention_forward", grid, &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let clips = call.shapes[0][0];
        let along = device.scratch(call.shapes[0].rows() * self.heads)?;
        let arguments = Arguments {
            output: call.output,
            grad_output: call.grad_output,
            log_sums: call.saved[0],
            along: along.pointer(),
            ..arguments(self, call.shapes, call.inputs, call.indices)
        };
        let [queries, keys, values] = [0, 1, 2].map(|input| call.gradients[input]);
        if queries.is_some() || keys.is_some() {
            let grid = Grid::blocks((arguments.rows as usize).div_ceil(8));
            device.launch(&PROGRAM, "attention_along", grid, &arguments)?;
        }
        if let Some(gradient) = queries {
            let grid = tiles(&arguments, clips, arguments.query_count);
            let arguments = Arguments { to: gradient.data, add: gradient.add.into(), ..arguments };
            device.launch(&PROGRAM, "attention_grad_queries", grid, &arguments)?;
        }
        if keys.is_some() || values.is_some() {
            let grid = tiles(&arguments, clips, arguments.key_count);
            let data = |gradient: Option<crate::gpu::Gradient>| {
                gradient.map_or((Pointer::NULL, 0), |gradient| (gradient.data, gradient.add.into()))
            };
            let ((to, add), (to_values, add_values)) = (data(keys), data(values));
            let arguments = Arguments { to, add, to_values, add_values, ..arguments };
            device.launch(&PROGRAM, "attention_grad_keys", grid, &arguments)?;
        }
        Ok(())
    }
}
