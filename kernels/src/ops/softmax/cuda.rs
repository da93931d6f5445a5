//! The launches of [`Softmax`].

use super::Softmax;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "softmax",
    &[Part::PRELUDE, Part { file: "softmax.cu", text: include_str!("softmax.cu") }],
    include_str!("../../../../tests/ptx/softmax.ptx"),
);

impl GpuOp for Softmax {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
