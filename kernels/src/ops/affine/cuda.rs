//! The launches of [`Affine`].

use super::Affine;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "affine",
    &[Part::PRELUDE, Part { file: "affine.cu", text: include_str!("affine.cu") }],
    include_str!("../../../../tests/ptx/affine.ptx"),
);

impl GpuOp for Affine {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
