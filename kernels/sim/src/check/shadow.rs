//! Shadow memory: the last write and reads of each part of an allocation.

use super::order::{Moment, Order};
use crate::lanes::LANES;

/// Records of one allocation: one for each 4-byte word; narrower after the first narrower access.
#[derive(Default)]
pub(crate) struct Shadow {
    records: Vec<Record>,
    bytes: usize,
    /// Base-2 logarithm of the bytes of a record.
    shift: u32,
}

/// The last write and reads of a few bytes.
#[derive(Clone, Copy, Default)]
struct Record {
    /// 0: none yet.
    write_time: u32,
    write_block: u32,
    write_thread: u16,
    write_atomic: bool,
    /// The last reads of two warps, in different blocks where possible.
    reads: [Read; 2],
}

/// Reads of one warp.
#[derive(Clone, Copy, Default)]
struct Read {
    /// 0: none yet.
    time: u32,
    block: u32,
    warp: u16,
    lanes: u32,
}

/// The kind of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// A plain read.
    Read,
    /// A plain write.
    Write,
    /// A volatile, relaxed or acquiring read.
    StrongRead,
    /// An atomic, or a volatile, relaxed or releasing write.
    Atomic,
}

/// An earlier access that races with the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clash {
    pub block: u32,
    pub thread: u16,
    pub write: bool,
    /// Whether both belong to the same warp instruction.
    pub same_instruction: bool,
}

impl Shadow {
    /// Records of memory without any access.
    pub fn new(bytes: usize) -> Shadow {
        Shadow { records: vec![Record::default(); bytes.div_ceil(4)], bytes, shift: 2 }
    }

    /// Splits records to the size of an access.
    #[cold]
    fn split(&mut self, shift: u32) {
        let parts = 1 << (self.shift - shift);
        self.records =
            self.records.iter().flat_map(|record| std::iter::repeat_n(*record, parts)).collect();
        self.shift = shift;
    }

    /// Records an access of lane `lane` of the warp of `moment` and returns the first earlier
    /// access that races with it. In shared memory the accesses of other blocks are ignored.
    #[inline(always)]
    pub fn access(
        &mut self,
        order: &Order,
        moment: &Moment,
        access: Access,
        offset: usize,
        bytes: u32,
        lane: usize,
    ) -> Option<Clash> {
        debug_assert!(offset + bytes as usize <= self.bytes);
        if bytes < 1 << self.shift {
            self.split(bytes.trailing_zeros());
        }
        let mut clash = None;
        let first = offset >> self.shift;
        let count = bytes as usize >> self.shift;
        for record in &mut self.records[first..first + count] {
            let found = match access {
                Access::Read => {
                    let clash = record.clash_with_write(order, moment, false, lane);
                    record.note_read(order, moment, 1 << lane);
                    clash
                }
                Access::StrongRead => record.clash_with_write(order, moment, true, lane),
                Access::Write | Access::Atomic => {
                    record.write(order, moment, access == Access::Atomic, lane)
                }
            };
            if found.is_some() && clash.is_none() {
                clash = found;
            }
        }
        clash
    }
}

impl Shadow {
    /// Records a plain read of one warp, given as offsets and the lanes that read them. False when
    /// it may race with an earlier write.
    #[inline(always)]
    pub fn read_groups(
        &mut self,
        order: &Order,
        moment: &Moment,
        bytes: u32,
        groups: impl Iterator<Item = (usize, u32)>,
    ) -> bool {
        if bytes < 1 << self.shift {
            self.split(bytes.trailing_zeros());
        }
        let count = bytes as usize >> self.shift;
        for (offset, lanes) in groups {
            let first = offset >> self.shift;
            for record in &mut self.records[first..first + count] {
                if !moment.surely_before(record.write_time)
                    && !record.is_ordered_for(order, moment, lanes)
                {
                    return false;
                }
                record.note_read(order, moment, lanes);
            }
        }
        true
    }
}

impl Shadow {
    /// Records a plain write of one warp, given as distinct offsets and the lane that writes each.
    /// False, with nothing recorded, when it may race with an earlier access.
    #[inline(always)]
    pub fn write_groups(
        &mut self,
        moment: &Moment,
        bytes: u32,
        groups: impl Iterator<Item = (usize, u32)> + Clone,
    ) -> bool {
        if bytes < 1 << self.shift {
            self.split(bytes.trailing_zeros());
        }
        let (shift, count) = (self.shift, bytes as usize >> self.shift);
        for (offset, _) in groups.clone() {
            let first = offset >> shift;
            if !self.records[first..first + count].iter().all(|record| record.is_past(moment)) {
                return false;
            }
        }
        for (offset, lanes) in groups {
            let first = offset >> shift;
            for record in &mut self.records[first..first + count] {
                record.set_write(moment, false, lanes.trailing_zeros() as usize);
            }
        }
        true
    }
}

