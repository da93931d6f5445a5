//! Launching a kernel.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rayon::prelude::*;

use crate::error::Error;
use crate::kernel::{Kernel, Source};
use crate::lanes::mix;
use crate::machine::Machine;
use crate::memory::Memory;
use crate::report::{Counters, Findings, Report, Tally};

/// The launch configuration of a kernel and its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z; their product is 1 to 1024.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// The kernel's parameter space in PTX layout: usually one `repr(C)` struct.
    pub parameters: &'a [u8],
}

/// What a run checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Bounds, alignment and freed memory only; blocks run in parallel on rayon's threads.
    Values,
    /// Everything, races and uninitialised reads included; blocks run one after another.
    #[default]
    Checked,
}

/// An order of blocks or warps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By index, x fastest.
    #[default]
    Forward,
    /// By descending index.
    Reversed,
    /// In a random order, a function of this seed; for warps another one at each turn.
    Seeded(u64),
}

impl Order {
    /// Brings indices into this order. `turn` counts the orders of a run so far.
    pub(crate) fn arrange(self, list: &mut [u32], turn: u64) {
        match self {
            Order::Forward => {}
            Order::Reversed => list.reverse(),
            Order::Seeded(seed) => {
                let seed = mix(seed ^ mix(turn));
                list.sort_by_cached_key(|&index| mix(seed ^ mix(u64::from(index))));
            }
        }
    }
}

/// The blocks of a grid that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Blocks {
    /// All of them.
    #[default]
    All,
    /// The corners and what is between them: of each axis the first, the middle and the last index.
    Corners,
}

/// Settings of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// What to check.
    pub mode: Mode,
    /// The order of blocks in checked mode.
    pub order: Order,
    /// The order in which the warps of a block have their turns.
    pub warps: Order,
    /// The blocks that run.
    pub blocks: Blocks,
    /// The most warp instructions of a launch (in value mode: of a block).
    pub step_limit: u64,
    /// Seed that moves results of approximate instructions within their bounds; `None`: exact
    /// rounding.
    pub perturb: Option<u64>,
}

impl Default for Settings {
    /// Checked mode, all blocks and warps by index, 10^10 warp instructions, no perturbation.
    fn default() -> Settings {
        Settings {
            mode: Mode::Checked,
            order: Order::Forward,
            warps: Order::Forward,
            blocks: Blocks::All,
            step_limit: 10_000_000_000,
            perturb: None,
        }
    }
}

/// Runs a kernel on the device memory and returns its findings and counters.
///
/// # Errors
/// [`Error::Launch`] when grid, block, shared memory or parameters do not fit the kernel, or checked
/// mode meets sparse memory,
/// [`Error::StepLimit`] when it exceeds the step limit. Mistakes of the kernel are in the report.
pub fn run(
    kernel: &Kernel,
    launch: &Launch<'_>,
    memory: &mut Memory,
    settings: &Settings,
) -> Result<Report, Error> {
    let blocks = check(kernel, launch)?;
    let constants = constants(kernel, memory);
    let mut findings = Findings::default();
    let mut tallies = vec![Tally::default(); kernel.instructions.len()];
    match settings.mode {
        Mode::Checked => {
            if memory.is_sparse() {
                let what =
                    "checked mode keeps a record of every word; run sparse memory in value mode";
                return Err(Error::Launch(format!("kernel {}: {what}", kernel.name)));
            }
            let mut checker = std::mem::take(&mut memory.checker);
            checker.start_launch(kernel.precise);
            let mut machine = Machine::new(kernel, launch, &constants, settings, Some(checker));
            let mut list = listed(blocks, launch.grid, settings).into_iter();
            let result = machine.run(memory, || list.next(), &AtomicBool::new(false));
            machine.finish(&mut findings, &mut tallies);
            memory.checker = machine.checker.take().unwrap_or_default();
            result?;
        }
        Mode::Values => {
            let memory = &*memory;
            let (failed, next) = (AtomicBool::new(false), AtomicUsize::new(0));
            let ranges = chunks(blocks, launch.grid, settings.blocks);
            // Every thread takes ranges until none is left, so that each block starts even if others wait for it.
            let parts = (0..rayon::current_num_threads().min(ranges.len()))
                .into_par_iter()
                .map(|_| {
                    let mut machine = Machine::new(kernel, launch, &constants, settings, None);
                    let mut range = 0..0;
                    let block = || {
                        range.next().or_else(|| {
                            range = ranges.get(next.fetch_add(1, Relaxed))?.clone();
                            range.next()
                        })
                    };
                    machine
                        .run(memory, block, &failed)
                        .inspect_err(|_| failed.store(true, Relaxed))?;
                    let mut part = (Findings::default(), vec![Tally::default(); tallies.len()]);
                    machine.finish(&mut part.0, &mut part.1);
                    Ok(part)
                })
                .collect::<Vec<Result<_, Error>>>();
            for part in parts {
                let (found, counted) = part?;
                findings.merge(found);
                for (total, part) in tallies.iter_mut().zip(&counted) {
                    total.add(part);
                }
            }
            findings.sort_by_block();
        }
    }
    Ok(Report { findings: findings.into_list(), counters: Counters::by_line(kernel, &tallies) })
}

