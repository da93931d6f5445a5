//! The fast path of a warp's accesses: all lanes access one allocation, checked and recorded
//! together.
//!
//! Nearly every access takes it. Any other access, or one with a possible finding, is handled lane
//! by lane instead.

use super::access::{get, set};
use super::traffic::{sectors, wavefronts};
use super::view::{Moments, Place, Region, View, lanes_of};
use crate::check::{Access, Checker};
use crate::instruction::{Element, Slot, Space};
use crate::lanes::{LANES, Registers, Value};
use crate::memory::{Allocation, LOCAL_WINDOW, SHARED_WINDOW};
use crate::report::Tally;

/// The offsets of a warp's lanes in one allocation, all of them in bounds and aligned.
pub(super) struct Span<'m> {
    region: Region,
    allocation: &'m Allocation,
    bytes: u32,
    mask: u32,
    /// By lane; an inactive lane has the offset of the first active one.
    offsets: [u32; LANES],
    /// Whether all offsets are equal.
    uniform: bool,
}

/// Lanes that access the same offset.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    offset: u32,
    lanes: u32,
}

/// The relative offsets of an instruction's lanes at its last execution, with derived counts. Most
/// instructions repeat their pattern at another base offset, so the counts are reused.
#[derive(Default)]
pub(super) struct Pattern {
    mask: u32,
    /// The part of the first lane's offset that changes the counts.
    phase: u32,
    /// Offsets relative to the first lane.
    relative: [u32; LANES],
    /// Lanes grouped by offset, relative to the first lane.
    groups: [Group; LANES],
    /// The number of groups.
    count: usize,
    /// Whether all offsets differ.
    apart: bool,
    /// The first byte, relative to the first lane, and the number of bytes, if together the lanes access all bytes of a
    /// range.
    range: Option<(u32, usize)>,
    /// Sectors of global memory or wavefronts of shared memory.
    passes: u64,
}

impl<'m> View<'m> {
    /// The offsets of an access of `bytes` bytes by the lanes of a mask. `None` when they are not
    /// all in one allocation.
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
        // Generic addresses are offset by the start of their window or allocation.
        let around = first >> 36 << 36;
        let (space, window) = match space {
            Space::Generic if around == LOCAL_WINDOW => (Space::Local, around),
            Space::Generic if around == SHARED_WINDOW => (Space::Shared, around),
            Space::Global | Space::Generic => (Space::Global, around),
            space => (space, 0),
        };
        let (region, allocation, start, size) = match (space, self.array) {
            (Space::Shared, Some(array)) => (Region::Shared, self.shared, array.start, array.end),
            (Space::Shared, None) => (Region::Shared, self.shared, 0, self.shared.bytes()),
            (Space::Local, _) => (Region::Local, self.local, 0, self.local_bytes),
            _ => {
                let (id, allocation) = self.memory.around(first)?;
                (Region::Global(id), allocation, 0, allocation.bytes())
            }
        };
        let limit = size.checked_sub(start + bytes as usize)? as u64;
        let alignment = u64::from(bytes - 1);
        if allocation.bytes() > u32::MAX as usize
            || allocation.pages().is_some()
            || start as u64 & alignment != 0
        {
            return None;
        }
        let (mut offsets, Bits { every, beyond, differ }) =
            counted(at, mask, first, window + start as u64, limit);
        // The sign bit is set by an offset below 0 or above the limit.
        if (every | beyond) >> 63 != 0 || every & alignment != 0 {
            return None;
        }
        if start != 0 {
            offsets.iter_mut().for_each(|offset| *offset += start as u32);
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

/// Bits combined over all lanes.
struct Bits {
    /// The bits of the offsets, by or.
    every: u64,
    /// The bits of the distances to the limit, by or.
    beyond: u64,
    /// The bits in which an address differs from the first one.
    differ: u64,
}

/// Offsets relative to `window`; an inactive lane gets the offset of the first active one.
fn counted(
    at: &[u64; LANES],
    mask: u32,
    first: u64,
    window: u64,
    limit: u64,
) -> ([u32; LANES], Bits) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn wide(
        at: &[u64; LANES],
        mask: u32,
        first: u64,
        window: u64,
        limit: u64,
    ) -> ([u32; LANES], Bits) {
        counted_by_lane(at, mask, first, window, limit)
    }
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the line above checked that the processor has the feature.
        return unsafe { wide(at, mask, first, window, limit) };
    }
    counted_by_lane(at, mask, first, window, limit)
}

