//! The launches of [`Arithmetic`].

use super::Arithmetic;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "arithmetic",
    &[Part::PRELUDE, Part { file: "arithmetic.cu", text: include_str!("arithmetic.cu") }],
    include_str!("../../../../tests/ptx/arithmetic.ptx"),
);

impl GpuOp for Arithmetic {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
