//! The happens-before order of accesses: barriers, warp barriers, and release and acquire between
//! blocks.
//!
//! The clock counts memory instructions and synchronisations over all launches; blocks of a checked
//! launch run one at a time. Within a block, an access is ordered after an earlier one of another
//! thread when both threads passed a common barrier in between. Between blocks, the earlier block
//! must release (a fence and then an atomic, or a releasing access) and the later block must
//! acquire the same address (an atomic or an acquiring load).

use std::collections::HashMap;

use crate::lanes::LANES;

/// The clock and the synchronisations so far.
#[derive(Default)]
pub(crate) struct Order {
    now: u32,
    launch_start: u32,
    /// The running block's index in the grid.
    block: u32,
    block_start: u32,
    warps: usize,
    /// For each pair of warps, the time of their last common barrier.
    joint: Vec<u32>,
    /// For each warp, the minimum of its row in `joint`.
    floor: Vec<u32>,
    /// For each thread, its last warp barrier and the lanes in it.
    warp_barrier: Vec<(u32, u32)>,
    /// For each warp, the last warp barrier of any of its lanes.
    last_warp_barrier: Vec<u32>,
    /// For each thread, the time of its last fence, and the time up to which it covers the whole
    /// block.
    fence: Vec<(u32, u32)>,
    /// The time up to which every thread's accesses are covered by its own fence and a barrier.
    all_fenced: u32,
    any_fence: bool,
    /// The releases that can be acquired, by address.
    messages: HashMap<u64, Vec<Released>>,
    /// The releases that the running block has acquired, by releasing block.
    known: HashMap<u32, Known>,
}

/// A release of one thread.
#[derive(Debug, Clone, Copy)]
struct Released {
    block: u32,
    thread: u16,
    /// The whole block's accesses up to this time are released.
    block_until: u32,
    /// The thread's own accesses up to this time are released.
    thread_until: u32,
    /// The time of the releasing access.
    at: u32,
}

/// An acquired release, with the acquiring thread and the time.
#[derive(Debug, Clone, Copy)]
struct Known {
    released: Released,
    by: u16,
    at: u32,
}

/// The current time and the bounds of one warp, for fast tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub now: u32,
    /// The running block.
    pub block: u32,
    pub warp: u16,
    /// Accesses of the running block up to this time are ordered before the warp's.
    floor: u32,
    /// Accesses of other blocks up to this time are ordered before the warp's.
    elsewhere: u32,
    /// Start of the running block. Blocks run one at a time, so all later times belong to it.
    block_start: u32,
    /// The time of the last warp barrier.
    pub warp_barrier: u32,
}

impl Moment {
    /// Whether an access at `time` is surely ordered before one of this warp now. False means
    /// unknown.
    #[inline(always)]
    pub fn surely_before(&self, time: u32) -> bool {
        time <= self.floor && (time <= self.elsewhere || time >= self.block_start)
    }

    /// Whether an access at `time` is of the running block and not surely ordered.
    #[inline(always)]
    pub fn is_open(&self, time: u32) -> bool {
        time > self.floor
    }

    /// A lane's thread index in the block.
    #[inline(always)]
    pub fn thread(&self, lane: usize) -> u16 {
        self.warp * LANES as u16 + lane as u16
    }
}

/// The value of [`Known::by`] for several threads.
const SEVERAL: u16 = u16::MAX;

impl Order {
    /// Advances the clock; false when it has reached its maximum.
    #[inline(always)]
    pub fn tick(&mut self) -> bool {
        self.now = self.now.saturating_add(1);
        self.now < u32::MAX
    }

    /// Starts a launch; true when the clock was reset, and then all older records must be dropped.
    pub fn start_launch(&mut self, threads: usize) -> bool {
        let over = self.now > u32::MAX / 2;
        if over {
            self.now = 0;
        }
        self.now += 1;
        self.launch_start = self.now;
        self.warps = threads.div_ceil(LANES);
        self.joint.resize(self.warps * self.warps, 0);
        self.floor.resize(self.warps, 0);
        self.warp_barrier.resize(self.warps * LANES, (0, 0));
        self.last_warp_barrier.resize(self.warps, 0);
        self.fence.resize(self.warps * LANES, (0, 0));
        self.messages.clear();
        over
    }

    /// Starts a block.
    pub fn start_block(&mut self, block: u32) {
        self.tick();
        self.block = block;
        self.block_start = self.now;
        self.joint.fill(self.now);
        self.floor.fill(self.now);
        self.warp_barrier.fill((0, 0));
        self.last_warp_barrier.fill(0);
        self.fence.fill((0, 0));
        self.all_fenced = 0;
        self.any_fence = false;
        self.known.clear();
        self.tick();
    }

