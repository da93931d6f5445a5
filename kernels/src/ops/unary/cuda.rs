//! The launches of [`Unary`].

use super::Unary;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::{Op, Result};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "unary",
    &[Part::PRELUDE, Part { file: "unary.cu", text: include_str!("unary.cu") }],
    include_str!("../../../ptx/unary.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    kept: Pointer,
    grad_output: Pointer,
    to: Pointer,
    count: i64,
    kind: u32,
    add: u32,
    low: f32,
    high: f32,
}

impl Unary {
    fn arguments(self, kept: Pointer, to: Pointer, count: usize) -> Arguments {
        let (low, high) = match self {
            Unary::Clamp { low, high } => (low, high),
            _ => (0.0, 0.0),
        };
        let kind = match self {
            Unary::Exp => 0,
            Unary::Log => 1,
            Unary::Sqrt => 2,
            Unary::Square => 3,
            Unary::Abs => 4,
            Unary::Negate => 5,
            Unary::Reciprocal => 6,
            Unary::Softplus => 7,
            Unary::Clamp { .. } => 8,
        };
        Arguments {
            kept,
            grad_output: Pointer::NULL,
            to,
            count: count as i64,
            kind,
            add: 0,
            low: low as f32,
            high: high as f32,
        }
    }
}

impl GpuOp for Unary {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let count = call.shapes[0].count();
        let arguments = self.arguments(call.inputs[0], call.output, count);
        Ok(device.launch(&PROGRAM, "unary_forward", Grid::elements(count), &arguments)?)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let count = call.shapes[0].count();
        let kept = if self.keep().output { call.output } else { call.inputs[0] };
        let arguments = Arguments {
            grad_output: call.grad_output,
            add: gradient.add.into(),
            ..self.arguments(kept, gradient.data, count)
        };
        Ok(device.launch(&PROGRAM, "unary_backward", Grid::elements(count), &arguments)?)
    }
}
