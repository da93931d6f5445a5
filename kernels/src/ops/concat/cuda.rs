//! The launches of [`Concat`].

use super::Concat;
use crate::Result;
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "concat",
    &[Part::PRELUDE, Part { file: "concat.cu", text: include_str!("concat.cu") }],
    include_str!("../../../ptx/concat.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    from: Pointer,
    to: Pointer,
    count: i64,
    length: i64,
    from_offset: i64,
    from_stride: i64,
    to_offset: i64,
    to_stride: i64,
    add: u32,
    unused: u32,
}

impl GpuOp for Concat {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        let (count, runs, width) = self.runs(call.shapes);
        for (&input, (offset, length)) in call.inputs.iter().zip(runs) {
            let arguments = Arguments {
                from: input,
                to: call.output,
                count: (count * length) as i64,
                length: length as i64,
                from_offset: 0,
                from_stride: length as i64,
                to_offset: offset as i64,
                to_stride: width as i64,
                add: 0,
                unused: 0,
            };
            device.launch(&PROGRAM, "concat_copy", Grid::elements(count * length), &arguments)?;
        }
        Ok(())
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let (count, runs, width) = self.runs(call.shapes);
        for (gradient, (offset, length)) in call.gradients.iter().zip(runs) {
            let Some(gradient) = gradient else { continue };
            let arguments = Arguments {
                from: call.grad_output,
                to: gradient.data,
                count: (count * length) as i64,
                length: length as i64,
                from_offset: offset as i64,
                from_stride: width as i64,
                to_offset: 0,
                to_stride: length as i64,
                add: gradient.add.into(),
                unused: 0,
            };
            device.launch(&PROGRAM, "concat_copy", Grid::elements(count * length), &arguments)?;
        }
        Ok(())
    }
}
