//! Shuffles, votes and other instructions of several lanes of a warp.

use super::Machine;
use super::schedule::Flow;
use super::view::lanes_of;
use super::warp::{Fragment, State};
use crate::instruction::{Operation, Reduction, Shuffle, Vote};
use crate::lanes::{LANES, Registers};
use crate::report::Kind;

impl Machine<'_> {
    /// Runs a collective once all lanes of its mask have reached it.
    pub(super) fn collective(
        &mut self,
        warp: usize,
        fragment: &Fragment,
        operation: &Operation,
    ) -> Flow {
        let members = match operation {
            Operation::Shuffle { members, .. }
            | Operation::Vote { members, .. }
            | Operation::Match { members, .. }
            | Operation::Reduce { members, .. }
            | Operation::SyncWarp { members } => *members,
            Operation::ActiveMask { d } => {
                for lane in lanes_of(fragment.mask) {
                    self.here.warps[warp].registers.words[usize::from(*d)][lane] = fragment.mask;
                }
                return Flow::Next;
            }
            _ => return Flow::Next,
        };
        let named = self.here.warps[warp].registers.words[usize::from(members)];
        if !self.all_here(warp, fragment, &named) {
            return Flow::Wait(State::Collective);
        }
        match operation {
            Operation::Shuffle { .. } => self.shuffle(warp, fragment, operation),
            Operation::SyncWarp { .. } => {
                if let Some(checker) = &mut self.checker {
                    let mut left = fragment.mask;
                    while left != 0 {
                        let group = named[left.trailing_zeros() as usize] & fragment.mask;
                        checker.order.warp_barrier(warp, group, self.here.warps[warp].live);
                        left &= !(group | 1 << left.trailing_zeros());
                    }
                }
            }
            _ => {
                let registers = &mut self.here.warps[warp].registers;
                // All results are computed from the registers before any of them is written.
                let mut results = [(0, false); LANES];
                for lane in lanes_of(fragment.mask) {
                    results[lane] =
                        gathered(registers, lane, named[lane] & fragment.mask, operation);
                }
                for lane in lanes_of(fragment.mask) {
                    keep(registers, lane, results[lane], operation);
                }
            }
        }
        Flow::Next
    }

    /// Whether the fragment has all lanes of its mask. When missing lanes cannot reach the
    /// instruction any more, it reports them and returns true.
    fn all_here(&mut self, warp: usize, fragment: &Fragment, named: &[u32; LANES]) -> bool {
        let absent = |lane: usize| named[lane] & !fragment.mask;
        if fragment.state != State::Forced && lanes_of(fragment.mask).any(|lane| absent(lane) != 0)
        {
            return false;
        }
        let site = self.site(warp, fragment.pc);
        for lane in lanes_of(fragment.mask) {
            if absent(lane) != 0 {
                let (mask, missing) = (named[lane], absent(lane));
                site.report(&mut self.findings, lane, Kind::CollectiveMask, || {
                    format!(
                        "mask {mask:#010x} names lanes that never reach this instruction \
                         ({missing:#010x}); name exactly the lanes that execute it"
                    )
                });
            } else if named[lane] >> lane & 1 == 0 {
                let mask = named[lane];
                site.report(&mut self.findings, lane, Kind::CollectiveMask, || {
                    format!(
                        "lane {lane} executes this instruction, but mask {mask:#010x} misses it; \
                         name exactly the lanes that execute it"
                    )
                });
            } else if let Some(other) =
                lanes_of(named[lane]).find(|&other| named[other] != named[lane])
            {
                let (mask, theirs) = (named[lane], named[other]);
                site.report(&mut self.findings, lane, Kind::CollectiveMask, || {
                    format!(
                        "lane {lane} passes mask {mask:#010x}, lane {other} {theirs:#010x}; pass \
                         the same mask"
                    )
                });
            }
        }
        true
    }

    /// `shfl.sync`.
    fn shuffle(&mut self, warp: usize, fragment: &Fragment, operation: &Operation) {
        let Operation::Shuffle { mode, d, valid, a, b, c, .. } = operation else { return };
        let site = self.site(warp, fragment.pc);
        let registers = &mut self.here.warps[warp].registers;
        let [a, b, c] = [a, b, c].map(|slot| registers.words[usize::from(*slot)]);
        let mut inside = 0;
        for lane in lanes_of(fragment.mask) {
            let (source, valid) = shuffle_source(*mode, lane as u32, b[lane], c[lane]);
            inside |= u32::from(valid) << lane;
            if fragment.mask >> source & 1 == 0 {
                site.report(&mut self.findings, lane, Kind::InactiveLane, || {
                    format!(
                        "reads lane {source}, which does not take part, so the value is undefined; \
                         let that lane execute this too or choose a source inside the mask"
                    )
                });
            }
            registers.words[usize::from(*d)][lane] = a[source as usize];
        }
        if let Some(valid) = valid {
            let valid = &mut registers.predicates[usize::from(*valid)];
            *valid = *valid & !fragment.mask | inside;
        }
    }
}