/// The portable body of [`counted`].
#[inline(always)]
fn counted_by_lane(
    at: &[u64; LANES],
    mask: u32,
    first: u64,
    window: u64,
    limit: u64,
) -> ([u32; LANES], Bits) {
    let mut offsets = [0; LANES];
    let mut bits = Bits { every: 0, beyond: 0, differ: 0 };
    for (lane, (offset, &at)) in offsets.iter_mut().zip(at).enumerate() {
        let here = u64::from(mask >> lane & 1).wrapping_neg();
        let difference = (at ^ first) & here;
        let wide = (first ^ difference).wrapping_sub(window);
        bits.every |= wide;
        bits.beyond |= limit.wrapping_sub(wide);
        bits.differ |= difference;
        *offset = wide as u32;
    }
    (offsets, bits)
}

impl<'m> Span<'m> {
    /// The location of one lane's access.
    #[inline(always)]
    pub fn place(&self, lane: usize) -> Place<'m> {
        let offset = self.offsets[lane] as usize;
        Place { region: self.region, allocation: self.allocation, offset }
    }

    /// Checks and records a plain access of all lanes. False when the caller must do so lane by
    /// lane: there may be a finding, or lanes write the same offset, or the access is not plain. `stable` reads must
    /// not meet a write of this launch.
    #[inline(always)]
    pub fn note(
        &self,
        checker: &mut Checker,
        moments: &Moments,
        (access, stable): (Access, bool),
        pattern: &Pattern,
    ) -> bool {
        let write = match access {
            Access::READ => false,
            Access::WRITE => true,
            _ => return false,
        };
        let (base, bytes) = (self.base(), self.bytes);
        let range = match (self.region, pattern.range) {
            (Region::Shared, Some((first, count))) if !write => {
                Some((base.wrapping_add(first) as usize, count))
            }
            _ => None,
        };
        if let Some((first, count)) = range
            && checker.shared.is_read_enough(&moments.shared, first, count)
        {
            return true;
        }
        let groups = pattern.groups[..pattern.count].iter();
        let groups = groups.map(|group| (base.wrapping_add(group.offset) as usize, group.lanes));
        let written = |(offset, _)| self.allocation.is_initialised(offset, bytes as usize);
        if write && !pattern.apart || !write && !groups.clone().all(written) {
            return false;
        }
        let (order, shadow, moment) = match self.region {
            Region::Global(id) => {
                let (order, shadow) = checker.global(id, self.allocation.bytes());
                (order, shadow, &moments.global)
            }
            Region::Shared => (&checker.order, &mut checker.shared, &moments.shared),
            Region::Local => return true,
        };
        if write {
            return shadow.write_groups(moment, bytes, groups);
        }
        let clean = shadow.read_groups(order, moment, (bytes, stable), groups);
        if let Some((first, count)) = range
            && clean
        {
            shadow.find_readers(moment, first, count);
        }
        clean
    }

    /// The offset of the first active lane.
    #[inline(always)]
    fn base(&self) -> u32 {
        self.offsets[self.mask.trailing_zeros() as usize % LANES]
    }

    /// The pattern of the lanes' offsets; `last` is reused if it still fits.
    #[inline(always)]
    pub fn pattern<'p>(&self, last: &'p mut Option<Box<Pattern>>) -> &'p Pattern {
        let base = self.base();
        // Sectors depend on the first lane's offset in its sector, banks on the distances only.
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

    /// Computes the groups and passes of a pattern.
    #[inline(never)]
    fn find_pattern(&self, pattern: &mut Pattern) {
        pattern.count = self.group(&mut pattern.groups);
        let mut distinct = self.offsets;
        distinct.sort_unstable();
        let steps = distinct.windows(2).filter(|pair| pair[0] != pair[1]).count();
        pattern.apart = steps + 1 == self.mask.count_ones() as usize;
        let bytes = (steps + 1) * self.bytes as usize;
        let first = distinct[0];
        let whole = distinct[LANES - 1] - first + self.bytes == bytes as u32;
        pattern.range = whole.then(|| (first.wrapping_sub(self.base()), bytes));
        pattern.passes = self.passes();
        let base = self.base();
        for group in &mut pattern.groups[..pattern.count] {
            group.offset = group.offset.wrapping_sub(base);
        }
    }

    /// Groups lanes of equal offsets with a small hash table, which may miss some; returns the
    /// number of groups.
    fn group(&self, groups: &mut [Group; LANES]) -> usize {
        const TABLE: usize = 64;
        // The group's number plus one; 0: empty.
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
        match (element.bytes, values) {
            (4, &[Slot::Word(a)]) => self.load_words(registers, [a]),
            (4, &[Slot::Word(a), Slot::Word(b)]) => self.load_words(registers, [a, b]),
            (4, &[Slot::Word(a), Slot::Word(b), Slot::Word(c), Slot::Word(d)]) => {
                self.load_words(registers, [a, b, c, d]);
            }
            (8, &[Slot::Long(slot)]) => {
                let [low, high] = self.words();
                let mut longs = [0; LANES];
                for (long, (low, high)) in longs.iter_mut().zip(low.into_iter().zip(high)) {
                    *long = u64::from(low) | u64::from(high) << 32;
                }
                u64::store(registers, slot, longs, self.mask);
            }
            _ => {
                for (index, &slot) in values.iter().enumerate() {
                    for lane in lanes_of(self.mask) {
                        let offset = self.offsets[lane] as usize + index * element.bytes as usize;
                        let bits = self.allocation.read(offset, element.bytes);
                        set(registers, slot, lane, element, bits);
                    }
                }
            }
        }
    }

    /// Loads `N` consecutive words for each lane.
    #[inline(always)]
    fn load_words<const N: usize>(&self, registers: &mut Registers, slots: [u16; N]) {
        for (words, slot) in self.words::<N>().into_iter().zip(slots) {
            u32::store(registers, slot, words, self.mask);
        }
    }

    /// Reads every lane's words.
    #[inline(always)]
    fn words<const N: usize>(&self) -> [[u32; LANES]; N] {
        let mut words = [[0; LANES]; N];
        if self.uniform {
            let place: [u32; N] = self.allocation.words(self.offsets[0]);
            for (lanes, word) in words.iter_mut().zip(place) {
                *lanes = [word; LANES];
            }
            return words;
        }
        for (lane, &offset) in self.offsets.iter().enumerate() {
            let place: [u32; N] = self.allocation.words(offset);
            for (lanes, word) in words.iter_mut().zip(place) {
                lanes[lane] = word;
            }
        }
        words
    }

    /// Stores every lane's elements. Where lanes write the same offset, the last lane wins.
    #[inline(always)]
    pub fn store(&self, registers: &Registers, element: Element, values: &[Slot]) {
        match (element.bytes, values) {
            (4, &[Slot::Word(a)]) => self.store_words(registers, [a]),
            (4, &[Slot::Word(a), Slot::Word(b)]) => self.store_words(registers, [a, b]),
            (4, &[Slot::Word(a), Slot::Word(b), Slot::Word(c), Slot::Word(d)]) => {
                self.store_words(registers, [a, b, c, d]);
            }
            _ => {
                for lane in lanes_of(self.mask) {
                    for (index, &slot) in values.iter().enumerate() {
                        let offset = self.offsets[lane] as usize + index * element.bytes as usize;
                        self.allocation.write(offset, element.bytes, get(registers, slot, lane));
                    }
                }
            }
        }
    }

    /// Stores `N` consecutive words for each lane.
    #[inline(always)]
    fn store_words<const N: usize>(&self, registers: &Registers, slots: [u16; N]) {
        let lanes = slots.map(|slot| &registers.words[usize::from(slot)]);
        for lane in lanes_of(self.mask) {
            self.allocation.set_words(self.offsets[lane], lanes.map(|lanes| lanes[lane]));
        }
    }

    /// Sectors of global memory or wavefronts of shared memory.
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
