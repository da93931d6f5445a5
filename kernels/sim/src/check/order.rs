//! The happens-before order of accesses, by the rules of the PTX memory model (PTX ISA, "Memory Consistency Model").
//!
//! The clock counts memory instructions and synchronisations over all launches, so a time names one instruction of one
//! warp. Every thread has a vector clock. Barriers join the clocks of their threads. A release (a fence and then a
//! strong write, or a releasing write) leaves a message at its address; a strong read that observes it, directly or
//! through a chain of read-modify-writes, and then a fence, or an acquiring read, joins the message's clock. Both sides'
//! scopes must include each other's threads. Sequentially consistent device fences order more: a fence that happens
//! before a strong write orders what preceded it before a fence of the reading side, also where barriers lie between.

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
    /// The thread of the last write.
    block: u32,
    thread: u16,
    scope: Scope,
    /// The time of the last write.
    at: u32,
    /// Whether the last write is a release, which later strong writes of its thread continue.
    ordered: bool,
    /// Released to threads of every block.
    device: Arc<Clock>,
    /// Released to threads of the same block, by block.
    within: HashMap<u32, Arc<Clock>>,
    /// What happened before sequentially consistent device fences that happened before.
    fenced: Arc<Clock>,
}

/// A strong access, as far as it synchronises.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strong {
    pub address: Address,
    pub thread: u16,
    pub scope: Scope,
    /// Whether it releases (a write) or acquires (a read) by itself.
    pub ordered: bool,
    /// Whether the write is the second half of a read-modify-write.
    pub update: bool,
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
    /// Accesses of other blocks up to this time happen before the warp's.
    elsewhere: u32,
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
        time <= self.floor && (time <= self.elsewhere || block == self.block)
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
    pub fn barrier(&mut self, masks: &[u32], live: &[u32], arrivals: &[Arrival]) {
        self.threads.barrier(masks, live, arrivals, self.now);
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
        let fence = Fence {
            before: Arc::clone(&lane.flow.as_ref().unwrap_or(common).before),
            at: now,
        };
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

    /// Records a strong write: what it releases stays as a message at its address. `last` is the time of the write
    /// before it.
    pub fn release(&mut self, write: Strong, last: u32) {
        if !self.released && !write.ordered {
            return;
        }
        self.released = true;
        let (block, thread) = (self.threads.block, write.thread);
        let (mut within, mut device, mut fenced) = self.released_by(write);
        let old = self.messages.remove(&write.address).filter(|old| old.at == last);
        let mut ordered = write.ordered;
        if let Some(old) = old {
            let own = old.block == block && old.thread == thread;
            let strong = old.block == block || old.scope == Scope::Device && write.scope == Scope::Device;
            let continued = own && old.ordered;
            if write.update && strong || continued {
                ordered |= continued;
                for (other, clock) in old.within {
                    join(within.entry(other).or_default(), &clock);
                }
                join(&mut fenced, &old.fenced);
                let new = std::mem::replace(&mut device, old.device);
                join(&mut device, &new);
            }
        }
        if within.is_empty() && device.is_empty() && fenced.is_empty() {
            return;
        }
        let (scope, at) = (write.scope, self.now);
        let message = Message { block, thread, scope, at, ordered, device, within, fenced };
        self.messages.insert(write.address, message);
    }

    /// What a strong write releases: to threads of its block, to those of every block, and to sequentially consistent
    /// fences.
    fn released_by(&self, write: Strong) -> (HashMap<u32, Arc<Clock>>, Arc<Clock>, Arc<Clock>) {
        let (block, thread) = (self.threads.block, write.thread);
        let (flow, lane) = (self.threads.flow(thread), self.threads.lane(thread));
        let of = |fence: &Option<Fence>| fence.as_ref().map(|fence| fence.clock(block, thread));
        let fences = match (write.ordered, lane) {
            (true, _) => {
                let fence = Some(Fence { before: Arc::clone(&flow.before), at: self.now });
                [of(&fence), of(&fence)]
            }
            (false, Some(lane)) => [of(&lane.fences[0]), of(&lane.fences[1])],
            (false, None) => [None, None],
        };
        let [near, far] = fences;
        let within = near.map(|clock| (block, clock)).into_iter().collect();
        if write.scope == Scope::Block {
            return (within, Arc::default(), Arc::default());
        }
        let mut fenced = Arc::clone(&flow.fenced);
        if let Some(total) = lane.and_then(|lane| of(&lane.total)) {
            join(&mut fenced, &total);
        }
        (within, far.unwrap_or_default(), fenced)
    }

    /// Records a strong read: it observes the message at its address, if the write at time `last` left one.
    pub fn acquire(&mut self, read: Strong, last: u32) {
        let block = self.threads.block;
        let Some(message) = self.messages.get(&read.address) else { return };
        let wide = read.scope == Scope::Device;
        let strong = message.block == block || wide && message.scope == Scope::Device;
        if message.at != last || !strong {
            return;
        }
        let (lane, common) = self.threads.lane_mut(read.thread);
        let within = message.within.get(&block);
        if let Some(clock) = within {
            join(&mut lane.pending[0], clock);
        }
        join(&mut lane.pending[1], &message.device);
        if read.ordered || !message.fenced.is_empty() {
            let flow: &mut Flow = lane.flow.get_or_insert_with(|| common.clone());
            join(&mut flow.observed, &message.fenced);
            if read.ordered {
                within.into_iter().for_each(|clock| join(&mut flow.before, clock));
            }
            if read.ordered && wide {
                join(&mut flow.before, &message.device);
            }
        }
        if read.ordered {
            self.threads.note_sync(read.thread, self.now);
        }
    }

    /// The bounds of a warp for accesses to global or to shared memory.
    pub fn moment(&self, warp: usize, shared: bool) -> Moment {
        Moment {
            now: self.now,
            block: self.threads.block,
            warp: warp as u16,
            floor: self.threads.floor(warp),
            // Blocks do not share shared memory.
            elsewhere: if shared { u32::MAX } else { self.launch_start },
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
            || self.threads.lane(me).is_some_and(|lane| lane.pending.iter().any(|clock| reached(clock)))
    }
}
