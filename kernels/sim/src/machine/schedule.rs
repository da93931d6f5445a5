//! The scheduler: selects the warp that runs and executes its instructions.

use super::Machine;
use super::access::set_all;
use super::warp::{Fragment, State};
use crate::error::Error;
use crate::instruction::{Element, Logic, Operation, Watch};
use crate::memory::Memory;
use crate::report::Kind;

/// The warp instructions of one turn of a warp, in a kernel that may wait for other threads, and in others.
const TURN: [u64; 2] = [2_000, 100_000];
/// The turns of a block after which other blocks have theirs.
const TURNS: u32 = 4;

/// The next step of a fragment after an instruction.
pub(super) enum Flow {
    /// Continue with the next instruction.
    Next,
    /// Wait; then execute the same instruction again.
    Wait(State),
}

impl Machine<'_> {
    /// Runs the block's warps until all have ended. False when they seem to wait for other blocks.
    pub(super) fn schedule(&mut self, memory: &Memory) -> Result<bool, Error> {
        let mut turns = 0;
        loop {
            let mut paused = false;
            let mut order: Vec<u32> = (0..self.here.warps.len() as u32).collect();
            self.settings.warps.arrange(&mut order, self.turns);
            self.turns += 1;
            for warp in order {
                paused |= self.run_warp(memory, warp as usize)?;
            }
            if paused {
                turns += 1;
                if turns == TURNS {
                    return Ok(false);
                }
                continue;
            }
            // A barrier that one warp completed lets earlier ones go on.
            let ready = |fragment: &Fragment| fragment.state == State::Ready;
            if self.here.warps.iter().any(|warp| warp.fragments.iter().any(ready)) {
                continue;
            }
            let ended = self.here.warps.iter().all(|warp| warp.fragments.is_empty());
            if ended || !self.open_barriers() {
                return Ok(true);
            }
        }
    }

    /// Runs a warp until its lanes have ended or wait at a barrier. True when it gave way before.
    fn run_warp(&mut self, memory: &Memory, warp: usize) -> Result<bool, Error> {
        let limit = self.settings.step_limit;
        let turn = TURN[usize::from(!self.kernel.may_wait)];
        self.pause = limit.min(self.steps.saturating_add(turn));
        while let Some(mut fragment) = self.here.warps[warp].take_next() {
            let stop = self.here.warps[warp].next_stop();
            let others = self.here.warps[warp].fragments.len();
            let mut paused = false;
            while fragment.mask != 0 {
                if self.steps >= self.pause {
                    if self.steps >= limit {
                        self.here.warps[warp].fragments.push(fragment);
                        return Err(self.out_of_steps(warp, fragment.pc));
                    }
                    paused = true;
                    fragment.turn += 1;
                    break;
                }
                self.step(memory, warp, &mut fragment)?;
                // Other fragments run first at a lower pc and merge at an equal pc.
                let split = self.here.warps[warp].fragments.len() != others;
                if split || fragment.pc >= stop || fragment.state != State::Ready {
                    break;
                }
            }
            let counted = matches!(fragment.state, State::Barrier { count: Some(_), .. });
            if fragment.mask != 0 {
                self.here.warps[warp].fragments.push(fragment);
            }
            if counted {
                self.open_counted();
            }
            if paused {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Runs one instruction of a fragment.
    #[inline]
    fn step(&mut self, memory: &Memory, warp: usize, fragment: &mut Fragment) -> Result<(), Error> {
        self.steps += 1;
        let kernel = self.kernel;
        let instruction = &kernel.instructions[fragment.pc as usize];
        let state = &self.here.warps[warp];
        let active = match instruction.guard {
            None => fragment.mask,
            Some((slot, negated)) => {
                let guard = state.registers.predicates[usize::from(slot)];
                fragment.mask & if negated { !guard } else { guard }
            }
        };
        if let Some(watch) = &instruction.watch {
            self.watch(warp, fragment, active, watch);
        }
        let state = &mut self.here.warps[warp];
        let tally = &mut self.tallies[fragment.pc as usize];
        tally.warp_instructions += 1;
        tally.thread_instructions += u64::from(active.count_ones());
        if let Some(meter) = &mut self.meter {
            meter.issue(warp, &instruction.timing);
        }
        match &instruction.operation {
            Operation::Lanes(lanes, operands) => {
                lanes.run(&mut state.registers, operands, active);
                fragment.pc += 1;
            }
            Operation::Branch(target) => {
                let staying = fragment.mask & !active;
                if staying == 0 {
                    fragment.pc = *target;
                } else {
                    fragment.pc += 1;
                    if active != 0 {
                        fragment.mask = staying;
                        let taken = Fragment { pc: *target, mask: active, ..*fragment };
                        state.fragments.push(taken);
                    }
                }
            }
            Operation::Exit => {
                state.live &= !active;
                fragment.mask &= !active;
                fragment.pc += 1;
            }
            Operation::Trap { assertion } => {
                state.live &= !active;
                self.trap(warp, fragment.pc, active, *assertion);
                fragment.mask &= !active;
                fragment.pc += 1;
            }
            Operation::Predicate { operator, d, a, b, negated } => {
                let predicates = &mut state.registers.predicates;
                let a = predicates[usize::from(*a)];
                let b = predicates[usize::from(*b)] ^ if *negated { u32::MAX } else { 0 };
                let value = match operator {
                    Logic::And => a & b,
                    Logic::Or => a | b,
                    Logic::Xor => a ^ b,
                    Logic::Copy => b,
                    Logic::Not => !a,
                };
                let d = &mut predicates[usize::from(*d)];
                *d = *d & !active | value & active;
                fragment.pc += 1;
            }
            Operation::Nothing => fragment.pc += 1,
            Operation::Clock(d) => {
                let element = Element { bytes: 8, signed: false };
                set_all(&mut state.registers, *d, active, element, self.steps);
                fragment.pc += 1;
            }
            _ if active == 0 => fragment.pc += 1,
            operation => return self.general(memory, warp, fragment, active, operation),
        }
        Ok(())
    }

    /// Runs an instruction that may touch memory or other lanes.
    fn general(
        &mut self,
        memory: &Memory,
        warp: usize,
        fragment: &mut Fragment,
        active: u32,
        operation: &Operation,
    ) -> Result<(), Error> {
        if active != fragment.mask {
            // Lanes that the guard excludes continue as their own fragment.
            let others = fragment.mask & !active;
            let (pc, turn) = (fragment.pc + 1, fragment.turn);
            let rest = Fragment { pc, mask: others, state: State::Ready, turn };
            self.here.warps[warp].fragments.push(rest);
            fragment.mask = active;
        }
        let flow = match operation {
            Operation::Parameter { .. }
            | Operation::Load { .. }
            | Operation::Store { .. }
            | Operation::Atomic(_)
            | Operation::Fence(_) => {
                self.access(memory, warp, fragment.pc, active, operation);
                Flow::Next
            }
            Operation::LoadMatrix { .. } | Operation::Multiply { .. } => {
                self.matrix(memory, warp, fragment, operation)
            }
            Operation::CopyAsync { .. } | Operation::CommitCopies | Operation::WaitCopies(_) => {
                self.copy(memory, warp, fragment.pc, active, operation);
                Flow::Next
            }
            Operation::Barrier { .. } => self.reach_barrier(warp, fragment, operation),
            _ => self.collective(warp, fragment, operation),
        };
        if let Some(checker) = &mut self.checker
            && !checker.order.tick()
        {
            return Err(self.out_of_steps(warp, fragment.pc));
        }
        match flow {
            Flow::Next => {
                fragment.pc += 1;
                fragment.state = State::Ready;
            }
            Flow::Wait(state) => {
                if state == State::Collective {
                    // It is counted when it executes again.
                    let tally = &mut self.tallies[fragment.pc as usize];
                    tally.warp_instructions -= 1;
                    tally.thread_instructions -= u64::from(active.count_ones());
                }
                fragment.state = state;
            }
        }
        Ok(())
    }

    /// Reports reads of registers that a lane has not written, and records writes.
    #[cold]
    fn watch(&mut self, warp: usize, fragment: &Fragment, active: u32, watch: &Watch) {
        if self.checker.is_none() {
            return;
        }
        let site = self.site(warp, fragment.pc);
        let written = &mut self.here.warps[warp].written;
        let guard = watch.guard.map(|register| (register, fragment.mask));
        let reads = watch.reads.iter().map(|&register| (register, active));
        for (register, mask) in guard.into_iter().chain(reads) {
            let missing = mask & !written[usize::from(register)];
            if missing != 0 {
                let lane = missing.trailing_zeros() as usize;
                site.report(&mut self.findings, lane, Kind::UnwrittenRegister, || {
                    "read of a register that this thread has not written; give its variable a \
                     value on every path"
                        .to_owned()
                });
            }
        }
        for &register in &watch.writes {
            written[usize::from(register)] |= active;
        }
    }

    /// Reports a failed assertion or a trap of the lanes of a mask.
    #[cold]
    fn trap(&mut self, warp: usize, pc: u32, mask: u32, assertion: bool) {
        if mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            let site = self.site(warp, pc);
            site.report(&mut self.findings, lane, Kind::Assert, || match assertion {
                true => "an assertion of the kernel failed".to_owned(),
                false => "the kernel stopped itself".to_owned(),
            });
        }
    }

    /// The error of a kernel that does not end.
    #[cold]
    fn out_of_steps(&self, warp: usize, pc: u32) -> Error {
        Error::StepLimit {
            kernel: self.kernel.name.clone(),
            limit: self.settings.step_limit,
            instruction: self.kernel.instructions[pc as usize].text.clone(),
            block: self.here.block,
            warp: warp as u32,
            others: self.standing(warp),
        }
    }

    /// Where the other warps of the block and the other blocks stand.
    fn standing(&self, running: usize) -> Vec<String> {
        let text = |pc: u32| &self.kernel.instructions[pc as usize].text;
        let mut places: Vec<(String, Vec<usize>)> = Vec::new();
        for (warp, state) in self.here.warps.iter().enumerate().filter(|(warp, _)| *warp != running)
        {
            let mut fragments = state.fragments.iter();
            let place = match fragments.next() {
                None => "ended".to_owned(),
                Some(Fragment { state: State::Barrier { id, .. }, .. }) => {
                    format!("waits at barrier {id}")
                }
                Some(fragment) => format!("is at `{}`", text(fragment.pc)),
            };
            match places.iter_mut().find(|(known, _)| *known == place) {
                Some((_, warps)) => warps.push(warp),
                None => places.push((place, vec![warp])),
            }
        }
        let mut lines: Vec<String> = places
            .into_iter()
            .map(|(place, warps)| match warps.as_slice() {
                [warp] => format!("warp {warp} {place}"),
                warps => format!("each of the warps {warps:?} {place}"),
            })
            .collect();
        if !self.parked.is_empty() {
            lines.push(format!("{} other blocks wait for their turn", self.parked.len()));
        }
        lines
    }
}
