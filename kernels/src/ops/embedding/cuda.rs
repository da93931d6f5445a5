//! The launches of [`Embedding`].

use super::Embedding;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "embedding",
    &[Part::PRELUDE, Part { file: "embedding.cu", text: include_str!("embedding.cu") }],
    include_str!("../../../../tests/ptx/embedding.ptx"),
);

impl GpuOp for Embedding {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
