//! The launches of [`Dropout`].

use super::Dropout;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "dropout",
    &[Part::PRELUDE, Part { file: "dropout.cu", text: include_str!("dropout.cu") }],
    include_str!("../../../../tests/ptx/dropout.ptx"),
);

impl GpuOp for Dropout {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
