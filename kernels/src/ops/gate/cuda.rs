//! The launches of [`Gate`].

use super::Gate;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "gate",
    &[Part::PRELUDE, Part { file: "gate.cu", text: include_str!("gate.cu") }],
    include_str!("../../../../tests/ptx/gate.ptx"),
);

impl GpuOp for Gate {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
