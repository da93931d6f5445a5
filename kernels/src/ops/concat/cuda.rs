//! The launches of [`Concat`].

use super::Concat;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "concat",
    &[Part::PRELUDE, Part { file: "concat.cu", text: include_str!("concat.cu") }],
    include_str!("../../../../tests/ptx/concat.ptx"),
);

impl GpuOp for Concat {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
