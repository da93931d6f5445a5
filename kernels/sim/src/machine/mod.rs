//! Runs blocks.

mod access;
mod barrier;
mod blame;
mod collective;
mod copies;
mod matrix;
mod schedule;
mod site;
mod span;
mod traffic;
mod view;
mod warp;

use crate::check::Checker;
use crate::error::Error;
use crate::kernel::{Bank, Constant, Kernel, Source, Special};
use crate::lanes::{ALL, LANES};
use crate::launch::{Launch, Settings};
use crate::memory::{Allocation, Memory};
use crate::report::{Findings, Tally};
use copies::Copies;
use site::Site;
use span::Pattern;
use warp::Warp;

/// The state of one block, reused for the next block.
pub(crate) struct Machine<'a> {
    kernel: &'a Kernel,
    launch: &'a Launch<'a>,
    constants: &'a [Constant],
    /// Threads of a block.
    threads: u32,
    warps: Vec<Warp>,
    copies: Vec<Copies>,
    /// Arrivals without waiting: barrier id, warp, threads.
    arrived: Vec<(u32, usize, u32)>,
    shared: Allocation,
    /// Local memory of all threads, one after another.
    local: Allocation,
    /// `Some` in checked mode.
    pub checker: Option<Checker>,
    findings: Findings,
    /// Counters of each instruction.
    tallies: Vec<Tally>,
    /// The pattern of each instruction's last access.
    patterns: Vec<Option<Box<Pattern>>>,
    /// The running block.
    block: [u32; 3],
    steps: u64,
    step_limit: u64,
    /// Whether the step count restarts for each block.
    limit_per_block: bool,
}

impl<'a> Machine<'a> {
    /// A machine for one launch.
    pub fn new(
        kernel: &'a Kernel,
        launch: &'a Launch<'a>,
        constants: &'a [Constant],
        settings: &Settings,
        checker: Option<Checker>,
    ) -> Machine<'a> {
        let threads = launch.block.iter().product::<u32>();
        let count = (threads as usize).div_ceil(LANES);
        let shared_bytes = kernel.shared_bytes + launch.dynamic_shared as usize;
        let mut machine = Machine {
            kernel,
            launch,
            constants,
            threads,
            warps: vec![Warp::new(kernel.banks, settings.perturb); count],
            copies: vec![Copies::default(); count],
            arrived: Vec::new(),
            shared: Allocation::new(shared_bytes, "shared memory"),
            local: Allocation::new(kernel.local_bytes * threads as usize, "local memory"),
            limit_per_block: checker.is_none(),
            checker,
            findings: Findings::default(),
            tallies: vec![Tally::default(); kernel.instructions.len()],
            patterns: std::iter::repeat_with(|| None).take(kernel.instructions.len()).collect(),
            block: [0; 3],
            steps: 0,
            step_limit: settings.step_limit,
        };
        for warp in 0..count {
            for constant in constants {
                machine.preload(warp, constant);
            }
        }
        machine
    }

    /// Runs one block, by its index in the grid.
    pub fn run_block(&mut self, memory: &Memory, index: u32) -> Result<(), Error> {
        let [x, y, _] = self.launch.grid;
        self.block = [index % x, index / x % y, index / x / y];
        let constants = self.constants;
        for warp in 0..self.warps.len() {
            self.warps[warp].restart(self.threads, warp);
            for constant in constants {
                if matches!(constant.source, Source::Special(Special::Block(_))) {
                    self.preload(warp, constant);
                }
            }
        }
        self.copies.fill(Copies::default());
        self.arrived.clear();
        self.shared.reset();
        self.local.reset();
        if let Some(checker) = &mut self.checker {
            checker.order.start_block(index);
        }
        if self.limit_per_block {
            self.steps = 0;
        }
        self.schedule(memory)
    }

    /// Moves findings and counters to the caller's.
    pub fn finish(&mut self, findings: &mut Findings, tallies: &mut [Tally]) {
        findings.merge(std::mem::take(&mut self.findings));
        for (total, tally) in tallies.iter_mut().zip(&self.tallies) {
            total.add(tally);
        }
    }

    /// Fills a constant register of a warp.
    fn preload(&mut self, warp: usize, constant: &Constant) {
        let mut values = [0u64; LANES];
        for (lane, value) in values.iter_mut().enumerate() {
            *value = match constant.source {
                Source::Bits(bits) => bits,
                Source::Special(special) => self.special(special, warp, lane),
                Source::Variable(_) => 0,
            };
        }
        let registers = &mut self.warps[warp].registers;
        let slot = usize::from(constant.register.slot);
        match constant.register.bank {
            Bank::Half | Bank::Word => registers.words[slot] = values.map(|value| value as u32),
            Bank::Long => registers.longs[slot] = values,
            Bank::Predicate => {
                registers.predicates[slot] = if values[0] == 0 { 0 } else { ALL };
            }
        }
    }

    /// The value of a special register.
    fn special(&self, special: Special, warp: usize, lane: usize) -> u64 {
        let thread = (warp * LANES + lane) as u32;
        let value = match special {
            Special::Thread(axis) => self.coordinates(thread)[usize::from(axis)],
            Special::BlockSize(axis) => self.launch.block[usize::from(axis)],
            Special::Block(axis) => self.block[usize::from(axis)],
            Special::GridSize(axis) => self.launch.grid[usize::from(axis)],
            Special::Lane => lane as u32,
            Special::Warp => warp as u32,
            Special::Warps => self.warps.len() as u32,
            Special::LaneMaskEqual => 1 << lane,
            Special::LaneMaskLess => (1 << lane) - 1,
            Special::LaneMaskLessEqual => ALL >> (31 - lane),
            Special::LaneMaskGreater => !(ALL >> (31 - lane)),
            Special::LaneMaskGreaterEqual => !((1 << lane) - 1),
            Special::DynamicShared => self.launch.dynamic_shared,
            Special::TotalShared => self.kernel.shared_bytes as u32 + self.launch.dynamic_shared,
            Special::Zero => 0,
        };
        u64::from(value)
    }

    /// A thread's index in its block.
    fn coordinates(&self, thread: u32) -> [u32; 3] {
        site::coordinates(thread, self.launch.block)
    }

    /// The location of an instruction of a warp, for findings.
    fn site(&self, warp: usize, pc: u32) -> Site<'a> {
        Site {
            kernel: self.kernel,
            block: self.block,
            block_size: self.launch.block,
            grid: self.launch.grid,
            warp,
            pc,
        }
    }
}
