//! Who last wrote and read each part of an allocation.

use super::order::{Moment, Order};
use crate::lanes::LANES;

/// Records of one allocation: one for each word until an access is narrower than that.
#[derive(Default)]
pub(crate) struct Shadow {
    records: Vec<Record>,
    bytes: usize,
    /// Bytes of a record, as a power of two.
    shift: u32,
}

/// The last write and reads of a few bytes.
#[derive(Clone, Copy, Default)]
struct Record {
    /// 0 when there was none.
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
    /// 0 when there was none.
    time: u32,
    block: u32,
    warp: u16,
    lanes: u32,
}

/// What an access does.
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

/// An earlier access that is in conflict with the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clash {
    pub block: u32,
    pub thread: u16,
    pub write: bool,
    /// Both are of the same warp instruction.
    pub same_instruction: bool,
}

impl Shadow {
    /// Records of memory that nobody has touched.
    pub fn new(bytes: usize) -> Shadow {
        Shadow { records: vec![Record::default(); bytes.div_ceil(4)], bytes, shift: 2 }
    }

    /// Makes records narrow enough for an access.
    #[cold]
    fn split(&mut self, shift: u32) {
        let parts = 1 << (self.shift - shift);
        self.records =
            self.records.iter().flat_map(|record| std::iter::repeat_n(*record, parts)).collect();
        self.shift = shift;
    }

    /// Notes an access of lane `lane` of the warp of `moment` and gives the first earlier one that
    /// nothing orders before it. In shared memory the accesses of other blocks do not count.
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
    /// Notes a plain read of one warp, given by offsets and the lanes that read there. False when
    /// nothing orders an earlier write before it.
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

impl Record {
    /// Whether something orders the last write before an access of each of these lanes.
    #[cold]
    fn is_ordered_for(&self, order: &Order, moment: &Moment, lanes: u32) -> bool {
        (0..LANES)
            .filter(|lane| lanes >> lane & 1 == 1)
            .all(|lane| self.clash_with_late_write(order, moment, lane).is_none())
    }

    /// Checks a write against the last write and reads, and notes it.
    #[inline(always)]
    fn write(
        &mut self,
        order: &Order,
        moment: &Moment,
        atomic: bool,
        lane: usize,
    ) -> Option<Clash> {
        let mut clash = self.clash_with_write(order, moment, atomic, lane);
        for read in &mut self.reads {
            if read.time != 0 {
                if clash.is_none() && !moment.surely_before(read.time) {
                    clash = read.clash(order, moment, lane);
                }
                read.time = 0;
            }
        }
        self.write_time = moment.now;
        self.write_block = moment.block;
        self.write_thread = moment.thread(lane);
        self.write_atomic = atomic;
        clash
    }

    /// The last write, if nothing orders it before an access of a lane now.
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

    /// The last write, which is no older than the last barrier, if nothing else orders it.
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

    /// Notes a read of lanes of one warp. A record that is ordered before it can go.
    #[inline(always)]
    fn note_read(&mut self, order: &Order, moment: &Moment, lanes: u32) {
        let [first, second] = &self.reads;
        if moment.is_open(first.time)
            && moment.is_open(second.time)
            && first.warp != moment.warp
            && second.warp != moment.warp
        {
            // Two other warps of this block are readers enough.
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
        // Two unordered readers are kept: from two blocks, so that a third one's write meets one.
        if self.reads[0].block == self.reads[1].block && self.reads[0].block != moment.block {
            let (time, block, warp) = (moment.now, moment.block, moment.warp);
            self.reads[1] = Read { time, block, warp, lanes };
        }
    }
}

impl Read {
    /// This read, if nothing orders it before an access of a lane now.
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
