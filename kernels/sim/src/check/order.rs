//! The happens-before order of accesses, by the rules of the PTX memory model (PTX ISA, "Memory Consistency Model").
//!
//! The clock counts memory instructions and synchronisations over all launches, so a time names one instruction of one
//! warp. Every thread has a vector clock. Barriers join the clocks of their threads. A release (a fence and then a
//! strong write, or a releasing write) leaves a message at its address; a strong read that observes it, directly or
//! through a chain of read-modify-writes, and then a fence, or an acquiring read, joins the message's clock. Both sides'
//! scopes must include each other's threads. Sequentially consistent device fences order more: where one happens before a
//! strong access, and a later strong access of the address happens before another one, the first fence comes before the
//! second, also where barriers lie between.

use std::collections::HashMap;
use std::sync::Arc;

use super::clock::{Clock, join};
use super::threads::{Arrival, Fence, Flow, Threads};
use crate::instruction::{Fencing, Scope};
use crate::lanes::LANES;

/// The clock and the synchronisations so far.
#[derive(Default)]
pub(crate) struct Order {
    now: u32,
    launch_start: u32,
    /// The threads of the running block.
    pub threads: Threads,
    /// The releases that can be acquired, by address.
    messages: HashMap<Address, Message>,
    /// What sequentially consistent fences order, by address: of all blocks, and of each block.
    totals: HashMap<(Address, Option<u32>), Totals>,
    /// Whether a thread of the launch has passed a fence or released.
    released: bool,
    /// Whether threads of the launch may synchronise by more than barriers of whole blocks and warps. Two accesses of
    /// each word then do not stand for all others.
    precise: bool,
}

/// An address of a message: an allocation of global memory, or a block's shared memory, and the offset in it.
pub(crate) type Address = (u64, usize);

/// What a strong write at an address has released.
#[derive(Debug, Clone)]
struct Message {
    /// The block and the scope of the last write.
    block: u32,
    scope: Scope,
    /// The time of the last write.
    at: u32,
    /// Released to threads of every block.
    device: Arc<Clock>,
    /// Released to threads of the same block, by block.
    within: HashMap<u32, Arc<Clock>>,
}

/// The `fenced` clocks of the strong accesses of an address.
#[derive(Debug, Clone, Default)]
struct Totals {
    reads: Arc<Clock>,
    writes: Arc<Clock>,
}

/// A strong access, as far as it synchronises. One that reads and writes is a read-modify-write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strong {
    pub scope: Scope,
    pub reads: bool,
    pub writes: bool,
    /// Whether the read acquires by itself.
    pub acquires: bool,
    /// Whether the write releases by itself.
    pub releases: bool,
}

/// The current time and the bounds of one warp, for fast tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub now: u32,
    /// The running block.
    pub block: u32,
    pub warp: u16,
    /// Accesses of the running block up to this time happen before the warp's.
    floor: u32,
    /// Accesses of all blocks up to this time happen before the warp's.
    everywhere: u32,
    /// The last time before this launch.
    pub launch: u32,
    /// The last time at which lanes of the warp synchronised with others.
    pub warp_sync: u32,
    /// Whether threads may synchronise by more than barriers of whole blocks and warps.
    pub precise: bool,
}

impl Moment {
    /// Whether an access of a block at `time` surely happens before one of this warp now. False means unknown.
    #[inline(always)]
    pub fn surely_before(&self, time: u32, block: u32) -> bool {
        time <= self.everywhere || time <= self.floor && block == self.block
    }

    /// A lane's thread index in the block.
    #[inline(always)]
    pub fn thread(&self, lane: usize) -> u16 {
        self.warp * LANES as u16 + lane as u16
    }
}

impl Order {
    /// Advances the clock; false when it has reached its maximum.
    #[inline(always)]
    pub fn tick(&mut self) -> bool {
        self.now = self.now.saturating_add(1);
        self.now < u32::MAX
    }

    /// Starts a launch; true when the clock was reset, and then all older records must be dropped.
    pub fn start_launch(&mut self, precise: bool) -> bool {
        self.precise = precise;
        let over = self.now > u32::MAX / 2;
        if over {
            self.now = 0;
        }
        self.now += 1;
        self.launch_start = self.now;
        self.messages.clear();
        self.totals.clear();
        self.released = false;
        over
    }

    /// Starts a block.
    pub fn start_block(&mut self, block: u32, warps: usize) {
        self.tick();
        self.threads = Threads::new(block, warps, self.now);
        self.tick();
    }

