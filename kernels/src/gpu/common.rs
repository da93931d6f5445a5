//! Kernels that belong to no single op, and the arithmetic of split reductions.

use super::{Block, Device, Gradient, Grid, Part, Pointer, Program, Result};
use bytemuck::NoUninit;

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
struct Blend {
    old: Pointer,
    now: Pointer,
    to: Pointer,
    count: i64,
    keep: f64,
    take: f64,
}

/// One parameter of an optimiser's step, all of `count` numbers.
#[derive(Debug, Clone, Copy, NoUninit)]
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

    /// Adds up `partial` [slices, count] over the slices, in order, into a gradient of `count` numbers.
    ///
    /// # Errors
    /// When the launch is refused.
    pub fn sum_slices(
        &self,
        partial: &Block,
        slices: u32,
        count: usize,
        gradient: Gradient,
    ) -> Result<()> {
        let arguments = SumSlices {
            partial: partial.pointer(),
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

    /// to = keep old + take now, `count` numbers each.
    ///
    /// # Errors
    /// When the launch is refused.
    pub fn blend(
        &self,
        to: Pointer,
        count: usize,
        (keep, old): (f64, Pointer),
        (take, now): (f64, Pointer),
    ) -> Result<()> {
        let arguments = Blend { old, now, to, count: count as i64, keep, take };
        self.launch(&PROGRAM, "blend", Grid::elements(count), &arguments)
    }

    /// One step of SGD on all parameters.
    ///
    /// # Errors
    /// When the launch is refused.
    pub fn sgd(&self, parameters: &[Parameter], rates: Rates) -> Result<()> {
        self.optimise("sgd", parameters, rates, Pointer::NULL)
    }

    /// One step of Adam on all parameters.
    ///
    /// # Errors
    /// When the launch is refused.
    pub fn adam(&self, parameters: &[Parameter], rates: Rates) -> Result<()> {
        self.optimise("adam", parameters, rates, Pointer::NULL)
    }

    /// The sum of squares of each parameter's gradient.
    ///
    /// # Errors
    /// When the launch is refused, or work before it failed.
    pub fn squares(&self, parameters: &[Parameter]) -> Result<Vec<f64>> {
        let parts = SHARE as usize;
        let block = self.allocate(8 * parts * parameters.len())?;
        self.optimise("squares", parameters, Rates::default(), block.pointer())?;
        let mut sums = vec![0.0f64; parts * parameters.len()];
        self.download(block.pointer(), &mut sums)?;
        Ok(sums.chunks(parts).map(|parts| parts.iter().sum()).collect())
    }

    fn optimise(
        &self,
        kernel: &'static str,
        parameters: &[Parameter],
        rates: Rates,
        squares: Pointer,
    ) -> Result<()> {
        if parameters.is_empty() {
            return Ok(());
        }
        let table = self.upload(parameters)?;
        let arguments = Optimise {
            parameters: table.pointer(),
            squares,
            rate: rates.rate,
            decay: rates.decay,
            momentum: rates.momentum,
            beta: rates.beta,
            rest: 1.0 - rates.momentum,
            rest_beta: 1.0 - rates.beta,
            epsilon: rates.epsilon,
            root: rates.root,
        };
        let mut grid = Grid::blocks(SHARE as usize);
        grid.blocks[1] = u32::try_from(parameters.len()).unwrap_or(u32::MAX);
        self.launch(&PROGRAM, kernel, grid, &arguments)
    }
}
