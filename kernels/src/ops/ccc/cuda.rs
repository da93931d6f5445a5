//! The launches of [`Ccc`].

use super::Ccc;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "ccc",
    &[Part::PRELUDE, Part { file: "ccc.cu", text: include_str!("ccc.cu") }],
    include_str!("../../../../tests/ptx/ccc.ptx"),
);

impl GpuOp for Ccc {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
