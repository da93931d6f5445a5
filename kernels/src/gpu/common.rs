//! Kernels that belong to no single op, and the arithmetic of split reductions.

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

/// Partial sums of a gradient, [slices, count].
#[derive(Debug)]
pub struct Partial {
    /// None where the one slice is the gradient itself.
    scratch: Option<Block>,
    gradient: Gradient,
    slices: u32,
    count: usize,
}

impl Partial {
    /// Where the slices go.
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

/// One running statistic, of `count` numbers: value = keep value + take now.
#[derive(Debug, Clone, Copy, PartialEq, NoUninit)]
#[repr(C)]
pub struct Statistic {
    /// Its numbers, changed in place.
    pub value: Pointer,
    /// Those of the batch.
    pub now: Pointer,
    /// How many numbers.
    pub count: i64,
    /// The share of the value that stays.
    pub keep: f64,
    /// The share of what is now.
    pub take: f64,
}

/// Which update shut a latch, and why.
///
/// A latch is 16 zeroed bytes on a device. The first update whose loss or gradient is not finite shuts it, and as long
/// as it is shut no update changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Verdict {
    /// The update that shut the latch; this one or one before.
    pub update: i64,
    /// 0: it is open; 1: the loss is not finite; 2 + i: the gradient of the table's row i.
    pub culprit: i64,
    /// The loss of this update.
    pub loss: f64,
    /// The square of the norm of all gradients.
    pub square: f64,
}

impl Verdict {
    /// Bytes of a latch.
    pub const LATCH: usize = 16;
}

/// One parameter of an optimiser's step, all of `count` numbers.
#[derive(Debug, Clone, Copy, PartialEq, NoUninit)]
#[repr(C)]
pub struct Parameter {
    /// Its numbers.
    pub weight: Pointer,
    /// Its velocity, or Adam's first moment.
    pub first: Pointer,
    /// Adam's second moment; null for SGD.
    pub second: Pointer,
    /// Its gradient.
    pub gradient: Pointer,
    /// How many numbers.
    pub count: i64,
}

/// The numbers of an optimiser's step; those of the other rule are 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// The learning rate; Adam's with its bias correction.
    pub rate: f32,
    /// Weight decay.
    pub decay: f32,
    /// Momentum, or Adam's first beta.
    pub momentum: f32,
    /// Adam's second beta.
    pub beta: f32,
    /// Adam's epsilon.
    pub epsilon: f32,
    /// Adam's correction of the root of the second moment.
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

/// Blocks that share one parameter.
const SHARE: u32 = 64;

impl Device {
    /// Scratch memory for so many f32 or u32 numbers: f32 is what every variant of a kernel sums in.
    ///
    /// # Errors
    /// When there is not so much.
    pub fn scratch(&self, numbers: usize) -> Result<Block> {
        self.allocate(4 * numbers)
    }

    /// Where the slices of a split reduction go: [slices, count] partial sums, for [`sum_slices`](Self::sum_slices) to
    /// add up into a gradient of `count` numbers. The only slice of a gradient that is not added to is the gradient.
    ///
    /// # Errors
    /// When there is no room.
    pub fn partial(&self, slices: u32, count: usize, gradient: Gradient) -> Result<Partial> {
        let direct = slices == 1 && !gradient.add;
        let scratch = (!direct).then(|| self.scratch(slices as usize * count)).transpose()?;
        Ok(Partial { scratch, gradient, slices, count })
    }

    /// Adds partial sums up over the slices, in order, once every slice is written.
    ///
    /// # Errors
    /// When the launch is refused.
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
    /// When the launch is refused.
    pub fn accumulate(&self, to: Pointer, from: Pointer, count: usize) -> Result<()> {
        let arguments = Accumulate { to, from, count: count as i64 };
        self.launch(&PROGRAM, "accumulate", Grid::elements(count), &arguments)
    }

    /// Writes `value` to `count` numbers.
    ///
    /// # Errors
    /// When the launch is refused.
    pub fn set(&self, to: Pointer, count: usize, value: f32) -> Result<()> {
        let arguments = Set { to, count: count as i64, value, unused: 0 };
        self.launch(&PROGRAM, "set", Grid::elements(count), &arguments)
    }

    /// Moves running statistics to those of a batch, unless the latch is shut; a null latch is open.
    ///
    /// # Errors
    /// When the launch is refused.
    pub fn blend(&self, statistics: &Table<Statistic>, latch: Pointer) -> Result<()> {
        let arguments = Blend { statistics: statistics.pointer(), latch };
        self.launch(&PROGRAM, "blend", rows(1, statistics.len()), &arguments)
    }

    /// One step of SGD on all parameters, unless the latch is shut; a null latch is open.
    ///
    /// # Errors
    /// When the launch is refused.
    pub fn sgd(&self, parameters: &Table<Parameter>, rates: Rates, latch: Pointer) -> Result<()> {
        self.optimise("sgd", parameters, rates, Pointer::NULL, latch)
    }

    /// One step of Adam on all parameters, unless the latch is shut; a null latch is open.
    ///
    /// # Errors
    /// When the launch is refused.
    pub fn adam(&self, parameters: &Table<Parameter>, rates: Rates, latch: Pointer) -> Result<()> {
        self.optimise("adam", parameters, rates, Pointer::NULL, latch)
    }

    /// Shuts the latch if the loss, one number, or a parameter's gradient is not finite, and writes a [`Verdict`].
    ///
    /// # Errors
    /// When a launch is refused.
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

/// So many blocks along x for each row of a table; none for an empty one.
fn rows(blocks: usize, rows: usize) -> Grid {
    let mut grid = Grid::blocks(blocks);
    grid.blocks[1] = u32::try_from(rows).unwrap_or(u32::MAX);
    grid
}
