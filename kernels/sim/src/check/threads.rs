//! The synchronisation state of the threads of one block.

use std::collections::HashMap;
use std::sync::Arc;

use super::clock::{Clock, join};
use super::order::Address;
use crate::instruction::Scope;
use crate::lanes::{ALL, LANES};

/// What travels along every synchronisation.
#[derive(Debug, Clone, Default)]
pub(super) struct Flow {
    /// The accesses that happen before.
    pub before: Arc<Clock>,
    /// The accesses that happen before a sequentially consistent device fence that happens before.
    pub fenced: Arc<Clock>,
    /// The `fenced` clocks of the strong accesses that come before strong accesses of the same address, which happen
    /// before. The next sequentially consistent device fence makes them happen before.
    pub observed: Arc<Clock>,
}

impl Flow {
    pub fn join(&mut self, other: &Flow) {
        join(&mut self.before, &other.before);
        join(&mut self.fenced, &other.fenced);
        join(&mut self.observed, &other.observed);
    }
}

/// A fence of a thread: what a later strong write of the thread releases.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    /// What happened before the fence.
    pub before: Arc<Clock>,
    /// The time of the fence, which covers the thread's own accesses.
    pub at: u32,
}

impl Fence {
    /// Everything that happened before the fence, the accesses of its thread included.
    pub fn clock(&self, block: u32, thread: u16) -> Arc<Clock> {
        let mut clock = Clock::clone(&self.before);
        clock.raise_thread(block, thread, self.at);
        Arc::new(clock)
    }
}

/// The state of one thread beyond that of its warp.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    /// Its clocks, where they differ from the warp's.
    pub flow: Option<Flow>,
    /// Its last fence of block scope or wider, and of device scope.
    pub fences: [Option<Fence>; 2],
    /// Its last sequentially consistent device fence.
    pub total: Option<Fence>,
    /// What its strong reads have observed and a fence will make happen before: releases of its own block, for which
    /// a fence of block scope is enough, and all others.
    pub pending: [Arc<Clock>; 2],
    /// What it has released and observed, by address.
    places: HashMap<Address, Synchronised>,
}

/// What a thread has released and observed at one address.
#[derive(Debug, Clone, Default)]
pub(super) struct Synchronised {
    /// Its last releasing write and that write's scope: later strong writes to the address release it too.
    pub release: Option<(Scope, Fence)>,
    /// What its strong reads of the address have observed, as in [`Lane::pending`]: a later acquiring read of the
    /// address makes it happen before.
    pub pending: [Arc<Clock>; 2],
}

impl Lane {
    /// What the thread has released and observed at an address, if anything.
    pub fn at(&self, address: Address) -> Option<&Synchronised> {
        self.places.get(&address)
    }

    /// What the thread has released and observed at an address, to be changed.
    pub fn at_mut(&mut self, address: Address) -> &mut Synchronised {
        self.places.entry(address).or_default()
    }

    /// Whether the thread's strong reads of an address have observed a release.
    pub fn has_observed(&self, address: Address) -> bool {
        self.at(address).is_some_and(|at| at.pending.iter().any(|clock| !clock.is_empty()))
    }
}

/// The state of one warp.
#[derive(Debug, Clone, Default)]
struct Warp {
    /// The clocks of all lanes that have none of their own.
    common: Flow,
    lanes: Option<Box<[Lane; LANES]>>,
}

/// The synchronisation state of the threads of one block.
#[derive(Debug, Clone, Default)]
pub(crate) struct Threads {
    pub(super) block: u32,
    warps: Vec<Warp>,
    /// For each warp, the time up to which the accesses of all threads of the block happen before.
    floors: Vec<u32>,
    /// For each warp, the last time at which lanes synchronised with others.
    syncs: Vec<u32>,
}

/// Threads that have arrived at a barrier without waiting at it.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    warp: usize,
    mask: u32,
    at: u32,
    flow: Flow,
}

impl Threads {
    /// The threads of a block at its start.
    pub fn new(block: u32, warps: usize, now: u32) -> Threads {
        let common = Flow { before: Arc::new(Clock::start(block, now)), ..Flow::default() };
        let warp = Warp { common, lanes: None };
        Threads {
            block,
            warps: vec![warp; warps],
            floors: vec![now; warps],
            syncs: vec![now; warps],
        }
    }

    /// The time up to which every access of the block happens before every lane of a warp.
    #[inline(always)]
    pub fn floor(&self, warp: usize) -> u32 {
        self.floors[warp]
    }

    /// The last time at which lanes of a warp synchronised with others.
    #[inline(always)]
    pub fn last_sync(&self, warp: usize) -> u32 {
        self.syncs[warp]
    }

    /// Lanes of a warp synchronise with others now.
    pub fn note_sync(&mut self, thread: u16, now: u32) {
        self.syncs[usize::from(thread) / LANES] = now;
    }

