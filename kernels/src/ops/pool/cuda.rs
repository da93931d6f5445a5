//! The launches of [`Pool`].

use super::Pool;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "pool",
    &[Part::PRELUDE, Part { file: "pool.cu", text: include_str!("pool.cu") }],
    include_str!("../../../../tests/ptx/pool.ptx"),
);

impl GpuOp for Pool {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
