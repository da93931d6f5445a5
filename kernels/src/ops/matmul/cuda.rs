//! The launches of [`Matmul`].

use super::{Matmul, Product};
use crate::Result;
use crate::gpu::{
    Backward, Device, Forward, GpuOp, Gradient, Grid, Part, Pointer, Program, Slices,
};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "matmul",
    &[Part::PRELUDE, Part::PRODUCT, Part { file: "matmul.cu", text: include_str!("matmul.cu") }],
    include_str!("../../../ptx/matmul.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Side {
    data: Pointer,
    batch: i64,
    row: i64,
    column: i64,
}

impl Side {
    fn new(side: &super::Side, buffers: [Pointer; 3]) -> Self {
        let [batch, row, column] = side.strides.map(|stride| stride as i64);
        Side { data: side.operand.of(buffers), batch, row, column }
    }
}

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    left: Side,
    right: Side,
    to: Pointer,
    rows: i64,
    columns: i64,
    depth: i64,
    total: i64,
    length: i64,
    add: u32,
    unused: u32,
}

/// Rows and columns of a tile of the matrix product; `TILE` in `product.cuh`.
const TILE: usize = Part::PRODUCT_TILE;
/// The depth that one block sums for the gradient of a shared matrix.
const SLICE: usize = 2048;
/// The most blocks along z.
const DEEPEST: usize = 65_535;

/// Writes or adds a product for each batch element, or their sum.
fn multiply(device: &Device, product: &Product, buffers: [Pointer; 3], to: Gradient) -> Result<()> {
    let [rows, columns, depth] = product.extents();
    let total = product.batch * depth;
    // A single product of large depth, e.g. a covariance, is split too.
    let slices = if product.sum || product.batch == 1 {
        Slices::of(total, SLICE)
    } else {
        Slices { count: product.batch.min(DEEPEST) as u32, length: depth as i64 }
    };
    let split = (product.sum || product.batch == 1) && slices.count > 1;
    let size = rows * columns;
    let partial = split.then(|| device.partial(slices.count, size, to)).transpose()?;
    let arguments = Arguments {
        left: Side::new(&product.left, buffers),
        right: Side::new(&product.right, buffers),
        to: partial.as_ref().map_or(to.data, |partial| partial.pointer()),
        rows: rows as i64,
        columns: columns as i64,
        depth: depth as i64,
        total: total as i64,
        length: slices.length,
        add: (to.add && !split).into(),
        unused: 0,
    };
    let mut grid = Grid::tiles(rows.div_ceil(TILE), columns.div_ceil(TILE));
    grid.blocks[2] = slices.count;
    device.launch(&PROGRAM, "matmul", grid, &arguments)?;
    if let Some(partial) = partial {
        device.sum_slices(partial)?;
    }
    Ok(())
}

impl GpuOp for Matmul {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let product = self.products(call.shapes).forward;
        let buffers = [call.inputs[0], call.inputs[1], Pointer::NULL];
        multiply(device, &product, buffers, Gradient { data: call.output, add: false })
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let products = self.products(call.shapes);
        let buffers = [call.inputs[0], call.inputs[1], call.grad_output];
        for (gradient, product) in
            call.gradients.iter().zip([products.grad_left, products.grad_right])
        {
            if let Some(gradient) = gradient {
                multiply(device, &product, buffers, *gradient)?;
            }
        }
        Ok(())
    }
}
