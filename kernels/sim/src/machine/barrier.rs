//! Block barriers.

use super::Machine;
use super::resident::Arrived;
use super::schedule::Flow;
use super::site::coordinates;
use super::view::lanes_of;
use super::warp::{Fragment, State};
use crate::instruction::{BarrierMode, Operation};
use crate::lanes::LANES;
use crate::report::Kind;

/// The threads that wait at a barrier.
struct Waiting {
    id: u32,
    count: Option<u32>,
    threads: u32,
    /// Warp, pc and mask of every waiting fragment.
    fragments: Vec<(usize, u32, u32)>,
}

impl Machine<'_> {
    /// Makes a fragment wait at a barrier, or continue if it only arrives.
    pub(super) fn reach_barrier(
        &mut self,
        warp: usize,
        fragment: &Fragment,
        operation: &Operation,
    ) -> Flow {
        let Operation::Barrier { id, count, arrive, .. } = operation else { return Flow::Next };
        let words = &self.here.warps[warp].registers.words;
        let lane = fragment.mask.trailing_zeros() as usize;
        let id = words[usize::from(*id)][lane];
        let count = count.map(|slot| words[usize::from(slot)][lane]);
        if *arrive {
            let mask = fragment.mask;
            let arrival = self.checker.as_ref().map(|checker| checker.order.arrive(warp, mask));
            self.here.arrived.push(Arrived { id, mask, arrival });
            return Flow::Next;
        }
        Flow::Wait(State::Barrier { id, count })
    }

    /// Opens the complete barriers of a number of threads.
    pub(super) fn open_counted(&mut self) {
        let waiting = self.waiting();
        self.open_complete(waiting.iter().filter(|barrier| barrier.count.is_some()));
    }

    /// Opens every complete barrier, once no warp can run. False when none is complete.
    pub(super) fn open_barriers(&mut self) -> bool {
        let waiting = self.waiting();
        let opened = self.open_complete(waiting.iter());
        if !opened && let Some(barrier) = waiting.first() {
            let (warp, pc, mask) = barrier.fragments[0];
            let site = self.site(warp, pc);
            let (id, here, block) = (barrier.id, barrier.threads, self.threads);
            let others: Vec<u32> = waiting[1..].iter().map(|other| other.id).collect();
            site.report(&mut self.findings, mask.trailing_zeros() as usize, Kind::Barrier, || {
                format!(
                    "deadlock: {here} of {block} threads wait at barrier {id}, others at barriers \
                     {others:?}; let every thread of the block reach the same barrier"
                )
            });
        }
        opened
    }

    /// Opens the complete ones of some barriers; whether there was one.
    fn open_complete<'w>(&mut self, waiting: impl Iterator<Item = &'w Waiting>) -> bool {
        let live: u32 = self.here.warps.iter().map(|warp| warp.live.count_ones()).sum();
        let mut opened = false;
        for barrier in waiting {
            let arrived = self.here.arrived.iter().filter(|arrived| arrived.id == barrier.id);
            let arrived: u32 = arrived.map(|arrived| arrived.mask.count_ones()).sum();
            let complete = match barrier.count {
                Some(count) => barrier.threads + arrived >= count,
                None => barrier.threads == live,
            };
            if complete {
                self.check_barrier(barrier);
                self.open(barrier);
                opened = true;
            }
        }
        opened
    }

    /// The barriers at which fragments wait.
    fn waiting(&self) -> Vec<Waiting> {
        let mut list: Vec<Waiting> = Vec::new();
        for (warp, state) in self.here.warps.iter().enumerate() {
            for fragment in &state.fragments {
                let State::Barrier { id, count } = fragment.state else { continue };
                let at = list.iter().position(|waiting| waiting.id == id).unwrap_or_else(|| {
                    list.push(Waiting { id, count, threads: 0, fragments: Vec::new() });
                    list.len() - 1
                });
                list[at].threads += fragment.mask.count_ones();
                list[at].fragments.push((warp, fragment.pc, fragment.mask));
            }
        }
        list
    }

    /// Reports a barrier that opens although not all threads have reached it.
    fn check_barrier(&mut self, barrier: &Waiting) {
        let (warp, pc, mask) = barrier.fragments[0];
        let lane = mask.trailing_zeros() as usize;
        let apart = barrier.fragments.iter().find(|fragment| fragment.1 != pc);
        if let Some(&(other_warp, other_pc, other_mask)) = apart {
            let site = self.site(other_warp, other_pc);
            let thread = coordinates((warp * LANES + lane) as u32, self.launch.block);
            let other = &self.kernel.instructions[pc as usize];
            let other = self.kernel.place(other).map_or(0, |(_, line)| line);
            let other_lane = other_mask.trailing_zeros() as usize;
            site.report(&mut self.findings, other_lane, Kind::Barrier, || {
                format!(
                    "threads of the block wait at different barriers: thread {thread:?} waits at \
                     the one of source line {other}; move the barrier out of the condition"
                )
            });
        }
    }

    /// Releases the threads that wait at a barrier.
    fn open(&mut self, barrier: &Waiting) {
        let mut masks = vec![0; self.here.warps.len()];
        let mut ballots = Vec::new();
        for &(warp, pc, mask) in &barrier.fragments {
            masks[warp] |= mask;
            if let Operation::Barrier { vote: Some(vote), .. } =
                &self.kernel.instructions[pc as usize].operation
            {
                let value = self.here.warps[warp].registers.predicates[usize::from(vote.a)];
                let value = if vote.negated { !value } else { value };
                ballots.push((value & mask).count_ones());
            }
        }
        let here = |arrived: &mut Arrived| arrived.id == barrier.id;
        let arrivals: Vec<_> =
            self.here.arrived.extract_if(.., here).filter_map(|arrived| arrived.arrival).collect();
        let yes: u32 = ballots.iter().sum();
        for &(warp, pc, mask) in &barrier.fragments {
            let state = &mut self.here.warps[warp];
            if let Operation::Barrier { vote: Some(vote), .. } =
                &self.kernel.instructions[pc as usize].operation
            {
                let d = usize::from(vote.d);
                let holds = match vote.mode {
                    BarrierMode::Count => {
                        for lane in lanes_of(mask) {
                            state.registers.words[d][lane] = yes;
                        }
                        continue;
                    }
                    BarrierMode::And => yes == barrier.threads,
                    BarrierMode::Or => yes > 0,
                };
                let predicate = &mut state.registers.predicates[d];
                *predicate = if holds { *predicate | mask } else { *predicate & !mask };
            }
        }
        for state in &mut self.here.warps {
            for fragment in &mut state.fragments {
                if matches!(fragment.state, State::Barrier { id, .. } if id == barrier.id) {
                    fragment.state = State::Ready;
                    fragment.pc += 1;
                }
            }
        }
        if let Some(meter) = &mut self.meter {
            meter.barrier(barrier.fragments.iter().map(|&(warp, ..)| warp));
        }
        if let Some(checker) = &mut self.checker {
            let live: Vec<u32> = self.here.warps.iter().map(|warp| warp.live).collect();
            checker.order.barrier(&masks, &live, &arrivals, barrier.count.is_none());
        }
    }
}
