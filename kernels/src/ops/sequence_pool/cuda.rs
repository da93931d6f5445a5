//! The launches of [`SequencePool`].

use super::SequencePool;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "sequence_pool",
    &[Part::PRELUDE, Part { file: "sequence_pool.cu", text: include_str!("sequence_pool.cu") }],
    include_str!("../../../../tests/ptx/sequence_pool.ptx"),
);

impl GpuOp for SequencePool {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
