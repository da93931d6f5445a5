//! The launches of [`Prelu`].

use super::Prelu;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "prelu",
    &[Part::PRELUDE, Part { file: "prelu.cu", text: include_str!("prelu.cu") }],
    include_str!("../../../../tests/ptx/prelu.ptx"),
);

impl GpuOp for Prelu {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
