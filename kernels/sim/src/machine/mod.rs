//! Runs blocks.

mod access;
mod barrier;
mod blame;
mod collective;
mod copies;
mod matrix;
mod meter;
mod resident;
mod schedule;
mod site;
mod span;
mod traffic;
mod view;
mod warp;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::check::Checker;
use crate::error::Error;
use crate::kernel::{Constant, Kernel};
use crate::launch::{Launch, Settings};
use crate::memory::Memory;
use crate::report::{Finding, Findings, Tally};
use crate::sample::Work;
use meter::Meter;
use resident::Resident;
use site::Site;
use span::Pattern;

/// Runs blocks of one launch, one at a time. A block whose warps seem to wait for other blocks is parked until these
/// had their turn.
pub(crate) struct Machine<'a> {
    kernel: &'a Kernel,
    launch: &'a Launch<'a>,
    constants: &'a [Constant],
    settings: &'a Settings,
    /// Threads of a block.
    threads: u32,
    /// The block that runs.
    here: Resident,
    /// The blocks that wait for their turn.
    parked: VecDeque<Resident>,
    /// A place for a block that none uses.
    spare: Option<Resident>,
    /// `Some` in checked mode.
    pub checker: Option<Checker>,
    findings: Findings,
    /// Counters of each instruction.
    tallies: Vec<Tally>,
    /// `Some` when blocks are measured.
    meter: Option<Box<Meter>>,
    /// The pattern of each instruction's last access.
    patterns: Vec<Option<Box<Pattern>>>,
    steps: u64,
    /// The step count at which the running warp gives way.
    pause: u64,
    /// The number of times that the warps of a block had their turn.
    turns: u64,
    /// Whether the step count restarts for each block.
    limit_per_block: bool,
}

impl<'a> Machine<'a> {
    /// A machine for one launch.
    pub fn new(
        kernel: &'a Kernel,
        launch: &'a Launch<'a>,
        constants: &'a [Constant],
        settings: &'a Settings,
        checker: Option<Checker>,
    ) -> Machine<'a> {
        let here = Resident::new(kernel, launch, constants, settings);
        Machine {
            kernel,
            launch,
            constants,
            settings,
            threads: launch.block.iter().product(),
            here,
            parked: VecDeque::new(),
            spare: None,
            limit_per_block: checker.is_none(),
            checker,
            findings: Findings::default(),
            tallies: vec![Tally::default(); kernel.instructions.len()],
            meter: None,
            patterns: std::iter::repeat_with(|| None).take(kernel.instructions.len()).collect(),
            steps: 0,
            pause: 0,
            turns: 0,
        }
    }

    /// Runs blocks, by their index in the grid, until `next` has no more and all have ended, or the launch failed
    /// elsewhere.
    pub fn run(
        &mut self,
        memory: &Memory,
        mut next: impl FnMut() -> Option<u32>,
        failed: &AtomicBool,
    ) -> Result<(), Error> {
        while !failed.load(Relaxed) {
            if let Some(index) = next() {
                self.start(index);
            } else if let Some(parked) = self.parked.pop_front() {
                self.resume(parked);
            } else {
                return Ok(());
            }
            if !self.schedule(memory)? {
                self.park();
            }
        }
        Ok(())
    }

    /// Runs blocks one after another, and returns what each does, and the mistakes of all.
    pub fn measure_blocks(
        &mut self,
        memory: &Memory,
        blocks: &[u32],
    ) -> Result<(Vec<Work>, Vec<Finding>), Error> {
        let registers = self.kernel.banks.iter().sum();
        self.meter = Some(Box::new(Meter::new(registers, self.here.warps.len())));
        let mut works = Vec::with_capacity(blocks.len());
        for &block in blocks {
            self.tallies.fill(Tally::default());
            let mut once = Some(block);
            self.run(memory, || once.take(), &AtomicBool::new(false))?;
            if let Some(meter) = &mut self.meter {
                let timings = self.kernel.instructions.iter().map(|each| &each.timing);
                works.push(meter.work(timings.zip(&self.tallies)));
                meter.restart();
            }
        }
        Ok((works, std::mem::take(&mut self.findings).into_list()))
    }

    /// Starts a block.
    fn start(&mut self, index: u32) {
        let [x, y, _] = self.launch.grid;
        let block = [index % x, index / x % y, index / x / y];
        self.here.restart(block, self.kernel, self.launch, self.constants);
        if let Some(checker) = &mut self.checker {
            checker.start_block(index, self.here.warps.len(), self.here.shared.bytes());
        }
        if self.limit_per_block {
            self.steps = 0;
        }
    }

    /// Makes the running block wait for its next turn.
    fn park(&mut self) {
        let new = || Resident::new(self.kernel, self.launch, self.constants, self.settings);
        let empty = self.spare.take().unwrap_or_else(new);
        let mut parked = std::mem::replace(&mut self.here, empty);
        if let Some(checker) = &mut self.checker {
            checker.exchange(&mut parked.threads, &mut parked.shadow);
        }
        self.parked.push_back(parked);
    }

    /// Continues a block that waits.
    fn resume(&mut self, parked: Resident) {
        self.spare = Some(std::mem::replace(&mut self.here, parked));
        if let Some(checker) = &mut self.checker {
            checker.exchange(&mut self.here.threads, &mut self.here.shadow);
        }
    }

    /// Moves findings and counters to the caller's.
    pub fn finish(&mut self, findings: &mut Findings, tallies: &mut [Tally]) {
        findings.merge(std::mem::take(&mut self.findings));
        for (total, tally) in tallies.iter_mut().zip(&self.tallies) {
            total.add(tally);
        }
    }

    /// The location of an instruction of a warp, for findings.
    fn site(&self, warp: usize, pc: u32) -> Site<'a> {
        Site {
            kernel: self.kernel,
            block: self.here.block,
            block_size: self.launch.block,
            grid: self.launch.grid,
            warp,
            pc,
        }
    }
}
