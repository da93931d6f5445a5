//! The launches of [`Mse`].

use super::Mse;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "mse",
    &[Part::PRELUDE, Part { file: "mse.cu", text: include_str!("mse.cu") }],
    include_str!("../../../../tests/ptx/mse.ptx"),
);

impl GpuOp for Mse {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
