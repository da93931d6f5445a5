//! The launches of [`BatchNorm`].

use super::BatchNorm;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "batch_norm",
    &[Part::PRELUDE, Part { file: "batch_norm.cu", text: include_str!("batch_norm.cu") }],
    include_str!("../../../../tests/ptx/batch_norm.ptx"),
);

impl GpuOp for BatchNorm {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
