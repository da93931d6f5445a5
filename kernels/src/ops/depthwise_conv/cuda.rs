//! The launches of [`DepthwiseConv`].

use super::DepthwiseConv;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "depthwise_conv",
    &[Part::PRELUDE, Part { file: "depthwise_conv.cu", text: include_str!("depthwise_conv.cu") }],
    include_str!("../../../../tests/ptx/depthwise_conv.ptx"),
);

impl GpuOp for DepthwiseConv {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
