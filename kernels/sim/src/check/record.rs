//! The last accesses of a few bytes.

use super::access::Access;
use super::order::{Moment, Order};
use crate::lanes::LANES;

/// The last write of a few bytes, and other accesses that may still race with a later one.
#[derive(Clone, Copy, Default)]
pub(super) struct Record {
    /// The time of the last write; 0: none yet.
    time: u32,
    block: u32,
    thread: u16,
    access: Access,
    /// Whether one of `others` writes ([`WRITER`]), and whether there are more accesses elsewhere ([`MORE`]).
    crowd: u8,
    others: [Entry; 2],
}

const WRITER: u8 = 1;
const MORE: u8 = 2;

/// Equal accesses of lanes of one warp.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    /// 0: none.
    time: u32,
    block: u32,
    warp: u16,
    access: Access,
    lanes: u32,
}

/// An earlier access that races with the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clash {
    pub block: u32,
    pub thread: u16,
    pub access: Access,
    /// Whether both belong to the same warp instruction.
    pub same_instruction: bool,
    /// Whether it would happen before if the current thread had passed a fence.
    pub lacks_fence: bool,
}

impl Record {
    #[inline(always)]
    pub fn write_time(&self) -> u32 {
        self.time
    }

    /// Whether unordered accesses are kept outside the record.
    #[inline(always)]
    pub fn has_more(&self) -> bool {
        self.crowd & MORE != 0
    }

    /// Whether every recorded access surely happens before one of this warp now.
    #[inline(always)]
    pub fn is_past(&self, moment: &Moment) -> bool {
        let [first, second] = &self.others;
        (self.crowd & MORE == 0)
            & moment.surely_before(self.time, self.block)
            & moment.surely_before(first.time, first.block)
            & moment.surely_before(second.time, second.block)
    }

    /// Whether the writes happen before a read of each of these lanes. False means unknown.
    #[inline(always)]
    pub fn is_read_past(&self, order: &Order, moment: &Moment, lanes: u32) -> bool {
        self.crowd == 0
            && (moment.surely_before(self.time, self.block)
                || self.happens_before(order, moment, lanes))
    }

    #[cold]
    fn happens_before(&self, order: &Order, moment: &Moment, lanes: u32) -> bool {
        let before = |lane| order.before(self.time, (self.block, self.thread), moment.thread(lane));
        (0..LANES).filter(|lane| lanes >> lane & 1 == 1).all(before)
    }

    /// Records a write; it replaces the whole record.
    #[inline(always)]
    pub fn set_write(&mut self, moment: &Moment, access: Access, lane: usize) {
        self.time = moment.now;
        self.block = moment.block;
        self.thread = moment.thread(lane);
        self.access = access;
        self.crowd = 0;
        self.others[0].time = 0;
        self.others[1].time = 0;
    }

    /// The last write as an entry.
    fn last(&self) -> Entry {
        let (warp, lane) = (self.thread / LANES as u16, self.thread % LANES as u16);
        Entry { time: self.time, block: self.block, warp, access: self.access, lanes: 1 << lane }
    }

    /// The recorded accesses, the last write first.
    pub fn entries(&self) -> [Entry; 3] {
        [self.last(), self.others[0], self.others[1]]
    }

    /// Keeps these two accesses besides the last write.
    pub fn set_others(&mut self, others: [Entry; 2], more: bool) {
        self.others = others;
        let writes = others.iter().any(|entry| entry.time != 0 && entry.access.writes());
        self.crowd = if writes { WRITER } else { 0 } | if more { MORE } else { 0 };
    }

    /// The warps of two plain reads of this block that do not surely happen before the warp's next access, and the time
    /// of the earlier one, if the record has these and no other access but its last write.
    #[inline(always)]
    pub fn readers(&self, moment: &Moment) -> Option<(u16, u16, u32)> {
        let [first, second] = &self.others;
        let plain = |entry: &Entry| {
            entry.access == Access::READ
                && entry.block == moment.block
                && !moment.surely_before(entry.time, entry.block)
        };
        let found = self.crowd == 0 && plain(first) && plain(second);
        found.then(|| (first.warp, second.warp, first.time.min(second.time)))
    }

