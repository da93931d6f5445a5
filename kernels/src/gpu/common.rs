//! Kernels that belong to no single op, and the arithmetic of split reductions.

use super::{Block, Device, Gradient, Grid, Part, Pointer, Program, Result};
use bytemuck::NoUninit;

static PROGRAM: Program = Program::new(
    "common",
    &[Part::PRELUDE, Part { file: "common.cu", text: include_str!("common.cu") }],
    include_str!("../../../tests/ptx/common.ptx"),
);

/// How a long reduction is split among blocks: by its length alone, so that the sums never depend on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slices {
    /// How many there are.
    pub count: u32,
    /// The length of each but the last.
    pub length: i64,
}

impl Slices {
    /// Slices of about `length`, at most 64.
    pub fn of(total: usize, length: usize) -> Slices {
        let count = total.div_ceil(length).clamp(1, 64);
        let length = total.div_ceil(count).max(1);
        Slices { count: total.div_ceil(length).max(1) as u32, length: length as i64 }
    }
}

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct SumSlices {
    partial: Pointer,
    output: Pointer,
    count: i64,
    slices: u32,
    add: u32,
}

impl Device {
    /// Scratch memory for so many numbers.
    ///
    /// # Errors
    /// When there is not so much.
    pub fn scratch(&self, numbers: usize) -> Result<Block> {
        self.allocate(4 * numbers)
    }

    /// Adds up `partial` [slices, count] over the slices, in order, into a gradient of `count` numbers.
    ///
    /// # Errors
    /// When the launch is refused.
    pub fn sum_slices(&self, partial: &Block, slices: u32, count: usize, gradient: Gradient) -> Result<()> {
        let arguments = SumSlices {
            partial: partial.pointer(),
            output: gradient.data,
            count: count as i64,
            slices,
            add: gradient.add.into(),
        };
        self.launch(&PROGRAM, "sum_slices", Grid::elements(count), &arguments)
    }
}
