//! The launches of [`Linear`].

use super::{Linear, extents, make};
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program, Slices};
use crate::op::Case;
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "linear",
    &[Part::PRELUDE, Part::PRODUCT, Part { file: "linear.cu", text: include_str!("linear.cu") }],
    include_str!("../../../ptx/linear.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    weight: Pointer,
    bias: Pointer,
    output: Pointer,
    grad_output: Pointer,
    to: Pointer,
    rows: i64,
    features: i64,
    out: i64,
    rows_a_slice: i64,
    relu: u32,
    add: u32,
}

/// The side of a tile of the matrix product; `TILE` in `product.cuh`.
const TILE: usize = Part::PRODUCT_TILE;
/// Rows that one block sums over in the gradients of weight and bias.
const SLICE: usize = 2048;

impl GpuOp for Linear {
    const PROGRAM: &'static Program = &PROGRAM;

    fn large() -> Vec<Case<Self>> {
        // Three slices of rows, the last one shorter.
        vec![make(Linear { bias: true, relu: true }, &[2 * SLICE + 4, 3], 2)]
    }

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let [rows, features, out] = extents(call.shapes);
        let arguments = Arguments {
            x: call.inputs[0],
            weight: call.inputs[1],
            bias: if self.bias { call.inputs[2] } else { Pointer::NULL },
            output: Pointer::NULL,
            grad_output: Pointer::NULL,
            to: call.output,
            rows: rows as i64,
            features: features as i64,
            out: out as i64,
            rows_a_slice: 0,
            relu: self.relu.into(),
            add: 0,
        };
        let grid = Grid::tiles(rows.div_ceil(TILE), out.div_ceil(TILE));
        Ok(device.launch(&PROGRAM, "linear_forward", grid, &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let [rows, features, out] = extents(call.shapes);
        let slices = Slices::of(rows, SLICE);
        let arguments = Arguments {
            x: call.inputs[0],
            weight: call.inputs[1],
            bias: Pointer::NULL,
            output: call.output,
            grad_output: call.grad_output,
            to: Pointer::NULL,
            rows: rows as i64,
            features: features as i64,
            out: out as i64,
            rows_a_slice: slices.length,
            relu: self.relu.into(),
            add: 0,
        };
        if let Some(gradient) = call.gradients[0] {
            let arguments = Arguments { to: gradient.data, add: gradient.add.into(), ..arguments };
            let grid = Grid::tiles(rows.div_ceil(TILE), features.div_ceil(TILE));
            device.launch(&PROGRAM, "linear_grad_input", grid, &arguments)?;
        }
        if let Some(gradient) = call.gradients[1] {
            let partial = device.partial(slices.count, features * out, gradient)?;
            let mut grid = Grid::tiles(features.div_ceil(TILE), out.div_ceil(TILE));
            grid.blocks[2] = slices.count;
            device.launch(
                &PROGRAM,
                "linear_grad_weight",
                grid,
                &Arguments { to: partial.pointer(), ..arguments },
            )?;
            device.sum_slices(partial)?;
        }
        if let Some(gradient) = call.gradients.get(2).copied().flatten() {
            let partial = device.partial(slices.count, out, gradient)?;
            let grid = Grid::tiles(out.div_ceil(32), slices.count as usize);
            device.launch(
                &PROGRAM,
                "linear_grad_bias",
                grid,
                &Arguments { to: partial.pointer(), ..arguments },
            )?;
            device.sum_slices(partial)?;
        }
        Ok(())
    }
}
