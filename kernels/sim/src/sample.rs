//! What single blocks of a launch do, for models of time.

use rayon::prelude::*;

use crate::error::Error;
use crate::kernel::Kernel;
use crate::launch::{self, Launch, Settings};
use crate::machine::Machine;
use crate::memory::Memory;
use crate::unit::Unit;

/// What a block does. The numbers come from a model of the hardware; they are not measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// PTX instructions of its warps.
    pub warp_instructions: u64,
    /// Machine instructions of its warps by unit, in the order of [`Unit::ALL`].
    pub issued: [u64; Unit::COUNT],
    /// Operations on f32 numbers: 2 for each fused multiply-add.
    pub flops: u64,
    /// Operations of products on tensor cores.
    pub matrix_flops: u64,
    /// Wavefronts (passes) of accesses to shared memory; bank conflicts add to them.
    pub shared_wavefronts: u64,
    /// Wavefronts of accesses to global memory in the first cache.
    pub global_wavefronts: u64,
    /// Sectors (32 bytes) of accesses to global memory, summed over instructions.
    pub global_sectors: u64,
    /// Barriers of the block.
    pub barriers: u64,
    /// Cycles of its slowest warp if nothing but its own dependencies and barriers delays it.
    pub critical_path: u64,
    /// The allocations that it touches, sorted.
    pub touched: Vec<Touched>,
}

/// The distinct sectors of an allocation that a block touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// The address of its first byte.
    pub allocation: u64,
    /// Distinct sectors read.
    pub read: u64,
    /// Distinct sectors written.
    pub written: u64,
}

/// Runs these blocks of a launch, by their index in the grid (x fastest), in parallel and with the checks of
/// [`Mode::Values`](crate::Mode::Values), and returns what each does. What they write stays in the memory.
///
/// # Errors
/// Those of [`run`](crate::run); [`Error::Launch`] when a block is outside the grid, or the kernel makes a mistake.
pub fn sample(
    kernel: &Kernel,
    launch: &Launch<'_>,
    memory: &mut Memory,
    settings: &Settings,
    blocks: &[u32],
) -> Result<Vec<Work>, Error> {
    let count = launch::check(kernel, launch)?;
    let fail = |what: String| Err(Error::Launch(format!("kernel {}: {what}", kernel.name)));
    if let Some(beyond) = blocks.iter().find(|&&block| block >= count) {
        return fail(format!("got block {beyond}, expected one of {count}"));
    }
    let constants = launch::constants(kernel, memory);
    let memory = &*memory;
    let each = blocks.len().div_ceil(rayon::current_num_threads()).max(1);
    let parts: Vec<Result<_, Error>> = blocks
        .par_chunks(each)
        .map(|blocks| {
            let mut machine = Machine::new(kernel, launch, &constants, settings, None);
            machine.measure_blocks(memory, blocks)
        })
        .collect();
    let mut works = Vec::with_capacity(blocks.len());
    for part in parts {
        let (part, findings) = part?;
        if let Some(finding) = findings.first() {
            return fail(finding.to_string());
        }
        works.extend(part);
    }
    Ok(works)
}
