//! The launches of [`Bce`].

use super::Bce;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "bce",
    &[Part::PRELUDE, Part { file: "bce.cu", text: include_str!("bce.cu") }],
    include_str!("../../../../tests/ptx/bce.ptx"),
);

impl GpuOp for Bce {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
