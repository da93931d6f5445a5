//! The launches of [`LayerNorm`].

use super::LayerNorm;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "layer_norm",
    &[Part::PRELUDE, Part { file: "layer_norm.cu", text: include_str!("layer_norm.cu") }],
    include_str!("../../../../tests/ptx/layer_norm.ptx"),
);

impl GpuOp for LayerNorm {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
