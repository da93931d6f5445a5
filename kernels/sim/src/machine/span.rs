//! Accesses of a warp that lie in one allocation: found, checked and noted together.
//!
//! Nearly every access is of this sort. One that is not, or that a check objects to, is looked at
//! lane by lane instead.

use super::access::set;
use super::traffic::{sectors, wavefronts};
use super::view::{Moments, Place, Region, View, lanes_of};
use crate::check::Checker;
use crate::instruction::{Element, Slot, Space};
use crate::lanes::{LANES, Registers, Value};
use crate::memory::{Allocation, LOCAL_WINDOW, SHARED_WINDOW};
use crate::report::Tally;

/// The places of a warp's lanes in one allocation, all of them inside and aligned.
pub(super) struct Span<'m> {
    region: Region,
    allocation: &'m Allocation,
    bytes: u32,
    mask: u32,
    /// By lane; a lane that takes no part has the offset of the first one that does.
    offsets: [u32; LANES],
    /// Whether all offsets are equal.
    uniform: bool,
}

/// Lanes that access one place.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    offset: u32,
    lanes: u32,
}

/// How the lanes of an instruction lay when it last ran, and what follows from that. Most
/// instructions keep to one pattern, wherever in an allocation it starts.
#[derive(Default)]
pub(super) struct Pattern {
    mask: u32,
    /// What counts of the first lane's place.
    phase: u32,
    /// Offsets after that of the first lane.
    relative: [u32; LANES],
    /// Lanes by their place, with offsets after that of the first lane.
    groups: [Group; LANES],
    /// How many groups there are.
    count: usize,
    /// Sectors of global memory or passes over shared memory.
    passes: u64,
}

impl<'m> View<'m> {
    /// The places of an access of `bytes` bytes by the lanes of a mask. Nothing when they do not
    /// all lie in one allocation.
    #[inline(always)]
    pub fn span(
        &self,
        space: Space,
        at: &[u64; LANES],
        (mask, bytes): (u32, u32),
        warp: usize,
    ) -> Option<Span<'m>> {
        let lead = mask.trailing_zeros() as usize % LANES;
        let first = at[lead];
        // Generic addresses count from the start of their window or allocation.
        let start = first >> 36 << 36;
        let (space, window) = match space {
            Space::Generic if start == LOCAL_WINDOW => (Space::Local, start),
            Space::Generic if start == SHARED_WINDOW => (Space::Shared, start),
            Space::Global | Space::Generic => (Space::Global, start),
            space => (space, 0),
        };
        let (region, allocation, size) = match space {
            Space::Shared => (Region::Shared, self.shared, self.shared.bytes()),
            Space::Local => (Region::Local, self.local, self.local_bytes),
            _ => {
                let (id, allocation) = self.memory.around(first)?;
                (Region::Global(id), allocation, allocation.bytes())
            }
        };
        let limit = size.checked_sub(bytes as usize)? as u64;
        if allocation.bytes() > u32::MAX as usize {
            return None;
        }
        let mut offsets = [0; LANES];
        let (mut every, mut beyond, mut differ) = (0, 0, 0);
        for (lane, (offset, &at)) in offsets.iter_mut().zip(at).enumerate() {
            let here = (mask >> lane & 1) as u64;
            let at = first ^ (at ^ first) & here.wrapping_neg();
            let wide = at.wrapping_sub(window);
            every |= wide;
            beyond |= limit.wrapping_sub(wide);
            differ |= at ^ first;
            *offset = wide as u32;
        }
        // The sign bit tells of an offset below 0 or above the limit.
        if (every | beyond) >> 63 != 0 || every & u64::from(bytes - 1) != 0 {
            return None;
        }
        let mut uniform = differ == 0;
        if region == Region::Local {
            uniform = false;
            for (lane, offset) in offsets.iter_mut().enumerate() {
                let lane = if mask >> lane & 1 == 1 { lane } else { lead };
                *offset += ((warp * LANES + lane) * self.local_bytes) as u32;
            }
        }
        Some(Span { region, allocation, bytes, mask, offsets, uniform })
    }
}

