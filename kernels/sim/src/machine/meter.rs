//! Measures what a block does: its critical path, and the memory that it touches.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::Machine;
use super::traffic::{sectors, wavefronts};
use super::view::{addresses, lanes_of};
use crate::instruction::{Address, Space, Timing};
use crate::lanes::{LANES, mix};
use crate::memory::{LOCAL_WINDOW, SHARED_WINDOW};
use crate::report::Tally;
use crate::sample::{Touched, Work};
use crate::unit::Unit;

/// Units of the clocks: quarters of a cycle, as in [`crate::unit::Cost`].
const QUARTERS: u64 = 4;
/// Cycles until a global load that hits the first cache can be used.
const CACHED: u64 = 36;
/// Cycles until the warps of a block go on after a barrier.
const BARRIER: u64 = 20;
/// Low bits of a sector's number: the sector in its allocation.
const SECTOR_BITS: u32 = 36 - 5;
const READ: u8 = 1;
const WRITTEN: u8 = 2;

/// Measures the running block.
pub(super) struct Meter {
    /// Registers of a warp.
    registers: usize,
    /// For each warp the time at which its next instruction can issue.
    clocks: Vec<u64>,
    /// For each warp the time at which all its instructions so far have issued.
    pending: Vec<u64>,
    /// The time at which the last instruction issued.
    issued_at: u64,
    /// For each warp and register the time at which its value can be used.
    ready: Vec<u64>,
    global_wavefronts: u64,
    barriers: u64,
    /// Every sector that the block touched, and whether it read or wrote it.
    touched: HashMap<u64, u8, BuildHasherDefault<Mixed>>,
}

/// Hashes one number.
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }
}

/// A global access of a warp.
struct Requests {
    sectors: u64,
    /// Whether the block had touched all of them before.
    cached: bool,
}

impl Meter {
    pub fn new(registers: usize, warps: usize) -> Meter {
        Meter {
            registers,
            clocks: vec![0; warps],
            pending: vec![0; warps],
            issued_at: 0,
            ready: vec![0; warps * registers],
            global_wavefronts: 0,
            barriers: 0,
            touched: HashMap::default(),
        }
    }

    /// Starts a block.
    pub fn restart(&mut self) {
        self.clocks.fill(0);
        self.pending.fill(0);
        self.ready.fill(0);
        self.global_wavefronts = 0;
        self.barriers = 0;
        self.touched.clear();
    }

    /// A warp's next instruction waits for its operands. Those after it do not wait with it, since the assembler orders
    /// instructions by when they can start, up to the next branch or barrier.
    #[inline(never)]
    pub fn issue(&mut self, warp: usize, timing: &Timing) {
        let ready = &mut self.ready[warp * self.registers..][..self.registers];
        let operands = timing.reads.iter().map(|&register| ready[register as usize]).max();
        let operands = operands.unwrap_or(0);
        let issued = timing.cost.issued();
        // What the assembler removes delays only the readers of its result.
        let result = if issued == 0 {
            operands
        } else {
            let clock = &mut self.clocks[warp];
            self.issued_at = operands.max(*clock) + issued;
            *clock += issued;
            self.pending[warp] = self.issued_at.max(self.pending[warp]);
            if timing.ends {
                *clock = self.pending[warp].max(*clock);
            }
            self.issued_at + QUARTERS * u64::from(timing.cost.latency)
        };
        for &register in &timing.writes {
            ready[register as usize] = result;
        }
    }

    /// Warps go on from a barrier together.
    pub fn barrier(&mut self, waiting: impl Iterator<Item = usize> + Clone) {
        let last = waiting.clone().map(|warp| self.clocks[warp]).max().unwrap_or(0);
        waiting.for_each(|warp| self.clocks[warp] = last + QUARTERS * BARRIER);
        self.barriers += 1;
    }