    /// Warps, one bit each, pass a barrier together.
    pub fn barrier(&mut self, warps: u64) {
        let here = |warp: usize| warp < 64 && warps >> warp & 1 == 1;
        for a in (0..self.warps).filter(|&warp| here(warp)) {
            let row = &mut self.joint[a * self.warps..(a + 1) * self.warps];
            for (b, joint) in row.iter_mut().enumerate() {
                if here(b) {
                    *joint = self.now;
                }
            }
            self.floor[a] = row.iter().copied().min().unwrap_or(self.now);
        }
        if self.any_fence && warps.count_ones() as usize == self.warps {
            self.all_fenced = self.fence.iter().map(|fence| fence.0).min().unwrap_or(0);
        }
        self.tick();
    }

    /// Lanes of a warp pass a warp barrier together.
    pub fn warp_barrier(&mut self, warp: usize, lanes: u32) {
        for lane in (0..LANES).filter(|lane| lanes >> lane & 1 == 1) {
            self.warp_barrier[warp * LANES + lane] = (self.now, lanes);
        }
        self.last_warp_barrier[warp] = self.now;
        self.tick();
    }

    /// A thread passes a fence over the whole device.
    pub fn fence(&mut self, thread: u16) {
        let thread = usize::from(thread);
        self.fence[thread] = (self.now, self.floor[thread / LANES]);
        self.any_fence = true;
    }

    /// Records a thread's strong write to `address`: it releases the accesses that its fences
    /// cover.
    pub fn release(&mut self, address: u64, thread: u16) {
        let (fence, covered) = self.fence[usize::from(thread)];
        let block_until = covered.max(self.all_fenced);
        if fence == 0 && block_until == 0 {
            return;
        }
        let list = self.messages.entry(address).or_default();
        let mine =
            Released { block: self.block, thread, block_until, thread_until: fence, at: self.now };
        let others = self.known.values().map(|known| known.released);
        for released in others.chain([mine]) {
            match list.iter_mut().find(|old| old.block == released.block) {
                Some(old) if old.at <= released.at => *old = released,
                Some(_) => {}
                None => list.push(released),
            }
        }
    }

    /// Records a thread's strong read of `address`: it acquires all releases at that address.
    pub fn acquire(&mut self, address: u64, thread: u16) {
        let Some(list) = self.messages.get(&address) else { return };
        for &released in list.iter().filter(|released| released.block != self.block) {
            let known = Known { released, by: thread, at: self.now };
            self.known
                .entry(released.block)
                .and_modify(|old| {
                    if old.released.at < released.at {
                        *old = known;
                    } else if old.by != thread {
                        old.by = SEVERAL;
                    }
                })
                .or_insert(known);
        }
    }

    /// The bounds of a warp for accesses to global or to shared memory.
    pub fn moment(&self, warp: usize, shared: bool) -> Moment {
        Moment {
            now: self.now,
            block: self.block,
            warp: warp as u16,
            floor: self.floor[warp],
            // Blocks do not share shared memory.
            elsewhere: if shared { u32::MAX } else { self.launch_start },
            block_start: self.block_start,
            warp_barrier: self.last_warp_barrier[warp],
        }
    }

    /// Whether an access of `thread` of the running block at `time` is ordered before one of
    /// thread `me` now.
    pub fn before_in_block(&self, time: u32, thread: u16, me: u16) -> bool {
        let (thread, me) = (usize::from(thread), usize::from(me));
        if thread == me {
            return true;
        }
        let (theirs, mine) = (thread / LANES, me / LANES);
        if time <= self.joint[mine * self.warps + theirs] {
            return true;
        }
        let (at, lanes) = self.warp_barrier[me];
        theirs == mine && time <= at && lanes >> (thread % LANES) & 1 == 1
    }

    /// Whether an access of another block of this launch is ordered before one of thread `me` now.
    pub fn before_across(&self, time: u32, block: u32, thread: u16, atomic: bool, me: u16) -> bool {
        let Some(known) = self.known.get(&block) else { return false };
        let released = known.released;
        let own_until = if atomic { released.at } else { released.thread_until };
        let covered =
            time <= released.block_until || thread == released.thread && time <= own_until;
        covered && (known.by == SEVERAL || self.before_in_block(known.at, known.by, me))
    }
}