/// Checks a launch and returns its number of blocks.
pub(crate) fn check(kernel: &Kernel, launch: &Launch<'_>) -> Result<u32, Error> {
    let fail = |what: String| Err(Error::Launch(format!("kernel {}: {what}", kernel.name)));
    let threads = launch.block.iter().map(|&n| u64::from(n)).product::<u64>();
    let blocks = launch.grid.iter().try_fold(1u64, |all, &n| all.checked_mul(u64::from(n)));
    if threads == 0 || threads > 1024 {
        return fail(format!("block {:?} has {threads} threads; use 1 to 1024", launch.block));
    }
    let Some(blocks) = blocks.and_then(|b| u32::try_from(b).ok()).filter(|&b| b > 0) else {
        return fail(format!("grid {:?} is not supported; use 1 to 2^32-1 blocks", launch.grid));
    };
    if launch.parameters.len() != kernel.parameter_bytes {
        return fail(format!(
            "got {} bytes of parameters, expected {}; use the layout of the kernel's struct",
            launch.parameters.len(),
            kernel.parameter_bytes
        ));
    }
    if let Some(required) = kernel.required_block
        && required != launch.block
    {
        return fail(format!(
            "got block {:?}, expected {required:?}, for which it was compiled",
            launch.block
        ));
    }
    if let Some(most) = kernel.most_threads
        && threads > most
    {
        return fail(format!(
            "block {:?} has {threads} threads, at most {most} are in its launch bounds",
            launch.block
        ));
    }
    let shared = shared_bytes(kernel, launch);
    // The largest opt-in size of compute capability 9.0.
    if shared > 227 * 1024 {
        return fail(format!("got {shared} bytes of shared memory; use at most 232448"));
    }
    Ok(blocks)
}

/// Bytes of static and dynamic shared memory.
fn shared_bytes(kernel: &Kernel, launch: &Launch<'_>) -> usize {
    kernel.shared_bytes + launch.dynamic_shared as usize
}

/// The kernel's constants with the addresses of its module's variables filled in.
pub(crate) fn constants(kernel: &Kernel, memory: &mut Memory) -> Vec<crate::kernel::Constant> {
    let addresses = memory.variables(&kernel.shared);
    let mut constants = kernel.constants.clone();
    for constant in &mut constants {
        if let Source::Variable(index) = constant.source {
            constant.source = Source::Bits(addresses[index as usize]);
        }
    }
    constants
}

/// Block indices in the order in which they run.
fn listed(blocks: u32, grid: [u32; 3], settings: &Settings) -> Vec<u32> {
    let mut list: Vec<u32> = match settings.blocks {
        Blocks::All => (0..blocks).collect(),
        Blocks::Corners => corners(grid),
    };
    settings.order.arrange(&mut list, 0);
    list
}

/// The indices of the blocks that [`Blocks::Corners`] names.
fn corners(grid: [u32; 3]) -> Vec<u32> {
    let [x, y, z] = grid.map(|size| {
        let mut places = vec![0, size / 2, size - 1];
        places.dedup();
        places
    });
    let mut blocks = Vec::new();
    for z in &z {
        for y in &y {
            blocks.extend(x.iter().map(|x| x + grid[0] * (y + grid[1] * z)));
        }
    }
    blocks
}

/// Splits the blocks into ranges, one task each.
fn chunks(blocks: u32, grid: [u32; 3], which: Blocks) -> Vec<std::ops::Range<u32>> {
    if which == Blocks::Corners {
        return corners(grid).into_iter().map(|block| block..block + 1).collect();
    }
    let size = blocks.div_ceil(8 * rayon::current_num_threads() as u32).max(1);
    (0..blocks).step_by(size as usize).map(|at| at..at.saturating_add(size).min(blocks)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_are_first_middle_and_last_of_each_axis() {
        assert_eq!(corners([1, 1, 1]), [0]);
        assert_eq!(corners([2, 1, 1]), [0, 1]);
        assert_eq!(corners([5, 3, 1]), [0, 2, 4, 5, 7, 9, 10, 12, 14]);
        assert_eq!(corners([1, 1, 4]), [0, 2, 3]);
        let all = corners([100, 70_000, 9]);
        assert_eq!((all.len(), all[26]), (27, 100 * 70_000 * 9 - 1));
    }
}