    /// Global sectors of a warp's access.
    fn request(&mut self, at: impl Iterator<Item = u64>, bytes: u32, load: bool) -> Requests {
        let mut list = [0; LANES];
        let mut count = 0;
        for address in at {
            list[count] = address >> 5;
            count += 1;
        }
        let mut cached = true;
        let kind = if load { READ } else { WRITTEN };
        for (index, &sector) in list[..count].iter().enumerate() {
            if index > 0 && list[index - 1] == sector {
                continue;
            }
            let before = self.touched.entry(sector).or_default();
            cached &= *before != 0;
            *before |= kind;
        }
        let sectors = sectors(&list[..count]);
        // Four sectors a pass; an access of 8 or 16 bytes has a pass for each 128 bytes.
        let least = (count as u64 * u64::from(bytes)).div_ceil(128);
        self.global_wavefronts += sectors.div_ceil(4).max(least);
        Requests { sectors, cached }
    }

    /// What the block did, from the counts of its instructions.
    pub fn work<'t>(&self, counts: impl Iterator<Item = (&'t Timing, &'t Tally)>) -> Work {
        let mut work = Work { barriers: self.barriers, ..Work::default() };
        let mut quarters = [0; Unit::COUNT];
        for (timing, tally) in counts {
            work.warp_instructions += tally.warp_instructions;
            work.flops += tally.thread_instructions * u64::from(timing.cost.flops);
            work.matrix_flops += tally.warp_instructions * u64::from(timing.cost.matrix_flops);
            work.global_sectors += tally.global_sectors;
            work.shared_wavefronts += tally.shared_wavefronts;
            for (sum, each) in quarters.iter_mut().zip(timing.cost.quarters) {
                *sum += tally.warp_instructions * u64::from(each);
            }
        }
        work.issued = quarters.map(|quarters| quarters.div_ceil(QUARTERS));
        work.global_wavefronts = self.global_wavefronts;
        work.critical_path = self.clocks.iter().max().copied().unwrap_or(0).div_ceil(QUARTERS);
        let mut touched: Vec<Touched> = Vec::new();
        for (&sector, &kinds) in &self.touched {
            let allocation = sector >> SECTOR_BITS << 36;
            let at = touched.iter().position(|known| known.allocation == allocation);
            let at = at.unwrap_or_else(|| {
                touched.push(Touched { allocation, read: 0, written: 0 });
                touched.len() - 1
            });
            touched[at].read += u64::from(kinds & READ != 0);
            touched[at].written += u64::from(kinds & WRITTEN != 0);
        }
        touched.sort_unstable_by_key(|touched| touched.allocation);
        work.touched = touched;
        work
    }
}

impl Machine<'_> {
    /// Measures an access of a warp, if the block is measured.
    #[inline(always)]
    pub(super) fn measure(
        &mut self,
        at: (usize, u32),
        mask: u32,
        address: &Address,
        bytes: u32,
        load: bool,
    ) {
        if self.meter.is_some() {
            self.measure_access(at, mask, address, bytes, load);
        }
    }

    #[cold]
    fn measure_access(
        &mut self,
        (warp, pc): (usize, u32),
        mask: u32,
        address: &Address,
        bytes: u32,
        load: bool,
    ) {
        let Some(meter) = &mut self.meter else { return };
        let at = addresses(&self.here.warps[warp].registers, address);
        let first = at[mask.trailing_zeros() as usize % LANES];
        let window = first >> 36 << 36;
        let tally = &mut self.tallies[pc as usize];
        let (shared, start) = match address.space {
            Space::Shared => (true, 0),
            Space::Generic => (window == SHARED_WINDOW, window),
            Space::Global | Space::Local => (false, 0),
        };
        if shared {
            let mut words = [0; LANES];
            let mut count = 0;
            for lane in lanes_of(mask) {
                words[count] = at[lane].wrapping_sub(start) >> 2;
                count += 1;
            }
            tally.shared_wavefronts += wavefronts(&words[..count], bytes.div_ceil(4) as usize);
            return;
        }
        if address.space == Space::Local || window == LOCAL_WINDOW {
            return;
        }
        let requests = meter.request(lanes_of(mask).map(|lane| at[lane]), bytes, load);
        tally.global_sectors += requests.sectors;
        if requests.cached && load {
            let ready = meter.issued_at + QUARTERS * CACHED;
            for &register in &self.kernel.instructions[pc as usize].timing.writes {
                meter.ready[warp * meter.registers + register as usize] = ready;
            }
        }
    }
}
