//! The launches of [`LayerNorm`].

use super::LayerNorm;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program, Slices};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "layer_norm",
    &[Part::PRELUDE, Part { file: "layer_norm.cu", text: include_str!("layer_norm.cu") }],
    include_str!("../../../ptx/layer_norm.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    weight: Pointer,
    bias: Pointer,
    grad_output: Pointer,
    mean: Pointer,
    rstd: Pointer,
    to: Pointer,
    groups: i64,
    rows: i64,
    width: i64,
    rows_a_slice: i64,
    epsilon: f32,
    add: u32,
}

/// Rows that one block sums over in the gradients of weight and bias.
const ROWS: usize = 512;

impl LayerNorm {
    /// The arguments of both passes: x and weight, mean and reciprocal standard deviation.
    fn arguments(&self, x: Shape, inputs: &[Pointer], saved: &[Pointer]) -> Arguments {
        let (group, width) = (self.group(x), x.features());
        Arguments {
            x: inputs[0],
            weight: inputs[1],
            bias: Pointer::NULL,
            grad_output: Pointer::NULL,
            mean: saved[0],
            rstd: saved[1],
            to: Pointer::NULL,
            groups: (x.count() / group) as i64,
            rows: (group / width) as i64,
            width: width as i64,
            rows_a_slice: 0,
            epsilon: self.epsilon as f32,
            add: 0,
        }
    }
}

impl GpuOp for LayerNorm {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let x = call.shapes[0];
        let arguments = self.arguments(x, call.inputs, call.saved);
        let arguments = Arguments { bias: call.inputs[2], to: call.output, ..arguments };
        let grid = Grid::teams(x.count() / self.group(x), self.group(x));
        Ok(device.launch(&PROGRAM, "layer_norm_forward", grid, &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let x = call.shapes[0];
        let arguments = self.arguments(x, call.inputs, call.saved);
        let arguments = Arguments { grad_output: call.grad_output, ..arguments };
        if let Some(gradient) = call.gradients[0] {
            let arguments = Arguments { to: gradient.data, add: gradient.add.into(), ..arguments };
            let grid = Grid::teams(x.count() / self.group(x), self.group(x));
            device.launch(&PROGRAM, "layer_norm_grad_input", grid, &arguments)?;
        }
        let slices = Slices::of(x.rows(), ROWS);
        let kernels = ["layer_norm_grad_weight", "layer_norm_grad_bias"];
        for (gradient, kernel) in call.gradients[1..].iter().zip(kernels) {
            let Some(gradient) = gradient else { continue };
            let partial = device.partial(slices.count, x.features(), *gradient)?;
            let arguments =
                Arguments { to: partial.pointer(), rows_a_slice: slices.length, ..arguments };
            let grid = Grid::tiles(x.features().div_ceil(32), slices.count as usize);
            device.launch(&PROGRAM, kernel, grid, &arguments)?;
            device.sum_slices(partial)?;
        }
        Ok(())
    }
}