    /// Threads pass a barrier together; see [`Threads::barrier`].
    pub fn barrier(&mut self, masks: &[u32], live: &[u32], arrivals: &[Arrival], whole: bool) {
        self.threads.barrier(masks, live, arrivals, whole, self.now);
        self.tick();
    }

    /// Threads arrive at a barrier without waiting at it.
    pub fn arrive(&self, warp: usize, mask: u32) -> Arrival {
        self.threads.arrive(warp, mask, self.now)
    }

    /// Lanes of a warp pass a warp barrier together; `live` are the lanes that have not ended.
    pub fn warp_barrier(&mut self, warp: usize, mask: u32, live: u32) {
        self.threads.warp_barrier(warp, mask, live, self.now);
        self.tick();
    }

    /// A thread passes a fence.
    pub fn fence(&mut self, thread: u16, fencing: Fencing) {
        let (now, wide) = (self.now, fencing.scope == Scope::Device);
        let mut synchronises = false;
        let (lane, common) = self.threads.lane_mut(thread);
        if fencing.acquires {
            let kinds = if wide { 2 } else { 1 };
            for pending in &mut lane.pending[..kinds] {
                if !pending.is_empty() {
                    synchronises = true;
                    let flow = lane.flow.get_or_insert_with(|| common.clone());
                    join(&mut flow.before, &std::mem::take(pending));
                }
            }
        }
        let total = fencing.total && wide;
        if total && !lane.flow.as_ref().unwrap_or(common).observed.is_empty() {
            let flow = lane.flow.get_or_insert_with(|| common.clone());
            synchronises = true;
            join(&mut flow.before, &flow.observed);
        }
        let fence =
            Fence { before: Arc::clone(&lane.flow.as_ref().unwrap_or(common).before), at: now };
        if total {
            lane.total = Some(fence.clone());
        }
        if fencing.releases {
            if wide {
                lane.fences[1] = Some(fence.clone());
            }
            lane.fences[0] = Some(fence);
            self.released = true;
        }
        if synchronises {
            self.threads.note_sync(thread, now);
        }
    }

    /// Records what a strong access of a thread acquires and releases; `last` is the time of the write before it.
    pub fn synchronise(&mut self, address: Address, thread: u16, strong: Strong, last: u32) {
        if strong.reads {
            self.acquire(address, thread, strong, last);
        }
        self.total(address, thread, strong);
        if strong.writes {
            self.release(address, thread, strong, last);
        }
    }

    /// Records what a strong access orders between sequentially consistent fences: a fence that happens before it comes
    /// before a fence after a later strong access of the address, if one of the two writes, or a write between them is
    /// observed by the second.
    fn total(&mut self, address: Address, thread: u16, strong: Strong) {
        if !self.released {
            return;
        }
        let block = self.threads.block;
        let mut fenced = Arc::clone(&self.threads.flow(thread).fenced);
        if let Some(total) = self.threads.lane(thread).and_then(|lane| lane.total.as_ref()) {
            join(&mut fenced, &total.clock(block, thread));
        }
        if fenced.is_empty() && self.totals.is_empty() {
            return;
        }
        // Accesses of block scope order fences of their block alone.
        let kinds = if strong.scope == Scope::Device { 2 } else { 1 };
        for key in &[(address, Some(block)), (address, None)][..kinds] {
            if let Some(known) = self.totals.get(key) {
                let (lane, common) = self.threads.lane_mut(thread);
                let flow: &mut Flow = lane.flow.get_or_insert_with(|| common.clone());
                join(&mut flow.observed, &known.writes);
                if strong.writes {
                    join(&mut flow.observed, &known.reads);
                }
            }
            let totals = self.totals.entry(*key).or_default();
            if strong.reads {
                join(&mut totals.reads, &fenced);
            }
            if strong.writes {
                join(&mut totals.writes, &fenced);
                let before = Arc::clone(&totals.reads);
                join(&mut totals.writes, &before);
            }
        }
    }

