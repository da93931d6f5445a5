//! The scheduler: selects the warp that runs and executes its instructions.

use super::Machine;
use super::warp::{Fragment, State};
use crate::error::Error;
use crate::instruction::{Logic, Operation};
use crate::memory::Memory;

/// The next step of a fragment after an instruction.
pub(super) enum Flow {
    /// Continue with the next instruction.
    Next,
    /// Wait; then execute the same instruction again.
    Wait(State),
}

impl Machine<'_> {
    /// Runs the block's warps until all have ended.
    pub(super) fn schedule(&mut self, memory: &Memory) -> Result<(), Error> {
        loop {
            for warp in 0..self.warps.len() {
                self.run_warp(memory, warp)?;
            }
            if self.warps.iter().all(|warp| warp.fragments.is_empty()) || !self.open_barriers() {
                return Ok(());
            }
        }
    }

    /// Runs a warp until its lanes have ended or wait at a barrier.
    fn run_warp(&mut self, memory: &Memory, warp: usize) -> Result<(), Error> {
        while let Some(mut fragment) = self.warps[warp].take_next() {
            let stop = self.warps[warp].next_stop();
            let others = self.warps[warp].fragments.len();
            while fragment.mask != 0 {
                self.step(memory, warp, &mut fragment)?;
                // Other fragments run first at a lower pc and merge at an equal pc.
                let split = self.warps[warp].fragments.len() != others;
                if split || fragment.pc >= stop || fragment.state != State::Ready {
                    break;
                }
            }
            if fragment.mask != 0 {
                self.warps[warp].fragments.push(fragment);
            }
        }
        Ok(())
    }

    /// Runs one instruction of a fragment.
    #[inline]
    fn step(&mut self, memory: &Memory, warp: usize, fragment: &mut Fragment) -> Result<(), Error> {
        self.steps += 1;
        if self.steps > self.step_limit {
            return Err(self.out_of_steps(fragment.pc));
        }
        let kernel = self.kernel;
        let instruction = &kernel.instructions[fragment.pc as usize];
        let state = &mut self.warps[warp];
        let active = match instruction.guard {
            None => fragment.mask,
            Some((slot, negated)) => {
                let guard = state.registers.predicates[usize::from(slot)];
                fragment.mask & if negated { !guard } else { guard }
            }
        };
        let tally = &mut self.tallies[fragment.pc as usize];
        tally.warp_instructions += 1;
        tally.thread_instructions += u64::from(active.count_ones());
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
                        let taken = Fragment { pc: *target, mask: active, state: State::Ready };
                        state.fragments.push(taken);
                    }
                }
            }
            Operation::Exit => {
                state.live &= !active;
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
            let rest = Fragment { pc: fragment.pc + 1, mask: others, state: State::Ready };
            self.warps[warp].fragments.push(rest);
            fragment.mask = active;
        }
        let flow = match operation {
            Operation::Parameter { .. }
            | Operation::Load { .. }
            | Operation::Store { .. }
            | Operation::Atomic(_)
            | Operation::Fence => {
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
            return Err(self.out_of_steps(fragment.pc));
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

    /// The error of a kernel that does not end.
    #[cold]
    fn out_of_steps(&self, pc: u32) -> Error {
        Error::StepLimit {
            kernel: self.kernel.name.clone(),
            limit: self.step_limit,
            instruction: self.kernel.instructions[pc as usize].text.clone(),
            block: self.block,
        }
    }
}