impl Record {
    /// Whether every recorded access is surely ordered before one of this warp now.
    #[inline(always)]
    fn is_past(&self, moment: &Moment) -> bool {
        moment.surely_before(self.write_time)
            & moment.surely_before(self.reads[0].time)
            & moment.surely_before(self.reads[1].time)
    }

    /// Records a write; it replaces the whole record.
    #[inline(always)]
    fn set_write(&mut self, moment: &Moment, atomic: bool, lane: usize) {
        self.write_time = moment.now;
        self.write_block = moment.block;
        self.write_thread = moment.thread(lane);
        self.write_atomic = atomic;
        self.reads[0].time = 0;
        self.reads[1].time = 0;
    }

    /// Whether the last write is ordered before an access of each of these lanes.
    #[cold]
    fn is_ordered_for(&self, order: &Order, moment: &Moment, lanes: u32) -> bool {
        (0..LANES)
            .filter(|lane| lanes >> lane & 1 == 1)
            .all(|lane| self.clash_with_late_write(order, moment, lane).is_none())
    }

    /// Checks a write against the last write and reads, and records it.
    #[inline(always)]
    fn write(
        &mut self,
        order: &Order,
        moment: &Moment,
        atomic: bool,
        lane: usize,
    ) -> Option<Clash> {
        let mut clash = self.clash_with_write(order, moment, atomic, lane);
        for read in &self.reads {
            if clash.is_none() && !moment.surely_before(read.time) {
                clash = read.clash(order, moment, lane);
            }
        }
        self.set_write(moment, atomic, lane);
        clash
    }

    /// The last write, if it is not ordered before an access of a lane now.
    #[inline(always)]
    fn clash_with_write(
        &self,
        order: &Order,
        moment: &Moment,
        strong: bool,
        lane: usize,
    ) -> Option<Clash> {
        if moment.surely_before(self.write_time) || strong && self.write_atomic {
            return None;
        }
        self.clash_with_late_write(order, moment, lane)
    }

    /// The last write, not older than the last barrier, if it is not ordered in another way.
    fn clash_with_late_write(&self, order: &Order, moment: &Moment, lane: usize) -> Option<Clash> {
        let (time, block, me) = (self.write_time, self.write_block, moment.thread(lane));
        let ordered = if block == moment.block {
            order.before_in_block(time, self.write_thread, me)
        } else {
            order.before_across(time, block, self.write_thread, self.write_atomic, me)
        };
        let same_instruction = time == moment.now && block == moment.block;
        (!ordered).then_some(Clash {
            block,
            thread: self.write_thread,
            write: true,
            same_instruction,
        })
    }

    /// Records a read of lanes of one warp. It replaces a read that is ordered before it.
    #[inline(always)]
    fn note_read(&mut self, order: &Order, moment: &Moment, lanes: u32) {
        let [first, second] = &self.reads;
        if moment.is_open(first.time)
            && moment.is_open(second.time)
            && first.warp != moment.warp
            && second.warp != moment.warp
        {
            // Two readers of other warps of this block are enough.
            return;
        }
        // Field by field: many lanes read one word, and a store of a whole record followed by loads
        // of its parts stalls the processor.
        for read in &mut self.reads {
            if read.time == moment.now && read.block == moment.block {
                read.lanes |= lanes;
                return;
            }
            if moment.surely_before(read.time) {
                read.time = moment.now;
                read.block = moment.block;
                read.warp = moment.warp;
                read.lanes = lanes;
                return;
            }
            if read.block == moment.block && read.warp == moment.warp {
                let first = lanes.trailing_zeros() as usize;
                let forgotten =
                    read.time <= moment.warp_barrier && read.clash(order, moment, first).is_none();
                read.lanes = if forgotten { lanes } else { read.lanes | lanes };
                read.time = moment.now;
                return;
            }
        }
        // Keep two unordered readers of two blocks: a write of any block then meets one of another
        // block.
        if self.reads[0].block == self.reads[1].block && self.reads[0].block != moment.block {
            let (time, block, warp) = (moment.now, moment.block, moment.warp);
            self.reads[1] = Read { time, block, warp, lanes };
        }
    }
}

impl Read {
    /// This read, if it is not ordered before an access of a lane now.
    fn clash(&self, order: &Order, moment: &Moment, lane: usize) -> Option<Clash> {
        let (time, block, me) = (self.time, self.block, moment.thread(lane));
        let mut lanes = self.lanes;
        if block == moment.block && self.warp == moment.warp {
            lanes &= !(1 << lane);
        }
        while lanes != 0 {
            let thread = self.warp * LANES as u16 + lanes.trailing_zeros() as u16;
            lanes &= lanes - 1;
            let ordered = if block == moment.block {
                order.before_in_block(time, thread, me)
            } else {
                order.before_across(time, block, thread, false, me)
            };
            if !ordered {
                let same_instruction = time == moment.now && block == moment.block;
                return Some(Clash { block, thread, write: false, same_instruction });
            }
        }
        None
    }
}
