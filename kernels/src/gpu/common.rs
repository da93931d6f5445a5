//! Kernels that no single op owns (fills, optimisers, statistics), and split reductions.

use super::{Block, Device, Gradient, Grid, Part, Pointer, Program, Result, Table};
use bytemuck::{NoUninit, Pod, Zeroable};

static PROGRAM: Program = Program::new(
    "common",
    &[Part::PRELUDE, Part { file: "common.cu", text: include_str!("common.cu") }],
    include_str!("../../ptx/common.ptx"),
);

/// The program of these kernels.
pub(super) fn program() -> &'static Program {
    &PROGRAM
}

/// The split of a long reduction among blocks: a function of its length, so that sums do not depend on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slices {
    /// The number of slices.
    pub count: u32,
    /// The length of each slice but the last, which may be shorter.
    pub length: i64,
}

impl Slices {
    /// 1 to 64 slices of `total` terms, each of about `length` terms.
    pub fn of(total: usize, length: usize) -> Slices {
        let count = total.div_ceil(length).clamp(1, 64);
        let length = total.div_ceil(count).max(1);
        Slices { count: total.div_ceil(length).max(1) as u32, length: length as i64 }
    }
}

/// Partial sums of a gradient: `[slices, count]`.
#[derive(Debug)]
pub struct Partial {
    /// None if the only slice is written to the gradient.
    scratch: Option<Block>,
    gradient: Gradient,
    slices: u32,
    count: usize,
}

impl Partial {
    /// The address to which kernels write the slices.
    pub fn pointer(&self) -> Pointer {
        self.scratch.as_ref().map_or(self.gradient.data, Block::pointer)
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

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Accumulate {
    to: Pointer,
    from: Pointer,
    count: i64,
}

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Set {
    to: Pointer,
    count: i64,
    value: f32,
    unused: u32,
}

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Blend {
    statistics: Pointer,
    latch: Pointer,
}

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Judge {
    squares: Pointer,
    loss: Pointer,
    latch: Pointer,
    verdict: Pointer,
    update: i64,
    parameters: u32,
    parts: u32,
}

/// One running statistic of `count` numbers and its update: value = keep * value + take * now.
#[derive(Debug, Clone, Copy, PartialEq, NoUninit)]
#[repr(C)]
pub struct Statistic {
    /// The running numbers, updated in place.
    pub value: Pointer,
    /// The batch's numbers.
    pub now: Pointer,
    /// The number of numbers.
    pub count: i64,
    /// The weight of the old value.
    pub keep: f64,
    /// The weight of the batch's value.
    pub take: f64,
}

/// The state of a latch after an update: whether it is shut, by which update, and why.
///
/// A latch is 16 bytes on a device, zero at first. The first update with a loss or gradient that is not finite shuts
/// it; a shut latch makes [`Device::blend`], [`Device::sgd`] and [`Device::adam`] change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Verdict {
    /// The update that shut the latch: this one or an earlier one.
    pub update: i64,
    /// 0: open; 1: the loss is not finite; 2 + i: the gradient of the table's row i is not finite.
    pub culprit: i64,
    /// The loss of this update.
    pub loss: f64,
    /// The squared L2 norm of all gradients.
    pub square: f64,
}

impl Verdict {
    /// The size of a latch in bytes.
    pub const LATCH: usize = 16;
}

/// One parameter of an optimiser's step. Every buffer has `count` numbers.
#[derive(Debug, Clone, Copy, PartialEq, NoUninit)]
#[repr(C)]
pub struct Parameter {
    /// The parameter's values.
    pub weight: Pointer,
    /// SGD's velocity, or Adam's first moment.
    pub first: Pointer,
    /// Adam's second moment; null for SGD.
    pub second: Pointer,
    /// The parameter's gradient.
    pub gradient: Pointer,
    /// The number of numbers.
    pub count: i64,
}

/// The settings of an optimiser's step, SGD or Adam. Settings that the optimiser does not have are 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// The learning rate; for Adam with its bias correction.
    pub rate: f32,
    /// Weight decay.
    pub decay: f32,
    /// SGD's momentum, or Adam's beta 1.
    pub momentum: f32,
    /// Adam's beta 2.
    pub beta: f32,
    /// Adam's epsilon.
    pub epsilon: f32,
    /// Adam's bias correction of the square root of the second moment.
    pub root: f32,
}

#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Optimise {
    parameters: Pointer,
    squares: Pointer,
    latch: Pointer,
    rate: f32,
    decay: f32,
    momentum: f32,
    beta: f32,
    rest: f32,
    rest_beta: f32,
    epsilon: f32,
    root: f32,
}

/// Blocks for each parameter.
const SHARE: u32 = 64;

