//! The launches of [`DepthwiseConv`].

use super::DepthwiseConv;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program, Slices};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "depthwise_conv",
    &[Part::PRELUDE, Part { file: "depthwise_conv.cu", text: include_str!("depthwise_conv.cu") }],
    include_str!("../../../ptx/depthwise_conv.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    weight: Pointer,
    bias: Pointer,
    grad_output: Pointer,
    to: Pointer,
    clips: i64,
    rows_a_slice: i64,
    steps: u32,
    outputs: u32,
    features: u32,
    kernel: u32,
    stride: u32,
    padding: u32,
    dilation: u32,
    add: u32,
}

/// Output steps of one thread; `STEPS` in the kernels.
const STEPS: usize = 4;
/// Rows that one block sums over in the gradients of weight and bias.
const SLICE: usize = 512;

/// The arguments without buffers.
fn arguments(op: &DepthwiseConv, shapes: &[Shape]) -> Arguments {
    let (x, kernel) = (shapes[0], shapes[1][0]);
    let reach = op.dilation * (kernel - 1) + 1;
    let outputs = (x[1] + 2 * op.padding - reach) / op.stride + 1;
    Arguments {
        x: Pointer::NULL,
        weight: Pointer::NULL,
        bias: Pointer::NULL,
        grad_output: Pointer::NULL,
        to: Pointer::NULL,
        clips: x[0] as i64,
        rows_a_slice: 0,
        steps: x[1] as u32,
        outputs: outputs as u32,
        features: x[2] as u32,
        kernel: kernel as u32,
        stride: op.stride as u32,
        padding: op.padding as u32,
        dilation: op.dilation as u32,
        add: 0,
    }
}

/// The grid: blocks of 32 features by 8 groups of steps.
fn groups(clips: usize, steps: usize, features: usize) -> Grid {
    Grid::tiles((clips * steps.div_ceil(STEPS)).div_ceil(8), features.div_ceil(32))
}

impl GpuOp for DepthwiseConv {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let shape = arguments(self, call.shapes);
        let arguments = Arguments {
            x: call.inputs[0],
            weight: call.inputs[1],
            bias: if self.bias { call.inputs[2] } else { Pointer::NULL },
            to: call.output,
            ..shape
        };
        let [clips, _, features] = [0, 1, 2].map(|axis| call.shapes[0][axis]);
        let grid = groups(clips, shape.outputs as usize, features);
        Ok(device.launch(&PROGRAM, "depthwise_conv_forward", grid, &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let shape = arguments(self, call.shapes);
        let [clips, steps, features] = [0, 1, 2].map(|axis| call.shapes[0][axis]);
        let slices = Slices::of(clips * shape.outputs as usize, SLICE);
        let arguments = Arguments {
            x: call.inputs[0],
            weight: call.inputs[1],
            grad_output: call.grad_output,
            rows_a_slice: slices.length,
            ..shape
        };
        if let Some(gradient) = call.gradients[0] {
            let arguments = Arguments { to: gradient.data, add: gradient.add.into(), ..arguments };
            let grid = groups(clips, steps, features);
            device.launch(&PROGRAM, "depthwise_conv_grad_input", grid, &arguments)?;
        }
        let sums = [
            ("depthwise_conv_grad_weight", 1, call.shapes[1].count()),
            ("depthwise_conv_grad_bias", 2, features),
        ];
        for (kernel, position, columns) in sums {
            let Some(gradient) = call.gradients.get(position).copied().flatten() else { continue };
            let partial = device.partial(slices.count, columns, gradient)?;
            let grid = Grid::tiles(columns.div_ceil(32), slices.count as usize);
            let arguments = Arguments { to: partial.pointer(), ..arguments };
            device.launch(&PROGRAM, kernel, grid, &arguments)?;
            device.sum_slices(partial)?;
        }
        Ok(())
    }
}
