//! The launches of [`MaxUnpool`].

use super::{Extents, MaxUnpool};
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::{Result, Shape};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "max_unpool",
    &[Part::PRELUDE, Part { file: "max_unpool.cu", text: include_str!("max_unpool.cu") }],
    include_str!("../../../ptx/max_unpool.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    from: Pointer,
    indices: Pointer,
    owners: Pointer,
    to: Pointer,
    count: i64,
    pixels: i64,
    places: i64,
    features: i64,
    add: u32,
    unused: u32,
}

impl MaxUnpool {
    /// The arguments for an x that `plan` accepted, in a launch over the elements of x.
    fn arguments(&self, x: Shape, indices: Pointer, owners: Pointer) -> Arguments {
        let extents = Extents::new(self, x);
        Arguments {
            from: Pointer::NULL,
            indices,
            owners,
            to: Pointer::NULL,
            count: x.count() as i64,
            pixels: extents.x as i64,
            places: extents.output as i64,
            features: extents.features as i64,
            add: 0,
            unused: 0,
        }
    }
}

impl GpuOp for MaxUnpool {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let x = call.shapes[0];
        let arguments = self.arguments(x, call.indices[0], call.saved[0]);
        let count = x[0] * arguments.places as usize * x[4];
        device.driver().fill(call.saved[0].0, 0, 4 * count)?;
        device.launch(&PROGRAM, "max_unpool_owners", Grid::elements(x.count()), &arguments)?;
        let arguments =
            Arguments { from: call.inputs[0], to: call.output, count: count as i64, ..arguments };
        Ok(device.launch(&PROGRAM, "max_unpool_forward", Grid::elements(count), &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let x = call.shapes[0];
        let arguments = Arguments {
            from: call.grad_output,
            to: gradient.data,
            add: gradient.add.into(),
            ..self.arguments(x, call.indices[0], call.saved[0])
        };
        let grid = Grid::elements(x.count());
        Ok(device.launch(&PROGRAM, "max_unpool_backward", grid, &arguments)?)
    }
}
