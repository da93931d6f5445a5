//! The launches of [`Attention`].

use super::Attention;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "attention",
    &[Part::PRELUDE, Part { file: "attention.cu", text: include_str!("attention.cu") }],
    include_str!("../../../../tests/ptx/attention.ptx"),
);

impl GpuOp for Attention {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