    /// A thread's clocks.
    pub(super) fn flow(&self, thread: u16) -> &Flow {
        let warp = &self.warps[usize::from(thread) / LANES];
        let own =
            warp.lanes.as_ref().and_then(|lanes| lanes[usize::from(thread) % LANES].flow.as_ref());
        own.unwrap_or(&warp.common)
    }

    /// A thread's state beyond that of its warp, if it has any.
    pub(super) fn lane(&self, thread: u16) -> Option<&Lane> {
        let lanes = self.warps[usize::from(thread) / LANES].lanes.as_ref()?;
        Some(&lanes[usize::from(thread) % LANES])
    }

    /// A thread's state, to be changed, and the clocks of its warp.
    pub(super) fn lane_mut(&mut self, thread: u16) -> (&mut Lane, &Flow) {
        let warp = &mut self.warps[usize::from(thread) / LANES];
        let lanes = warp.lanes.get_or_insert_default();
        (&mut lanes[usize::from(thread) % LANES], &warp.common)
    }

    /// Joins the clocks of some lanes of a warp into `flow`.
    fn gather(&self, flow: &mut Flow, warp: usize, mask: u32) {
        let state = &self.warps[warp];
        let Some(lanes) = &state.lanes else {
            flow.join(&state.common);
            return;
        };
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            let own = &lanes[lane];
            flow.join(own.flow.as_ref().unwrap_or(&state.common));
            if let Some(total) = &own.total {
                let thread = (warp * LANES + lane) as u16;
                join(&mut flow.fenced, &total.before);
                Arc::make_mut(&mut flow.fenced).raise_thread(self.block, thread, total.at);
            }
        }
    }

    /// Gives some lanes of a warp the same clocks; `live` are the lanes that have not ended.
    fn give(&mut self, flow: &Flow, warp: usize, mask: u32, live: u32) {
        let state = &mut self.warps[warp];
        if mask & live == live {
            state.common = flow.clone();
            self.floors[warp] = flow.before.floor(self.block);
            for lane in state.lanes.iter_mut().flat_map(|lanes| lanes.iter_mut()) {
                (lane.flow, lane.total) = (None, None);
            }
            return;
        }
        let lanes = state.lanes.get_or_insert_default();
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
            (lanes[lane].flow, lanes[lane].total) = (Some(flow.clone()), None);
        }
    }

    /// Raises the times of some lanes of a warp.
    fn raise(&self, clock: &mut Clock, warp: usize, (mask, live): (u32, u32), now: u32) {
        if mask & live == live && self.warps.len() == 1 {
            clock.raise_all(self.block, now);
        } else if mask & live == live {
            clock.raise_warp(self.block, warp as u16, now);
        } else {
            for lane in (0..LANES).filter(|lane| mask >> lane & 1 == 1) {
                clock.raise_thread(self.block, (warp * LANES + lane) as u16, now);
            }
        }
    }

    /// Threads arrive at a barrier without waiting at it.
    pub fn arrive(&self, warp: usize, mask: u32, now: u32) -> Arrival {
        let mut flow = Flow::default();
        self.gather(&mut flow, warp, mask);
        Arrival { warp, mask, at: now, flow }
    }

    /// Threads of several warps, as masks of lanes, pass a barrier together. `live` are the lanes of each warp that
    /// have not ended. With `whole`, the barrier is one of all threads of the block, and those that have ended count as
    /// present.
    pub fn barrier(
        &mut self,
        masks: &[u32],
        live: &[u32],
        arrivals: &[Arrival],
        whole: bool,
        now: u32,
    ) {
        let members = || masks.iter().enumerate().filter(|(_, mask)| **mask != 0);
        let everyone = whole && masks.iter().zip(live).all(|(mask, live)| mask & live == *live);
        let mut flow = Flow::default();
        for (warp, &mask) in members() {
            self.gather(&mut flow, warp, mask);
        }
        for arrival in arrivals {
            flow.join(&arrival.flow);
        }
        let before = Arc::make_mut(&mut flow.before);
        if everyone {
            before.raise_all(self.block, now);
        } else {
            for (warp, &mask) in members() {
                self.raise(before, warp, (mask, live[warp]), now);
            }
            for arrival in arrivals {
                self.raise(before, arrival.warp, (arrival.mask, ALL), arrival.at);
            }
        }
        for (warp, &mask) in members() {
            self.syncs[warp] = now;
            self.give(&flow, warp, mask, live[warp]);
        }
    }

    /// Lanes of a warp pass a warp barrier together.
    pub fn warp_barrier(&mut self, warp: usize, mask: u32, live: u32, now: u32) {
        let mut flow = Flow::default();
        self.gather(&mut flow, warp, mask);
        self.raise(Arc::make_mut(&mut flow.before), warp, (mask, live), now);
        self.syncs[warp] = now;
        self.give(&flow, warp, mask, live);
    }
}
