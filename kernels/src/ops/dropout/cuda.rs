//! The launches of [`Dropout`].

use super::Dropout;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "dropout",
    &[Part::PRELUDE, Part { file: "dropout.cu", text: include_str!("dropout.cu") }],
    include_str!("../../../ptx/dropout.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    to: Pointer,
    count: i64,
    stream: [u32; 4],
    threshold: u32,
    scale: f32,
    add: u32,
    unused: u32,
}

impl Dropout {
    /// The forward pass on x, and the backward pass on the gradient of the output.
    fn launch(
        &self,
        device: &Device,
        x: Pointer,
        to: Pointer,
        count: usize,
        add: bool,
    ) -> Result<()> {
        let arguments = Arguments {
            x,
            to,
            count: count as i64,
            stream: self.stream.name(),
            // As on the CPU, so that the same elements are dropped.
            threshold: (self.probability * 2f64.powi(32)) as u32,
            scale: (1.0 / (1.0 - self.probability)) as f32,
            add: add.into(),
            unused: 0,
        };
        Ok(device.launch(
            &PROGRAM,
            "dropout_apply",
            Grid::elements(count.div_ceil(4)),
            &arguments,
        )?)
    }
}

impl GpuOp for Dropout {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        self.launch(device, call.inputs[0], call.output, call.shapes[0].count(), false)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        self.launch(device, call.grad_output, gradient.data, call.shapes[0].count(), gradient.add)
    }
}
