//! The launches of [`InfoNce`].

use super::InfoNce;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "info_nce",
    &[Part::PRELUDE, Part { file: "info_nce.cu", text: include_str!("info_nce.cu") }],
    include_str!("../../../../tests/ptx/info_nce.ptx"),
);

impl GpuOp for InfoNce {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