    /// Records a strong write: what it releases stays as a message at its address.
    fn release(&mut self, address: Address, thread: u16, write: Strong, last: u32) {
        if !self.released && !write.releases {
            return;
        }
        self.released = true;
        let block = self.threads.block;
        if write.releases {
            let (lane, common) = self.threads.lane_mut(thread);
            let before = Arc::clone(&lane.flow.as_ref().unwrap_or(common).before);
            let release = Some((write.scope, Fence { before, at: self.now }));
            lane.at_mut(address).release = release;
        }
        let mut new = self.message(address, thread, write.scope);
        let old = self.messages.remove(&address).filter(|old| old.at == last);
        // A read-modify-write passes on what it observes.
        let wide = write.scope == Scope::Device;
        if let Some(old) = old
            && write.reads
            && (old.block == block || wide && old.scope == Scope::Device)
        {
            for (other, clock) in old.within {
                join(new.within.entry(other).or_default(), &clock);
            }
            let own = std::mem::replace(&mut new.device, old.device);
            join(&mut new.device, &own);
        }
        if !(new.within.is_empty() && new.device.is_empty()) {
            self.messages.insert(address, new);
        }
    }

    /// What a strong write of a thread releases by itself.
    fn message(&self, address: Address, thread: u16, scope: Scope) -> Message {
        let block = self.threads.block;
        let (within, device) = Default::default();
        let mut message = Message { block, scope, at: self.now, device, within };
        let Some(lane) = self.threads.lane(thread) else { return message };
        let clock = |fence: &Fence| fence.clock(block, thread);
        let wide = scope == Scope::Device;
        let release = lane.at(address).and_then(|place| place.release.as_ref());
        let releases = release.map(|(scope, fence)| (*scope == Scope::Device, fence));
        let fences = lane.fences.iter().zip([false, true]);
        let fences = fences.filter_map(|(fence, wide)| Some((wide, fence.as_ref()?)));
        for (device, fence) in fences.chain(releases) {
            let clock = clock(fence);
            if device && wide {
                join(&mut message.device, &clock);
            }
            join(message.within.entry(block).or_default(), &clock);
        }
        message
    }

    /// Records a strong read: it observes the message at its address, if the write at time `last` left one.
    fn acquire(&mut self, address: Address, thread: u16, read: Strong, last: u32) {
        let block = self.threads.block;
        let wide = read.scope == Scope::Device;
        let message = self.messages.get(&address).filter(|message| {
            let strong = message.block == block || wide && message.scope == Scope::Device;
            message.at == last && strong
        });
        let has_observed =
            || self.threads.lane(thread).is_some_and(|lane| lane.has_observed(address));
        if message.is_none() && !(read.acquires && has_observed()) {
            return;
        }
        let (lane, common) = self.threads.lane_mut(thread);
        if let Some(message) = message {
            let place = lane.at_mut(address);
            if let Some(clock) = message.within.get(&block) {
                join(&mut place.pending[0], clock);
            }
            join(&mut place.pending[1], &message.device);
            let place = place.pending.clone();
            for (pending, observed) in lane.pending.iter_mut().zip(&place) {
                join(pending, observed);
            }
        }
        if read.acquires {
            let kinds = if wide { 2 } else { 1 };
            let pending = lane.at_mut(address).pending.clone();
            let flow: &mut Flow = lane.flow.get_or_insert_with(|| common.clone());
            pending[..kinds].iter().for_each(|clock| join(&mut flow.before, clock));
            self.threads.note_sync(thread, self.now);
        }
    }

    /// The bounds of a warp for accesses to global or to shared memory.
    pub fn moment(&self, warp: usize, shared: bool) -> Moment {
        let floor = self.threads.floor(warp);
        Moment {
            now: self.now,
            block: self.threads.block,
            warp: warp as u16,
            floor,
            // Blocks do not share shared memory.
            everywhere: if shared { floor } else { floor.min(self.launch_start) },
            launch: self.launch_start,
            warp_sync: self.threads.last_sync(warp),
            precise: self.precise,
        }
    }

    /// Whether an access of a thread at `time` happens before one of thread `me` of the running block now.
    pub fn before(&self, time: u32, (block, thread): (u32, u16), me: u16) -> bool {
        time <= self.launch_start
            || (block, thread) == (self.threads.block, me)
            || time <= self.threads.flow(me).before.time(block, thread)
    }

    /// Whether an access at `time` would happen before one of thread `me` now if `me` had passed a fence.
    pub fn lacks_fence(&self, time: u32, (block, thread): (u32, u16), me: u16) -> bool {
        let reached = |clock: &Clock| time <= clock.time(block, thread);
        reached(&self.threads.flow(me).observed)
            || self
                .threads
                .lane(me)
                .is_some_and(|lane| lane.pending.iter().any(|clock| reached(clock)))
    }
}