impl Device {
    /// Scratch memory for `numbers` f32 or u32 numbers, of unspecified value. Every variant of a kernel sums in f32.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn scratch(&self, numbers: usize) -> Result<Block> {
        self.allocate(4 * numbers)
    }

    /// A buffer for the partial sums `[slices, count]` of a gradient of `count` numbers. Write every slice, then call
    /// [`sum_slices`](Self::sum_slices). One slice that overwrites needs no buffer: it is the gradient.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn partial(&self, slices: u32, count: usize, gradient: Gradient) -> Result<Partial> {
        let direct = slices == 1 && !gradient.add;
        let scratch = (!direct).then(|| self.scratch(slices as usize * count)).transpose()?;
        Ok(Partial { scratch, gradient, slices, count })
    }

    /// Writes or adds the sum over the slices, in order, to the gradient.
    ///
    /// # Errors
    /// When the launch fails.
    pub fn sum_slices(&self, partial: Partial) -> Result<()> {
        let Partial { scratch: Some(scratch), gradient, slices, count } = partial else {
            return Ok(());
        };
        let arguments = SumSlices {
            partial: scratch.pointer(),
            output: gradient.data,
            count: count as i64,
            slices,
            add: gradient.add.into(),
        };
        self.launch(&PROGRAM, "sum_slices", Grid::elements(count), &arguments)
    }

    /// to += from, `count` numbers each.
    ///
    /// # Errors
    /// When the launch fails.
    pub fn accumulate(&self, to: Pointer, from: Pointer, count: usize) -> Result<()> {
        let arguments = Accumulate { to, from, count: count as i64 };
        self.launch(&PROGRAM, "accumulate", Grid::elements(count), &arguments)
    }

    /// Writes `value` to `count` numbers.
    ///
    /// # Errors
    /// When the launch fails.
    pub fn set(&self, to: Pointer, count: usize, value: f32) -> Result<()> {
        let arguments = Set { to, count: count as i64, value, unused: 0 };
        self.launch(&PROGRAM, "set", Grid::elements(count), &arguments)
    }

    /// Updates running statistics with those of a batch, unless the latch is shut; a null latch is open.
    ///
    /// # Errors
    /// When the launch fails.
    pub fn blend(&self, statistics: &Table<Statistic>, latch: Pointer) -> Result<()> {
        let arguments = Blend { statistics: statistics.pointer(), latch };
        self.launch(&PROGRAM, "blend", rows(1, statistics.len()), &arguments)
    }

    /// One step of SGD on all parameters, unless the latch is shut; a null latch is open.
    ///
    /// # Errors
    /// When the launch fails.
    pub fn sgd(&self, parameters: &Table<Parameter>, rates: Rates, latch: Pointer) -> Result<()> {
        self.optimise("sgd", parameters, rates, Pointer::NULL, latch)
    }

    /// One step of Adam on all parameters, unless the latch is shut; a null latch is open.
    ///
    /// # Errors
    /// When the launch fails.
    pub fn adam(&self, parameters: &Table<Parameter>, rates: Rates, latch: Pointer) -> Result<()> {
        self.optimise("adam", parameters, rates, Pointer::NULL, latch)
    }

    /// Shuts the latch if the loss (one number) or a gradient is not finite, and writes a [`Verdict`] to `verdict`.
    ///
    /// # Errors
    /// When a launch fails.
    pub fn judge(
        &self,
        parameters: &Table<Parameter>,
        loss: Pointer,
        latch: Pointer,
        update: u64,
        verdict: Pointer,
    ) -> Result<()> {
        let squares = self.allocate(8 * SHARE as usize * parameters.len())?;
        let (rates, to) = (Rates::default(), squares.pointer());
        self.optimise("squares", parameters, rates, to, Pointer::NULL)?;
        let arguments = Judge {
            squares: squares.pointer(),
            loss,
            latch,
            verdict,
            update: update as i64,
            parameters: parameters.len() as u32,
            parts: SHARE,
        };
        self.launch(&PROGRAM, "judge", Grid::blocks(1), &arguments)
    }

    fn optimise(
        &self,
        kernel: &'static str,
        parameters: &Table<Parameter>,
        rates: Rates,
        squares: Pointer,
        latch: Pointer,
    ) -> Result<()> {
        let arguments = Optimise {
            parameters: parameters.pointer(),
            squares,
            latch,
            rate: rates.rate,
            decay: rates.decay,
            momentum: rates.momentum,
            beta: rates.beta,
            rest: 1.0 - rates.momentum,
            rest_beta: 1.0 - rates.beta,
            epsilon: rates.epsilon,
            root: rates.root,
        };
        self.launch(&PROGRAM, kernel, rows(SHARE as usize, parameters.len()), &arguments)
    }
}

/// `blocks` blocks along x for each row of a table; an empty grid for an empty table.
fn rows(blocks: usize, rows: usize) -> Grid {
    let mut grid = Grid::blocks(blocks);
    grid.blocks[1] = u32::try_from(rows).unwrap_or(u32::MAX);
    grid
}
