//! The launches of [`Conv3d`].

use super::Conv3d;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "conv3d",
    &[Part::PRELUDE, Part { file: "conv3d.cu", text: include_str!("conv3d.cu") }],
    include_str!("../../../../tests/ptx/conv3d.ptx"),
);

impl GpuOp for Conv3d {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