    /// Records a read of lanes of one warp. It replaces a read that happens before it. False when the record has no
    /// room for it.
    #[inline(always)]
    pub fn note_read(
        &mut self,
        order: &Order,
        moment: &Moment,
        access: Access,
        lanes: u32,
    ) -> bool {
        let [first, second] = &self.others;
        if !moment.precise && first.is_of_other_warp(moment) && second.is_of_other_warp(moment) {
            // Two readers of other warps of this block are enough.
            return true;
        }
        // Field by field: many lanes read one word, and a store of a whole record followed by loads
        // of its parts stalls the processor.
        for entry in &mut self.others {
            let here = entry.block == moment.block;
            if here && entry.time == moment.now && entry.access == access {
                entry.lanes |= lanes;
                return true;
            }
            if entry.time <= moment.launch
                || moment.surely_before(entry.time, entry.block) && access.covers(entry.access)
            {
                entry.time = moment.now;
                entry.block = moment.block;
                entry.warp = moment.warp;
                entry.access = access;
                entry.lanes = lanes;
                return true;
            }
            if here && entry.warp == moment.warp && access.covers(entry.access) {
                let forgotten = entry.time <= moment.warp_sync
                    && entry.is_before(order, moment, lanes.trailing_zeros() as usize);
                if forgotten || !moment.precise || entry.lanes & !lanes == 0 {
                    entry.lanes = if forgotten { lanes } else { entry.lanes | lanes };
                    entry.time = moment.now;
                    entry.access = access;
                    return true;
                }
            }
        }
        false
    }

    /// Records a read for which there is no room: two unordered readers of two blocks stay, so that a write of any
    /// block meets one of another block.
    #[cold]
    pub fn replace_reader(&mut self, moment: &Moment, access: Access, lanes: u32) {
        let [first, second] = &mut self.others;
        if first.block == second.block && first.block != moment.block && !second.access.writes() {
            *second = Entry::new(moment, access, lanes);
        }
    }
}

impl Entry {
    pub fn new(moment: &Moment, access: Access, lanes: u32) -> Entry {
        let &Moment { now: time, block, warp, .. } = moment;
        Entry { time, block, warp, access, lanes }
    }

    /// Whether it is a read of another warp of this block, not surely ordered.
    #[inline(always)]
    fn is_of_other_warp(&self, moment: &Moment) -> bool {
        !moment.surely_before(self.time, self.block)
            & (self.block == moment.block)
            & (self.warp != moment.warp)
            & !self.access.writes()
    }

    /// The threads of the entry.
    fn threads(&self) -> impl Iterator<Item = u16> {
        let &Entry { warp, lanes, .. } = self;
        (0..LANES as u16)
            .filter(move |lane| lanes >> lane & 1 == 1)
            .map(move |lane| warp * LANES as u16 + lane)
    }

    /// Whether it happens before an access of a lane now.
    pub fn is_before(&self, order: &Order, moment: &Moment, lane: usize) -> bool {
        let me = moment.thread(lane);
        self.threads().all(|thread| order.before(self.time, (self.block, thread), me))
    }

    /// Whether it may still race with an access after one of a lane now, which does not race with all that it does.
    pub fn outlives(&self, order: &Order, moment: &Moment, access: Access, lane: usize) -> bool {
        self.time > moment.launch
            && !(access.covers(self.access) && self.is_before(order, moment, lane))
    }

    /// Whether both are of one warp instruction.
    pub fn is_joined_by(&self, other: &Entry) -> bool {
        (self.time, self.block, self.warp, self.access)
            == (other.time, other.block, other.warp, other.access)
    }

    pub fn is_of_block(&self, block: u32) -> bool {
        self.block == block
    }

    pub fn add_lanes(&mut self, other: &Entry) {
        self.lanes |= other.lanes;
    }

    /// Whether a read-modify-write now stands for this write.
    pub fn is_followed(&self, moment: &Moment, access: Access) -> bool {
        access.follows(self.access, self.block == moment.block)
    }

    /// Whether a strong read among `all` entries has observed this write and happens before a lane now. Then the write
    /// happens before too.
    pub fn is_observed<'e>(
        &self,
        all: impl Iterator<Item = &'e Entry> + Clone,
        (order, moment): (&Order, &Moment),
        lane: usize,
    ) -> bool {
        let me = moment.thread(lane);
        let next = all.clone().filter(|entry| entry.access.writes() && entry.time > self.time);
        let next = next.map(|entry| entry.time).min().unwrap_or(u32::MAX);
        let mut readers = all.filter(|entry| {
            (self.time..next).contains(&entry.time)
                && entry.access.observes(self.access, self.block == entry.block)
        });
        self.access.is_strong()
            && readers.any(|entry| {
                entry.threads().any(|thread| order.before(entry.time, (entry.block, thread), me))
            })
    }

    /// Its access, if it races with one of a lane now.
    pub fn clash(
        &self,
        (order, moment): (&Order, &Moment),
        access: Access,
        lane: usize,
    ) -> Option<Clash> {
        let here = self.block == moment.block;
        if moment.surely_before(self.time, self.block) || !self.access.conflicts(access, here) {
            return None;
        }
        let me = moment.thread(lane);
        let thread =
            self.threads().find(|&thread| !order.before(self.time, (self.block, thread), me))?;
        let same_instruction = self.time == moment.now && here;
        let (time, block, access) = (self.time, self.block, self.access);
        let lacks_fence = order.lacks_fence(time, (block, thread), me);
        Some(Clash { block, thread, access, same_instruction, lacks_fence })
    }
}
