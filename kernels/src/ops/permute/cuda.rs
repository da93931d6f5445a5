//! The launches of [`Permute`].

use super::Permute;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "permute",
    &[Part::PRELUDE, Part { file: "permute.cu", text: include_str!("permute.cu") }],
    include_str!("../../../../tests/ptx/permute.ptx"),
);

impl GpuOp for Permute {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
