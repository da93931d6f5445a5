//! The launches of [`ScatterRows`].

use super::ScatterRows;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Gradient, Grid, Part, Pointer, Program};
use crate::ops::embedding::cuda::sum_rows;
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "scatter_rows",
    &[Part::PRELUDE, Part { file: "scatter_rows.cu", text: include_str!("scatter_rows.cu") }],
    include_str!("../../../ptx/scatter_rows.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    grad_output: Pointer,
    numbers: Pointer,
    to: Pointer,
    rows: i64,
    width: i64,
    count: i64,
    add: u32,
    unused: u32,
}

impl GpuOp for ScatterRows {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let (count, width) = (call.shapes[0].rows(), call.shapes[0].features());
        let sums = Gradient { data: call.output, add: false };
        sum_rows(device, call.inputs[0], call.indices[0], count, [self.rows, width], sums)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let arguments = Arguments {
            grad_output: call.grad_output,
            numbers: call.indices[0],
            to: gradient.data,
            rows: self.rows as i64,
            width: call.shapes[0].features() as i64,
            count: call.shapes[0].rows() as i64,
            add: gradient.add.into(),
            unused: 0,
        };
        let grid = Grid::elements(call.shapes[0].count());
        Ok(device.launch(&PROGRAM, "scatter_rows_backward", grid, &arguments)?)
    }
}
