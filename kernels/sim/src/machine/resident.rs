//! A block that runs, or waits for its turn.

use super::copies::Copies;
use super::warp::Warp;
use crate::check::{Arrival, Shadow, Threads};
use crate::kernel::{Bank, Constant, Kernel, Source, Special};
use crate::lanes::{ALL, LANES};
use crate::launch::{Launch, Settings};
use crate::memory::Allocation;

/// A block that runs, or waits for its turn.
pub(super) struct Resident {
    /// Its index in the grid.
    pub block: [u32; 3],
    pub warps: Vec<Warp>,
    pub copies: Vec<Copies>,
    /// Threads that have arrived at a barrier without waiting.
    pub arrived: Vec<Arrived>,
    pub shared: Allocation,
    /// Local memory of all threads, one after another.
    pub local: Allocation,
    /// While it waits, its part of the state of race detection.
    pub threads: Threads,
    pub shadow: Shadow,
}

/// Lanes of a warp that have arrived at a barrier without waiting.
pub(super) struct Arrived {
    pub id: u32,
    pub mask: u32,
    /// In checked mode, what happened before.
    pub arrival: Option<Arrival>,
}

impl Resident {
    /// A place for a block of a launch.
    pub fn new(
        kernel: &Kernel,
        launch: &Launch<'_>,
        constants: &[Constant],
        settings: &Settings,
    ) -> Resident {
        let threads = launch.block.iter().product::<u32>() as usize;
        let count = threads.div_ceil(LANES);
        let shared_bytes = kernel.shared_bytes + launch.dynamic_shared as usize;
        let mut resident = Resident {
            block: [0; 3],
            warps: vec![Warp::new(kernel.banks, kernel.watched, settings.perturb); count],
            copies: vec![Copies::default(); count],
            arrived: Vec::new(),
            shared: Allocation::new(shared_bytes, "shared memory"),
            local: Allocation::new(kernel.local_bytes * threads, "local memory"),
            threads: Threads::default(),
            shadow: Shadow::default(),
        };
        resident.preload(kernel, launch, constants.iter());
        resident
    }

    /// Puts a block at its start.
    pub fn restart(
        &mut self,
        block: [u32; 3],
        kernel: &Kernel,
        launch: &Launch<'_>,
        constants: &[Constant],
    ) {
        self.block = block;
        let threads = launch.block.iter().product::<u32>();
        for (index, warp) in self.warps.iter_mut().enumerate() {
            warp.restart(threads, index);
        }
        let of_block =
            |constant: &&Constant| matches!(constant.source, Source::Special(Special::Block(_)));
        self.preload(kernel, launch, constants.iter().filter(of_block));
        self.copies.fill(Copies::default());
        self.arrived.clear();
        self.shared.reset();
        self.local.reset();
    }

    /// Fills constant registers of every warp.
    fn preload<'c>(
        &mut self,
        kernel: &Kernel,
        launch: &Launch<'_>,
        constants: impl Iterator<Item = &'c Constant>,
    ) {
        for constant in constants {
            for warp in 0..self.warps.len() {
                let mut values = [0u64; LANES];
                for (lane, value) in values.iter_mut().enumerate() {
                    *value = match constant.source {
                        Source::Bits(bits) => bits,
                        Source::Special(special) => {
                            self.special(special, kernel, launch, (warp, lane))
                        }
                        Source::Variable(_) => 0,
                    };
                }
                let registers = &mut self.warps[warp].registers;
                let slot = usize::from(constant.register.slot);
                match constant.register.bank {
                    Bank::Half | Bank::Word => {
                        registers.words[slot] = values.map(|value| value as u32);
                    }
                    Bank::Long => registers.longs[slot] = values,
                    Bank::Predicate => {
                        registers.predicates[slot] = if values[0] == 0 { 0 } else { ALL };
                    }
                }
            }
        }
    }

    /// The value of a special register.
    fn special(
        &self,
        special: Special,
        kernel: &Kernel,
        launch: &Launch<'_>,
        (warp, lane): (usize, usize),
    ) -> u64 {
        let thread = (warp * LANES + lane) as u32;
        let value = match special {
            Special::Thread(axis) => {
                super::site::coordinates(thread, launch.block)[usize::from(axis)]
            }
            Special::BlockSize(axis) => launch.block[usize::from(axis)],
            Special::Block(axis) => self.block[usize::from(axis)],
            Special::GridSize(axis) => launch.grid[usize::from(axis)],
            Special::Lane => lane as u32,
            Special::Warp => warp as u32,
            Special::Warps => self.warps.len() as u32,
            Special::LaneMaskEqual => 1 << lane,
            Special::LaneMaskLess => (1 << lane) - 1,
            Special::LaneMaskLessEqual => ALL >> (31 - lane),
            Special::LaneMaskGreater => !(ALL >> (31 - lane)),
            Special::LaneMaskGreaterEqual => !((1 << lane) - 1),
            Special::DynamicShared => launch.dynamic_shared,
            Special::TotalShared => kernel.shared_bytes as u32 + launch.dynamic_shared,
            Special::Clock | Special::Zero => 0,
        };
        u64::from(value)
    }
}