impl<'m> Span<'m> {
    /// The place of one lane.
    #[inline(always)]
    pub fn place(&self, lane: usize) -> Place<'m> {
        let offset = self.offsets[lane] as usize;
        Place { region: self.region, allocation: self.allocation, offset }
    }

    /// Checks a plain read of all lanes and notes it. False when there may be something to report;
    /// to note the same read again lane by lane changes nothing then.
    #[inline(always)]
    pub fn note_read(&self, checker: &mut Checker, moments: &Moments, pattern: &Pattern) -> bool {
        let (base, bytes) = (self.base(), self.bytes);
        let groups = pattern.groups[..pattern.count].iter();
        let groups = groups.map(|group| (base.wrapping_add(group.offset) as usize, group.lanes));
        let written = |(offset, _)| self.allocation.is_initialised(offset, bytes as usize);
        if !groups.clone().all(written) {
            return false;
        }
        match self.region {
            Region::Global(id) => {
                let (order, shadow) = checker.global(id, self.allocation.bytes());
                shadow.read_groups(order, &moments.global, bytes, groups)
            }
            Region::Shared => {
                let Checker { order, shared, .. } = checker;
                shared.read_groups(order, &moments.shared, bytes, groups)
            }
            Region::Local => true,
        }
    }

    /// The offset of the first lane that takes part.
    #[inline(always)]
    fn base(&self) -> u32 {
        self.offsets[self.mask.trailing_zeros() as usize % LANES]
    }

    /// The pattern of the lanes' places: the one at hand if it is still right.
    #[inline(always)]
    pub fn pattern<'p>(&self, last: &'p mut Option<Box<Pattern>>) -> &'p Pattern {
        let base = self.base();
        // Sectors depend on where in a sector the first lane is, banks on nothing but the distances.
        let phase = match self.region {
            Region::Global(_) => base % 32,
            Region::Shared => 32 + base % 4,
            Region::Local => 64,
        };
        let mut relative = self.offsets;
        for offset in &mut relative {
            *offset = offset.wrapping_sub(base);
        }
        let last = last.get_or_insert_with(Box::default);
        if (last.mask, last.phase) != (self.mask, phase) || last.relative != relative {
            self.find_pattern(last);
            (last.mask, last.phase, last.relative) = (self.mask, phase, relative);
        }
        last
    }

    /// Finds the groups and the passes of a pattern.
    #[inline(never)]
    fn find_pattern(&self, pattern: &mut Pattern) {
        pattern.count = self.group(&mut pattern.groups);
        pattern.passes = self.passes();
        let base = self.base();
        for group in &mut pattern.groups[..pattern.count] {
            group.offset = group.offset.wrapping_sub(base);
        }
    }

    /// Puts lanes of equal offsets together, as far as a small table remembers them; gives the
    /// number of groups.
    fn group(&self, groups: &mut [Group; LANES]) -> usize {
        const TABLE: usize = 64;
        // One more than the group's number.
        let mut table = [0u8; TABLE];
        let shift = self.bytes.trailing_zeros();
        let mut count = 0;
        for lane in lanes_of(self.mask) {
            let offset = self.offsets[lane];
            let known = &mut table[(offset >> shift) as usize % TABLE];
            match groups[..count].get_mut(usize::from(*known).wrapping_sub(1)) {
                Some(group) if group.offset == offset => group.lanes |= 1 << lane,
                _ => {
                    groups[count] = Group { offset, lanes: 1 << lane };
                    count += 1;
                    *known = count as u8;
                }
            }
        }
        count
    }

    /// Loads every lane's elements.
    #[inline(always)]
    pub fn load(&self, registers: &mut Registers, element: Element, values: &[Slot]) {
        for (index, &slot) in values.iter().enumerate() {
            let skip = index * element.bytes as usize;
            match (slot, element.bytes) {
                (Slot::Word(slot), 4) => {
                    u32::store(registers, slot, self.words(skip), self.mask);
                }
                (Slot::Long(slot), 8) => {
                    let (low, high) = (self.words(skip), self.words(skip + 4));
                    let mut longs = [0; LANES];
                    for (long, (low, high)) in longs.iter_mut().zip(low.into_iter().zip(high)) {
                        *long = u64::from(low) | u64::from(high) << 32;
                    }
                    u64::store(registers, slot, longs, self.mask);
                }
                _ => {
                    for lane in lanes_of(self.mask) {
                        let offset = self.offsets[lane] as usize + skip;
                        let bits = self.allocation.read(offset, element.bytes);
                        set(registers, slot, lane, element, bits);
                    }
                }
            }
        }
    }

    /// Every lane's word at so many bytes after its place.
    #[inline(always)]
    fn words(&self, skip: usize) -> [u32; LANES] {
        let word = |offset: u32| self.allocation.read(offset as usize + skip, 4) as u32;
        if self.uniform {
            return [word(self.offsets[0]); LANES];
        }
        let mut words = [0; LANES];
        for (value, &offset) in words.iter_mut().zip(&self.offsets) {
            *value = word(offset);
        }
        words
    }

    /// Sectors of global memory or passes over shared memory.
    fn passes(&self) -> u64 {
        let mut touched = [0; LANES];
        let mut count = 0;
        for lane in lanes_of(self.mask) {
            touched[count] = u64::from(self.offsets[lane]);
            count += 1;
        }
        let touched = &mut touched[..count];
        match self.region {
            Region::Global(_) => {
                touched.iter_mut().for_each(|at| *at >>= 5);
                sectors(touched)
            }
            Region::Shared => {
                touched.iter_mut().for_each(|at| *at >>= 2);
                wavefronts(touched, self.bytes.div_ceil(4) as usize)
            }
            Region::Local => 0,
        }
    }

    /// Adds the access to the instruction's counters.
    #[inline(always)]
    pub fn count(&self, pattern: &Pattern, tally: &mut Tally) {
        match self.region {
            Region::Global(_) => tally.global_sectors += pattern.passes,
            Region::Shared => tally.shared_wavefronts += pattern.passes,
            Region::Local => {}
        }
    }
}
