//! The launches of [`GraphConv`].

use super::GraphConv;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Part, Program};

static PROGRAM: Program = Program::new(
    "graph_conv",
    &[Part::PRELUDE, Part { file: "graph_conv.cu", text: include_str!("graph_conv.cu") }],
    include_str!("../../../../tests/ptx/graph_conv.ptx"),
);

impl GpuOp for GraphConv {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, _: &Device, _: Forward<'_>) -> Result<()> {
        todo!()
    }

    fn backward_gpu(&self, _: &Device, _: Backward<'_>) -> Result<()> {
        todo!()
    }
}
