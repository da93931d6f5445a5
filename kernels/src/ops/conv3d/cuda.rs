//! The launches of [`Conv3d`].

use super::{Conv3d, make};
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program, Slices};
use crate::op::Case;
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "conv3d",
    &[Part::PRELUDE, Part::PRODUCT, Part { file: "conv3d.cu", text: include_str!("conv3d.cu") }],
    include_str!("../../../ptx/conv3d.ptx"),
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
    batch: i64,
    pixels: i64,
    pixels_a_slice: i64,
    input: [u32; 3],
    outputs: [u32; 3],
    kernel: [u32; 3],
    stride: [u32; 3],
    padding: [u32; 3],
    dilation: [u32; 3],
    channels: u32,
    out: u32,
    relu: u32,
    add: u32,
}

/// The side of a tile of the matrix product; `TILE` in `product.cuh`.
const TILE: usize = Part::PRODUCT_TILE;
/// Pixels that one block sums over in the gradient of the bias.
const SLICE: usize = 2048;
/// The fewest pixels that one block sums over in the gradient of the weight.
const SHORT_SLICE: usize = 512;
/// The most blocks of the gradient of the weight: each slice needs its own partial gradient.
const BLOCKS: usize = 1024;

/// The arguments without buffers.
fn arguments(op: &Conv3d, shapes: &[Shape]) -> Arguments {
    let (x, weight) = (shapes[0], shapes[1]);
    let narrow = |extents: [usize; 3]| extents.map(|extent| extent as u32);
    let kernel = [weight[0], weight[1], weight[2]];
    let outputs = op.extents(&x[1..4], &kernel).unwrap_or_default();
    Arguments {
        x: Pointer::NULL,
        weight: Pointer::NULL,
        bias: Pointer::NULL,
        output: Pointer::NULL,
        grad_output: Pointer::NULL,
        to: Pointer::NULL,
        batch: x[0] as i64,
        pixels: (x[0] * outputs.iter().product::<usize>()) as i64,
        pixels_a_slice: 0,
        input: narrow([x[1], x[2], x[3]]),
        outputs: narrow(outputs),
        kernel: narrow(kernel),
        stride: narrow(op.stride),
        padding: narrow(op.padding),
        dilation: narrow(op.dilation),
        channels: weight[3] as u32,
        out: weight[4] as u32,
        relu: op.relu.into(),
        add: 0,
    }
}

impl GpuOp for Conv3d {
    const PROGRAM: &'static Program = &PROGRAM;

    fn large() -> Vec<Case<Self>> {
        // Three slices of pixels for the bias, and more for the weight.
        let op = Conv3d { bias: true, ..Conv3d::new([1; 3], [0; 3]) };
        vec![make(op, &[2, 1, 3, 2 * SLICE / 6 + 1, 2], [1; 3], 3)]
    }

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let shape = arguments(self, call.shapes);
        let arguments = Arguments {
            x: call.inputs[0],
            weight: call.inputs[1],
            bias: if self.bias { call.inputs[2] } else { Pointer::NULL },
            to: call.output,
            ..shape
        };
        let pixels = shape.pixels as usize;
        let grid = Grid::tiles(pixels.div_ceil(TILE), (shape.out as usize).div_ceil(TILE));
        Ok(device.launch(&PROGRAM, "conv3d_forward", grid, &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let shape = arguments(self, call.shapes);
        let arguments = Arguments {
            x: call.inputs[0],
            weight: call.inputs[1],
            output: call.output,
            grad_output: call.grad_output,
            ..shape
        };
        let (x, weight) = (call.shapes[0], call.shapes[1]);
        let (pixels, channels, out) = (shape.pixels as usize, weight[3], weight[4]);
        if let Some(gradient) = call.gradients[0] {
            let arguments = Arguments { to: gradient.data, add: gradient.add.into(), ..arguments };
            // The first class has the most pixels.
            let class = |axis: usize| x[1 + axis].div_ceil(self.stride[axis]);
            let rows = x[0] * class(0) * class(1) * class(2);
            let mut grid = Grid::tiles(rows.div_ceil(TILE), channels.div_ceil(TILE));
            grid.blocks[2] = self.stride.iter().product::<usize>() as u32;
            device.launch(&PROGRAM, "conv3d_grad_input", grid, &arguments)?;
        }
        if let Some(gradient) = call.gradients[1] {
            let rows = weight.count() / out.max(1);
            let mut grid = Grid::tiles(rows.div_ceil(TILE), out.div_ceil(TILE));
            let tiles = rows.div_ceil(TILE) * out.div_ceil(TILE);
            let most = BLOCKS.div_ceil(tiles.max(1));
            let slices = Slices::of(pixels, SHORT_SLICE.max(pixels.div_ceil(most)));
            let partial = device.partial(slices.count, weight.count(), gradient)?;
            grid.blocks[2] = slices.count;
            let arguments =
                Arguments { to: partial.pointer(), pixels_a_slice: slices.length, ..arguments };
            device.launch(&PROGRAM, "conv3d_grad_weight", grid, &arguments)?;
            device.sum_slices(partial)?;
        }
        if let Some(gradient) = call.gradients.get(2).copied().flatten() {
            let slices = Slices::of(pixels, SLICE);
            let partial = device.partial(slices.count, out, gradient)?;
            let grid = Grid::tiles(out.div_ceil(32), slices.count as usize);
            let arguments =
                Arguments { to: partial.pointer(), pixels_a_slice: slices.length, ..arguments };
            device.launch(&PROGRAM, "conv3d_grad_bias", grid, &arguments)?;
            device.sum_slices(partial)?;
        }
        Ok(())
    }
}
