//! The launches of [`ConvTranspose3d`].

use super::{ConvTranspose3d, TURN};
use crate::gpu::{
    Backward, Block, Device, Forward, GpuOp, Gradient, Grid, Part, Pointer, Program, Slices,
};
use crate::ops::permute::cuda::permute;
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "conv_transpose3d",
    &[
        Part::PRELUDE,
        Part { file: "conv_transpose3d.cu", text: include_str!("conv_transpose3d.cu") },
    ],
    include_str!("../../../ptx/conv_transpose3d.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    from: Pointer,
    to: Pointer,
    rows: i64,
    out: i64,
    rows_a_slice: i64,
}

/// Pixels that one block sums for the gradient of the bias.
const SLICE: usize = 2048;

/// The weight in the convolution's layout.
fn turned(device: &Device, shape: Shape, weight: Pointer) -> Result<Block> {
    let turned = device.scratch(shape.count())?;
    permute(device, &shape, &TURN, weight, turned.pointer(), false)?;
    Ok(turned)
}

impl GpuOp for ConvTranspose3d {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let (conv, shapes) = self.convolution(call.shapes);
        if self.bias {
            let (rows, out) = (shapes[0].rows(), shapes[0].features());
            let arguments = Arguments {
                from: call.inputs[2],
                to: call.output,
                rows: rows as i64,
                out: out as i64,
                rows_a_slice: 0,
            };
            let grid = Grid::elements(rows * out);
            device.launch(&PROGRAM, "conv_transpose3d_bias", grid, &arguments)?;
        }
        let weight = turned(device, call.shapes[1], call.inputs[1])?;
        let backward = Backward {
            shapes: &shapes,
            inputs: &[Pointer::NULL, weight.pointer()],
            index_shapes: &[],
            indices: &[],
            output: Pointer::NULL,
            saved: &[],
            grad_output: call.inputs[0],
            gradients: &[Some(Gradient { data: call.output, add: self.bias }), None],
        };
        conv.backward_gpu(device, backward)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let (conv, shapes) = self.convolution(call.shapes);
        if let Some(gradient) = call.gradients[0] {
            let weight = turned(device, call.shapes[1], call.inputs[1])?;
            let count = call.shapes[0].count();
            let made = gradient.add.then(|| device.scratch(count)).transpose()?;
            let forward = Forward {
                shapes: &shapes,
                inputs: &[call.grad_output, weight.pointer()],
                index_shapes: &[],
                indices: &[],
                output: made.as_ref().map_or(gradient.data, Block::pointer),
                saved: &[],
            };
            conv.forward_gpu(device, forward)?;
            if let Some(made) = made {
                device.accumulate(gradient.data, made.pointer(), count)?;
            }
        }
        if let Some(gradient) = call.gradients[1] {
            let weight = device.scratch(shapes[1].count())?;
            let made = Gradient { data: weight.pointer(), add: false };
            let backward = Backward {
                shapes: &shapes,
                inputs: &[call.grad_output, Pointer::NULL],
                index_shapes: &[],
                indices: &[],
                output: Pointer::NULL,
                saved: &[],
                grad_output: call.inputs[0],
                gradients: &[None, Some(made)],
            };
            conv.backward_gpu(device, backward)?;
            permute(device, &shapes[1], &TURN, weight.pointer(), gradient.data, gradient.add)?;
        }
        if let Some(gradient) = call.gradients.get(2).copied().flatten() {
            let (rows, out) = (shapes[0].rows(), shapes[0].features());
            let slices = Slices::of(rows, SLICE);
            let partial = device.partial(slices.count, out, gradient)?;
            let arguments = Arguments {
                from: call.grad_output,
                to: partial.pointer(),
                rows: rows as i64,
                out: out as i64,
                rows_a_slice: slices.length,
            };
            let grid = Grid::tiles(out.div_ceil(32), slices.count as usize);
            device.launch(&PROGRAM, "conv_transpose3d_grad_bias", grid, &arguments)?;
            device.sum_slices(partial)?;
        }
        Ok(())
    }
}
