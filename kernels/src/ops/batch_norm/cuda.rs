//! The launches of [`BatchNorm`].

use super::{BatchNorm, Statistics, case};
use crate::gpu::{Backward, Block, Device, Forward, GpuOp, Gradient, Grid, Part, Pointer, Program};
use crate::op::Case;
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "batch_norm",
    &[Part::PRELUDE, Part { file: "batch_norm.cu", text: include_str!("batch_norm.cu") }],
    include_str!("../../../ptx/batch_norm.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    weight: Pointer,
    bias: Pointer,
    mean: Pointer,
    variance: Pointer,
    residual: Pointer,
    output: Pointer,
    grad_output: Pointer,
    partial: Pointer,
    levels: Pointer,
    to: Pointer,
    to_residual: Pointer,
    to_weight: Pointer,
    to_bias: Pointer,
    to_mean: Pointer,
    to_variance: Pointer,
    rows: i64,
    channels: i64,
    inner: i64,
    rows_a_slice: i64,
    stride: i64,
    slices: u32,
    epsilon: f32,
    relu: u32,
    add: u32,
    add_residual: u32,
    add_weight: u32,
    add_bias: u32,
    add_mean: u32,
    add_variance: u32,
    unused: u32,
}

/// The fewest rows that one block reduces.
const SLICE: usize = 128;
/// Target of columns times slices: enough blocks to saturate the memory bandwidth.
const SPREAD: usize = 64 * 1024;
/// Elements of one thread in elementwise kernels.
const ELEMENTS: usize = 8;

/// The arguments without buffers.
fn arguments(op: &BatchNorm, x: Shape) -> Arguments {
    let layout = op.layout(x);
    let columns = (layout.channels * layout.inner).max(1);
    let rows = x.count() / columns;
    let slices = rows.div_ceil(SLICE).clamp(1, (SPREAD / columns).clamp(64, 1024));
    let rows_a_slice = rows.div_ceil(slices).max(1);
    Arguments {
        x: Pointer::NULL,
        weight: Pointer::NULL,
        bias: Pointer::NULL,
        mean: Pointer::NULL,
        variance: Pointer::NULL,
        residual: Pointer::NULL,
        output: Pointer::NULL,
        grad_output: Pointer::NULL,
        partial: Pointer::NULL,
        levels: Pointer::NULL,
        to: Pointer::NULL,
        to_residual: Pointer::NULL,
        to_weight: Pointer::NULL,
        to_bias: Pointer::NULL,
        to_mean: Pointer::NULL,
        to_variance: Pointer::NULL,
        rows: rows as i64,
        channels: layout.channels as i64,
        inner: layout.inner as i64,
        rows_a_slice: rows_a_slice as i64,
        stride: (columns * rows.div_ceil(ELEMENTS)) as i64,
        slices: rows.div_ceil(rows_a_slice) as u32,
        epsilon: op.epsilon as f32,
        relu: op.relu.into(),
        add: 0,
        add_residual: 0,
        add_weight: 0,
        add_bias: 0,
        add_mean: 0,
        add_variance: 0,
        unused: 0,
    }
}

/// The grid of a reduction: 32 columns of one slice for each block.
fn reduction(arguments: &Arguments) -> Grid {
    let columns = (arguments.channels * arguments.inner) as usize;
    Grid::tiles(columns.div_ceil(32), arguments.slices as usize)
}

/// The partial results of these blocks: two f64 for each column and slice.
fn partial(device: &Device, arguments: &Arguments) -> Result<Block> {
    let columns = (arguments.channels * arguments.inner) as usize;
    Ok(device.allocate(16 * arguments.slices as usize * columns)?)
}

/// The target of a gradient, and whether to add to it.
fn target(gradient: Option<Gradient>) -> (Pointer, u32) {
    gradient.map_or((Pointer::NULL, 0), |gradient| (gradient.data, gradient.add.into()))
}

impl GpuOp for BatchNorm {
    const PROGRAM: &'static Program = &PROGRAM;

    fn large() -> Vec<Case<Self>> {
        // More slices than a block has threads.
        let rows = (Grid::THREADS as usize + 2) * SLICE;
        vec![case(BatchNorm { relu: true, ..BatchNorm::TRAIN }, &[rows, 2])]
    }

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let shape = arguments(self, call.shapes[0]);
        let x = call.inputs[0];
        let (mean, variance) = match self.statistics {
            Statistics::Given => (call.inputs[3], call.inputs[4]),
            Statistics::Batch => {
                let (mean, variance) = (call.saved[0], call.saved[1]);
                let partial = partial(device, &shape)?;
                let arguments = Arguments {
                    x,
                    partial: partial.pointer(),
                    to_mean: mean,
                    to_variance: variance,
                    ..shape
                };
                device.launch(&PROGRAM, "batch_norm_moments", reduction(&shape), &arguments)?;
                let grid = Grid::blocks(shape.channels as usize);
                device.launch(&PROGRAM, "batch_norm_statistics", grid, &arguments)?;
                (mean, variance)
            }
        };
        let arguments = Arguments {
            x,
            weight: call.inputs[1],
            bias: call.inputs[2],
            mean,
            variance,
            residual: if self.residual {
                call.inputs[self.residual_position()]
            } else {
                Pointer::NULL
            },
            to: call.output,
            ..shape
        };
        let grid = Grid::elements(shape.stride as usize);
        Ok(device.launch(&PROGRAM, "batch_norm_forward", grid, &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let shape = arguments(self, call.shapes[0]);
        let given = self.statistics == Statistics::Given;
        let (mean, variance) = match given {
            true => (call.inputs[3], call.inputs[4]),
            false => (call.saved[0], call.saved[1]),
        };
        let gradient = |position: usize| target(call.gradients.get(position).copied().flatten());
        let statistics = |position| if given { gradient(position) } else { target(None) };
        let (to, add) = gradient(0);
        let (to_weight, add_weight) = gradient(1);
        let (to_bias, add_bias) = gradient(2);
        let (to_mean, add_mean) = statistics(3);
        let (to_variance, add_variance) = statistics(4);
        let (to_residual, add_residual) = gradient(self.residual_position());
        let mut arguments = Arguments {
            x: call.inputs[0],
            weight: call.inputs[1],
            bias: call.inputs[2],
            mean,
            variance,
            output: call.output,
            grad_output: call.grad_output,
            to,
            to_residual,
            to_weight,
            to_bias,
            to_mean,
            to_variance,
            add,
            add_residual,
            add_weight,
            add_bias,
            add_mean,
            add_variance,
            ..shape
        };
        let through_statistics = !given && to != Pointer::NULL;
        let levels =
            device.scratch(if through_statistics { 2 * shape.channels as usize } else { 0 })?;
        let of_channels = [to_weight, to_bias, to_mean, to_variance];
        if through_statistics || of_channels.iter().any(|&to| to != Pointer::NULL) {
            let partial = partial(device, &shape)?;
            arguments.partial = partial.pointer();
            if through_statistics {
                arguments.levels = levels.pointer();
            }
            device.launch(&PROGRAM, "batch_norm_sums", reduction(&shape), &arguments)?;
            let grid = Grid::blocks(shape.channels as usize);
            device.launch(&PROGRAM, "batch_norm_grad_channel", grid, &arguments)?;
        }
        if to != Pointer::NULL || to_residual != Pointer::NULL {
            let grid = Grid::elements(shape.stride as usize);
            device.launch(&PROGRAM, "batch_norm_backward", grid, &arguments)?;
        }
        Ok(())
    }
}
