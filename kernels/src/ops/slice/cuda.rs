//! The launches of [`Slice`].

use super::Slice;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "slice",
    &[Part::PRELUDE, Part { file: "slice.cu", text: include_str!("slice.cu") }],
    include_str!("../../../../tests/ptx/slice.ptx"),
);

impl GpuOp for Slice {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