/// The lane that a shuffle reads, and whether it is in range.
pub(super) fn shuffle_source(mode: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (b, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let last = lane & segment | clamp & !segment;
    let first = lane & segment;
    let (source, valid) = match mode {
        Shuffle::Up => {
            let source = lane as i32 - b as i32;
            (source as u32, source >= last as i32)
        }
        Shuffle::Down => (lane + b, lane + b <= last),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= last),
        Shuffle::Index => {
            let source = first | b & !segment;
            (source, source <= last)
        }
    };
    if valid { (source, true) } else { (lane, false) }
}

/// One lane's results of a vote, match or reduction over the lanes of `group`: a word and a
/// predicate. The instruction writes those for which it has a destination.
fn gathered(registers: &Registers, lane: usize, group: u32, operation: &Operation) -> (u32, bool) {
    match operation {
        Operation::Vote { mode, a, negated, .. } => {
            let a = registers.predicates[usize::from(*a)];
            let yes = if *negated { !a } else { a } & group;
            let holds = match mode {
                Vote::Ballot | Vote::Any => yes != 0,
                Vote::All => yes == group,
                Vote::Uniform => yes == group || yes == 0,
            };
            (yes, holds)
        }
        Operation::Match { all, long, a, .. } => {
            let a = usize::from(*a);
            let value = |lane: usize| match long {
                true => registers.longs[a][lane],
                false => u64::from(registers.words[a][lane]),
            };
            let mine = value(lane);
            let equal = lanes_of(group).filter(|&lane| value(lane) == mine);
            let same = equal.fold(0u32, |mask, lane| mask | 1 << lane);
            (if *all && same != group { 0 } else { same }, same == group)
        }
        Operation::Reduce { operator, a, .. } => (reduce(registers, *operator, *a, group), false),
        _ => (0, false),
    }
}

/// Writes the results of [`gathered`].
fn keep(registers: &mut Registers, lane: usize, (word, holds): (u32, bool), operation: &Operation) {
    let (d, p) = match operation {
        Operation::Vote { mode: Vote::Ballot, d, .. } | Operation::Reduce { d, .. } => {
            (Some(*d), None)
        }
        Operation::Vote { d, .. } => (None, Some(*d)),
        Operation::Match { d, valid, .. } => (Some(*d), *valid),
        _ => (None, None),
    };
    if let Some(d) = d {
        registers.words[usize::from(d)][lane] = word;
    }
    if let Some(p) = p {
        let predicate = &mut registers.predicates[usize::from(p)];
        *predicate = *predicate & !(1 << lane) | u32::from(holds) << lane;
    }
}

/// A reduction over the lanes of `group`.
fn reduce(registers: &Registers, operator: Reduction, a: u16, group: u32) -> u32 {
    let values = registers.words[usize::from(a)];
    let values = lanes_of(group).map(|lane| values[lane]);
    let join = |x: u32, y: u32| match operator {
        Reduction::Add => x.wrapping_add(y),
        Reduction::MinSigned => (x as i32).min(y as i32) as u32,
        Reduction::MaxSigned => (x as i32).max(y as i32) as u32,
        Reduction::MinUnsigned => x.min(y),
        Reduction::MaxUnsigned => x.max(y),
        Reduction::And => x & y,
        Reduction::Or => x | y,
        Reduction::Xor => x ^ y,
    };
    values.reduce(join).unwrap_or(0)
}
