//! The launches of [`Pool`].

use super::{Pool, PoolKind};
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "pool",
    &[Part::PRELUDE, Part { file: "pool.cu", text: include_str!("pool.cu") }],
    include_str!("../../../ptx/pool.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    from: Pointer,
    places: Pointer,
    to: Pointer,
    count: i64,
    features: i64,
    kernel: [i64; 3],
    stride: [i64; 3],
    padding: [i64; 3],
    input: [i64; 3],
    output: [i64; 3],
    share: f32,
    add: u32,
}

impl Pool {
    /// The arguments for an x that `plan` accepted, with null outputs.
    fn arguments(&self, x: Shape, places: Option<&Pointer>) -> Arguments {
        let input = [x[1], x[2], x[3]];
        let output = std::array::from_fn(|axis| self.windows(axis, input[axis]) as i64);
        let whole = |extents: [usize; 3]| extents.map(|extent| extent as i64);
        Arguments {
            from: Pointer::NULL,
            places: places.copied().unwrap_or(Pointer::NULL),
            to: Pointer::NULL,
            count: 0,
            features: x.features() as i64,
            kernel: whole(self.kernel),
            stride: whole(self.stride),
            padding: whole(self.padding),
            input: whole(input),
            output,
            share: (1.0 / self.kernel.iter().product::<usize>() as f64) as f32,
            add: 0,
        }
    }
}

impl GpuOp for Pool {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let arguments = self.arguments(call.shapes[0], call.saved.first());
        let count = arguments.output.iter().product::<i64>()
            * arguments.features
            * call.shapes[0][0] as i64;
        let arguments = Arguments { from: call.inputs[0], to: call.output, count, ..arguments };
        let kernel = match self.kind {
            PoolKind::Max => "pool_max",
            PoolKind::Average => "pool_average",
        };
        Ok(device.launch(&PROGRAM, kernel, Grid::elements(count as usize), &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let count = call.shapes[0].count();
        let arguments = Arguments {
            from: call.grad_output,
            to: gradient.data,
            count: count as i64,
            add: gradient.add.into(),
            ..self.arguments(call.shapes[0], call.saved.first())
        };
        Ok(device.launch(&PROGRAM, "pool_backward", Grid::elements(count), &arguments)?)
    }
}
