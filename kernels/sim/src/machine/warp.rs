//! A warp: registers and the fragments of its lanes.

use crate::lanes::{ALL, LANES, Registers};

/// A warp.
#[derive(Clone)]
pub(super) struct Warp {
    pub registers: Registers,
    pub fragments: Vec<Fragment>,
    /// The lanes that have written each watched register.
    pub written: Vec<u32>,
    /// Lanes that exist and have not ended.
    pub live: u32,
}

/// Lanes of a warp with one program counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment {
    pub pc: u32,
    pub mask: u32,
    pub state: State,
    /// The number of times that it gave way to others.
    pub turn: u32,
}

/// What a fragment is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing.
    Ready,
    /// Other lanes that its collective names.
    Collective,
    /// Nothing: the missing lanes cannot reach it, so it runs without them.
    Forced,
    /// The block barrier of this id, with its number of threads if given.
    Barrier { id: u32, count: Option<u32> },
}

impl Warp {
    /// A warp with the registers of a kernel.
    pub fn new(banks: [usize; 3], watched: usize, perturb: Option<u64>) -> Warp {
        let registers = Registers {
            words: vec![[0; LANES]; banks[0]],
            longs: vec![[0; LANES]; banks[1]],
            predicates: vec![0; banks[2]],
            carry: 0,
            perturb,
        };
        Warp { registers, fragments: Vec::new(), written: vec![0; watched], live: 0 }
    }

    /// Puts all lanes of the `index`th warp of a block at the start.
    pub fn restart(&mut self, threads: u32, index: usize) {
        let count = threads as usize - index * LANES;
        self.live = if count >= LANES { ALL } else { (1 << count) - 1 };
        self.fragments.clear();
        self.written.fill(0);
        self.fragments.push(Fragment { pc: 0, mask: self.live, state: State::Ready, turn: 0 });
    }

    /// Removes the runnable fragment that gave way least often, of these the one with the lowest pc, merged with all
    /// fragments that wait at the same pc for their collective.
    pub fn take_next(&mut self) -> Option<Fragment> {
        let can_run = |f: &&Fragment| matches!(f.state, State::Ready | State::Forced);
        let pc = match self.fragments.iter().filter(can_run).map(|f| (f.turn, f.pc)).min() {
            Some((_, pc)) => pc,
            None => {
                // No other lane can arrive: run the collective with the lanes it has.
                let waiting = self.fragments.iter_mut().filter(|f| f.state == State::Collective);
                let first = waiting.min_by_key(|f| f.pc)?;
                first.state = State::Forced;
                first.pc
            }
        };
        let mut next = Fragment { pc, mask: 0, state: State::Ready, turn: 0 };
        self.fragments.retain(|fragment| {
            let here = fragment.pc == pc && !matches!(fragment.state, State::Barrier { .. });
            if here {
                next.mask |= fragment.mask;
                next.turn = next.turn.max(fragment.turn);
                if fragment.state == State::Forced {
                    next.state = State::Forced;
                }
            }
            !here
        });
        Some(next)
    }

    /// The lowest pc at which a running fragment must stop to merge with or yield to another.
    pub fn next_stop(&self) -> u32 {
        let others = self.fragments.iter().filter(|f| !matches!(f.state, State::Barrier { .. }));
        others.map(|f| f.pc).min().unwrap_or(u32::MAX)
    }
}
