//! The launches of [`Permute`].

use super::Permute;
use super::cpu::{Axis, collapse};
use crate::gpu::{Backward, Device, Forward, GpuOp, Grid, Part, Pointer, Program};
use crate::{MAX_RANK, Result};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "permute",
    &[Part::PRELUDE, Part { file: "permute.cu", text: include_str!("permute.cu") }],
    include_str!("../../../ptx/permute.ptx"),
);

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Arguments {
    x: Pointer,
    to: Pointer,
    count: i64,
    extents: [i64; MAX_RANK],
    from: [i64; MAX_RANK],
    steps: [i64; MAX_RANK],
    rank: u32,
    add: u32,
}

/// Side of a square that is transposed in shared memory.
const SQUARE: usize = 32;
/// Axes shorter than this are not transposed in squares, which would be mostly empty.
const SHORT: usize = 8;

/// Writes or adds x, of this shape, with its axes in this order.
pub(crate) fn permute(
    device: &Device,
    shape: &[usize],
    axes: &[usize],
    x: Pointer,
    to: Pointer,
    add: bool,
) -> Result<()> {
    let count: usize = shape.iter().product();
    let (mut axes, rank) = collapse(shape, axes);
    let axes = &mut axes[..rank];
    // The fastest axis first.
    axes.reverse();
    let side = axes.iter().position(|axis| axis.from == 1).filter(|&side| side > 0);
    let turned = side.filter(|&side| axes[side].extent.min(axes[0].extent) >= SHORT);
    if let Some(side) = turned {
        // The contiguous axis of x comes next.
        axes[1..=side].rotate_right(1);
    }
    let numbers =
        |of: fn(&Axis) -> usize| std::array::from_fn(|i| axes.get(i).map_or(0, of) as i64);
    let arguments = Arguments {
        x,
        to,
        count: count as i64,
        extents: numbers(|axis| axis.extent),
        from: numbers(|axis| axis.from),
        steps: numbers(|axis| axis.to),
        rank: rank as u32,
        add: add.into(),
    };
    if turned.is_none() {
        return Ok(device.launch(&PROGRAM, "permute_copy", Grid::elements(count), &arguments)?);
    }
    let (two, outer) = axes.split_at(2);
    let squares: usize = two.iter().map(|axis| axis.extent.div_ceil(SQUARE)).product();
    let blocks = squares * outer.iter().map(|axis| axis.extent).product::<usize>();
    Ok(device.launch(&PROGRAM, "permute_turn", Grid::blocks(blocks), &arguments)?)
}

impl GpuOp for Permute {
    const PROGRAM: &'static Program = &PROGRAM;

    fn forward_gpu(&self, device: &Device, call: Forward<'_>) -> Result<()> {
        permute(device, &call.shapes[0], &self.axes, call.inputs[0], call.output, false)
    }

    fn backward_gpu(&self, device: &Device, call: Backward<'_>) -> Result<()> {
        let Some(gradient) = call.gradients[0] else { return Ok(()) };
        let (shape, inverse) = self.inverse(call.shapes[0]);
        permute(
            device,
            &shape,
            &inverse[..shape.len()],
            call.grad_output,
            gradient.data,
            gradient.add,
        )
    }
}
