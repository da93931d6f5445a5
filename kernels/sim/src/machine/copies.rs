//! `cp.async`: copies from global to shared memory that complete at their wait instruction.

use super::Machine;
use super::blame::{report_fault, report_race, report_unwritten};
use super::view::{Moments, Place, Region, View, addresses, lanes_of, note};
use crate::check::Access;
use crate::instruction::{Address, Operation, Space};
use crate::lanes::LANES;
use crate::memory::Memory;

/// The pending copies of a warp.
#[derive(Clone, Default)]
pub(super) struct Copies {
    pending: Vec<Pending>,
    /// For each lane, the number of committed groups.
    committed: [u32; LANES],
}

/// A pending copy. Its bytes were read at issue.
#[derive(Clone, Copy)]
struct Pending {
    lane: usize,
    group: u32,
    /// Target offset in shared memory.
    to: usize,
    bytes: u32,
    words: [u32; 4],
    /// The instruction that issued it.
    pc: u32,
}

impl Copies {
    /// Whether a pending copy writes any of these bytes of shared memory.
    pub fn covers(&self, offset: usize, bytes: u32) -> bool {
        self.pending
            .iter()
            .any(|copy| copy.to < offset + bytes as usize && offset < copy.to + copy.bytes as usize)
    }
}

impl Machine<'_> {
    /// Issues, commits or waits for copies.
    pub(super) fn copy(
        &mut self,
        memory: &Memory,
        warp: usize,
        pc: u32,
        mask: u32,
        operation: &Operation,
    ) {
        match operation {
            Operation::CopyAsync { to, from, bytes, source } => {
                let source =
                    source.map(|slot| self.here.warps[warp].registers.words[usize::from(slot)]);
                let used = |lane: usize| source.map_or(*bytes, |source| source[lane].min(*bytes));
                let copied = lanes_of(mask).filter(|&lane| used(lane) > 0);
                let copied = copied.fold(0, |copied, lane| copied | 1 << lane);
                self.measure((warp, pc), copied, from, *bytes, true);
                self.measure((warp, pc), mask, to, *bytes, false);
                self.issue(memory, warp, pc, mask, (to, from, *bytes), used);
            }
            Operation::CommitCopies => {
                for lane in lanes_of(mask) {
                    self.here.copies[warp].committed[lane] += 1;
                }
            }
            Operation::WaitCopies(left) => self.wait(warp, mask, *left),
            _ => {}
        }
    }

    /// Reads the sources and marks the targets as uninitialised.
    fn issue(
        &mut self,
        memory: &Memory,
        warp: usize,
        pc: u32,
        mask: u32,
        (to, from, bytes): (&Address, &Address, u32),
        used: impl Fn(usize) -> u32,
    ) {
        let site = self.site(warp, pc);
        let own = (&self.here.shared, &self.here.local);
        let view = View::new(memory, own, self.kernel, to);
        let registers = &self.here.warps[warp].registers;
        let moments = self.checker.as_ref().map(|checker| Moments::now(checker, warp));
        let (to, from) = (addresses(registers, to), addresses(registers, from));
        for lane in lanes_of(mask) {
            let thread = warp * LANES + lane;
            let target = match view.find(Space::Shared, to[lane], bytes, thread) {
                Ok(place) => place,
                Err(fault) => {
                    report_fault(&site, &mut self.findings, lane, false, bytes, fault);
                    continue;
                }
            };
            let mut words = [0u32; 4];
            let used = used(lane);
            for (index, word) in words.iter_mut().take(used.div_ceil(4) as usize).enumerate() {
                let part = (used - 4 * index as u32).min(4);
                let address = from[lane] + 4 * index as u64;
                let size = if part == 4 { 4 } else { 1 };
                for byte in (0..part).step_by(size as usize) {
                    // Alignment is that of the whole copy.
                    let place =
                        match view.find(Space::Global, address + u64::from(byte), size, thread) {
                            Ok(place) => place,
                            Err(fault) => {
                                report_fault(&site, &mut self.findings, lane, true, bytes, fault);
                                continue;
                            }
                        };
                    *word |= (place.allocation.read(place.offset, size) as u32) << (8 * byte);
                    if let (Some(checker), Some(moments)) = (&mut self.checker, &moments) {
                        if !place.allocation.is_initialised(place.offset, size as usize) {
                            report_unwritten(&site, &mut self.findings, lane, place, size, false);
                        }
                        if let Some(clash) = note(checker, moments, Access::READ, place, size, lane)
                        {
                            report_race(
                                &site,
                                &mut self.findings,
                                lane,
                                Access::READ,
                                place,
                                clash,
                            );
                        }
                    }
                }
            }
            if used > 0 && from[lane] & u64::from(bytes - 1) != 0 {
                let fault = crate::memory::Fault::Misaligned;
                report_fault(&site, &mut self.findings, lane, true, bytes, fault);
            }
            if let (Some(checker), Some(moments)) = (&mut self.checker, &moments) {
                if let Some(clash) = note(checker, moments, Access::WRITE, target, bytes, lane) {
                    report_race(&site, &mut self.findings, lane, Access::WRITE, target, clash);
                }
                target.allocation.set_initialised(target.offset, bytes as usize, false);
            }
            let copies = &mut self.here.copies[warp];
            let group = copies.committed[lane];
            copies.pending.push(Pending { lane, group, to: target.offset, bytes, words, pc });
        }
        if self.checker.is_some() {
            let sectors: std::collections::BTreeSet<u64> =
                lanes_of(mask).filter(|&lane| used(lane) > 0).map(|lane| from[lane] >> 5).collect();
            self.tallies[pc as usize].global_sectors += sectors.len() as u64;
        }
    }

    /// Writes the copies of all but the last `left` groups; with `None` all copies.
    fn wait(&mut self, warp: usize, mask: u32, left: Option<u32>) {
        let shared = &self.here.shared;
        let Copies { pending, committed } = &mut self.here.copies[warp];
        let ends = |copy: &Pending| {
            mask >> copy.lane & 1 == 1
                && left.is_none_or(|left| copy.group + left < committed[copy.lane])
        };
        let done: Vec<Pending> = pending.iter().filter(|copy| ends(copy)).copied().collect();
        pending.retain(|copy| !ends(copy));
        let moments = self.checker.as_ref().map(|checker| Moments::now(checker, warp));
        for copy in done {
            let place = Place { region: Region::Shared, allocation: shared, offset: copy.to };
            if let (Some(checker), Some(moments)) = (&mut self.checker, &moments)
                && let Some(clash) =
                    note(checker, moments, Access::WRITE, place, copy.bytes, copy.lane)
            {
                let site = super::site::Site {
                    kernel: self.kernel,
                    block: self.here.block,
                    block_size: self.launch.block,
                    grid: self.launch.grid,
                    warp,
                    pc: copy.pc,
                };
                report_race(&site, &mut self.findings, copy.lane, Access::WRITE, place, clash);
            }
            for (index, &word) in copy.words.iter().take(copy.bytes as usize / 4).enumerate() {
                place.allocation.write(place.offset + 4 * index, 4, u64::from(word));
            }
        }
    }
}
