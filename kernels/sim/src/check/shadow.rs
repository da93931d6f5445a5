//! Who last wrote and read each part of an allocation.

use super::Order;
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

    /// Notes an access of thread `me` and gives the first earlier one that nothing orders before
    /// it. In shared memory the accesses of other blocks do not count.
    #[inline(always)]
    pub fn access(
        &mut self,
        order: &Order,
        access: Access,
        offset: usize,
        bytes: u32,
        me: u16,
        shared: bool,
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
                Access::Read | Access::StrongRead => record.read(order, access, me, shared),
                Access::Write | Access::Atomic => record.write(order, access, me, shared),
            };
            clash = clash.or(found);
        }
        clash
    }
}

impl Record {
    /// Checks a read against the last write, and notes it.
    #[inline(always)]
    fn read(&mut self, order: &Order, access: Access, me: u16, shared: bool) -> Option<Clash> {
        let strong = access == Access::StrongRead;
        let clash = self.clash_with_write(order, strong, me, shared);
        if !strong {
            self.note_read(order, me, shared);
        }
        clash
    }

    /// Checks a write against the last write and reads, and notes it.
    #[inline(always)]
    fn write(&mut self, order: &Order, access: Access, me: u16, shared: bool) -> Option<Clash> {
        let atomic = access == Access::Atomic;
        let mut clash = self.clash_with_write(order, atomic, me, shared);
        for read in &mut self.reads {
            if read.time != 0 {
                clash = clash.or_else(|| read.clash(order, me, shared));
                read.time = 0;
            }
        }
        self.write_time = order.now();
        self.write_block = order.block();
        self.write_thread = me;
        self.write_atomic = atomic;
        clash
    }

    /// The last write, if nothing orders it before an access of thread `me`.
    #[inline(always)]
    fn clash_with_write(
        &self,
        order: &Order,
        strong: bool,
        me: u16,
        shared: bool,
    ) -> Option<Clash> {
        let (time, block) = (self.write_time, self.write_block);
        if time == 0
            || strong && self.write_atomic
            || order.surely_before(time, block, me)
            || block == order.block() && self.write_thread == me
        {
            return None;
        }
        let ordered = if block == order.block() {
            order.before_in_block(time, self.write_thread, me)
        } else {
            shared || order.before_across(time, block, self.write_thread, self.write_atomic, me)
        };
        let same_instruction = time == order.now();
        (!ordered).then_some(Clash {
            block,
            thread: self.write_thread,
            write: true,
            same_instruction,
        })
    }

    /// Notes a read. A record that is ordered before it can go.
    #[inline(always)]
    fn note_read(&mut self, order: &Order, me: u16, shared: bool) {
        let (warp, lane) = (me / LANES as u16, me % LANES as u16);
        let new = Read { time: order.now(), block: order.block(), warp, lanes: 1 << lane };
        for read in &mut self.reads {
            if read.time != 0 && read.block == new.block && read.warp == warp {
                let lanes = if read.clash(order, me, shared).is_some() { read.lanes } else { 0 };
                *read = Read { lanes: lanes | new.lanes, ..new };
                return;
            }
        }
        for read in &mut self.reads {
            if read.time == 0 || read.clash(order, me, shared).is_none() {
                *read = new;
                return;
            }
        }
        // Two unordered readers are kept: from two blocks, so that a third one's write meets one.
        if self.reads[0].block == self.reads[1].block && self.reads[0].block != new.block {
            self.reads[1] = new;
        }
    }
}

impl Read {
    /// This read, if nothing orders it before an access of thread `me`.
    #[inline(always)]
    fn clash(&self, order: &Order, me: u16, shared: bool) -> Option<Clash> {
        let (time, block) = (self.time, self.block);
        if order.surely_before(time, block, me) || shared && block != order.block() {
            return None;
        }
        let first = self.warp * LANES as u16;
        let mut lanes = self.lanes;
        if block == order.block() && self.warp == me / LANES as u16 {
            lanes &= !(1 << (me % LANES as u16));
        }
        while lanes != 0 {
            let thread = first + lanes.trailing_zeros() as u16;
            lanes &= lanes - 1;
            let ordered = if block == order.block() {
                order.before_in_block(time, thread, me)
            } else {
                order.before_across(time, block, thread, false, me)
            };
            if !ordered {
                let same_instruction = time == order.now();
                return Some(Clash { block, thread, write: false, same_instruction });
            }
        }
        None
    }
}
