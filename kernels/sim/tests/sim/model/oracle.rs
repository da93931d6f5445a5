//! The data races of an execution, by the text of the PTX memory model alone: every pair of steps, every pattern, no
//! clocks. Nothing is shared with the simulator's checker.

use super::program::{End, Fence, Op, Place, Program, Scope, Strength, Taken, Update};

/// A step of a thread that reads, writes or orders memory.
struct Event {
    taken: Taken,
    /// The place, with the block of shared memory.
    place: Option<(Place, u32)>,
    reads: bool,
    /// The value that it wrote.
    writes: Option<u32>,
    /// The scope of a strong access or a fence.
    strong: Option<Scope>,
    acquires: bool,
    releases: bool,
    sc: bool,
}

struct Execution<'a> {
    program: &'a Program,
    events: Vec<Event>,
    /// Whether one event comes before another in base causality order.
    before: Vec<Vec<bool>>,
}

/// Whether two steps of an execution race.
pub fn races(program: &Program, taken: &[Taken]) -> bool {
    let mut execution = Execution::new(program, taken);
    execution.add_barriers();
    execution.add_synchronisation();
    execution.add_fence_order();
    let count = execution.events.len();
    (0..count).any(|a| (a + 1..count).any(|b| execution.race(a, b)))
}

impl<'a> Execution<'a> {
    fn new(program: &'a Program, taken: &[Taken]) -> Execution<'a> {
        let mut events: Vec<Event> =
            taken.iter().filter_map(|&taken| event(program, taken)).collect();
        // Program order: by phase and, within it, as logged.
        events.sort_by_key(|event| (event.taken.thread, event.taken.phase));
        let count = events.len();
        let mut before = vec![vec![false; count]; count];
        for a in 0..count {
            for b in a + 1..count {
                before[a][b] = events[a].taken.thread == events[b].taken.thread;
            }
        }
        Execution { program, events, before }
    }

    fn block(&self, event: usize) -> u32 {
        self.program.threads[self.events[event].taken.thread].0
    }

    /// Adds an edge and what follows from it.
    fn add(&mut self, a: usize, b: usize) -> bool {
        if self.before[a][b] {
            return false;
        }
        let nodes = self.before.len();
        for x in (0..nodes).filter(|&x| x == a || self.before[x][a]).collect::<Vec<_>>() {
            for y in 0..nodes {
                if y == b || self.before[b][y] {
                    self.before[x][y] = true;
                }
            }
        }
        true
    }

    /// Barriers order what their threads did before with what they do after.
    fn add_barriers(&mut self) {
        for (phase, end) in self.program.phases.iter().map(|phase| &phase.end).enumerate() {
            let member = |(block, warp, lane): (u32, u32, u32)| match end {
                End::Nothing => None,
                End::Block => Some((block, 0)),
                End::Warp(mask) => (mask >> lane & 1 == 1).then_some((block, warp)),
                End::Part(warps) => warps.contains(&warp).then_some((block, 0)),
            };
            let groups: Vec<Option<(u32, u32)>> =
                self.program.threads.iter().map(|&thread| member(thread)).collect();
            let count = self.events.len();
            for a in 0..count {
                for b in 0..count {
                    let [from, to] = [a, b].map(|at| &self.events[at].taken);
                    let same =
                        groups[from.thread].is_some() && groups[from.thread] == groups[to.thread];
                    if same && from.phase <= phase && to.phase > phase {
                        self.add(a, b);
                    }
                }
            }
        }
    }

    /// Whether two strong operations include each other's threads in their scopes.
    fn morally_strong(&self, a: usize, b: usize) -> bool {
        let (Some(one), Some(other)) = (self.events[a].strong, self.events[b].strong) else {
            return false;
        };
        self.block(a) == self.block(b) || one == Scope::Gpu && other == Scope::Gpu
    }

    /// Whether a write precedes a read in observation order.
    fn observed(&self, write: usize, read: usize) -> bool {
        let same = self.events[write].place == self.events[read].place;
        let source = (0..self.events.len()).find(|&at| {
            self.events[at].place == self.events[read].place
                && self.events[at].writes == Some(self.events[read].taken.read)
        });
        let Some(source) = source.filter(|_| same && self.events[read].reads) else { return false };
        self.morally_strong(source, read)
            && (source == write || self.events[source].reads && self.observed(write, source))
    }

    /// The release patterns of the execution: their first operation and their write.
    fn releases(&self) -> Vec<(usize, usize)> {
        let mut patterns = Vec::new();
        for write in 0..self.events.len() {
            let event = &self.events[write];
            if event.strong.is_none() || event.writes.is_none() {
                continue;
            }
            for first in 0..self.events.len() {
                let earlier = &self.events[first];
                let same_thread = earlier.taken.thread == event.taken.thread;
                let releases =
                    earlier.releases && (earlier.place.is_none() || earlier.place == event.place);
                if first == write && event.releases
                    || same_thread && self.before[first][write] && releases
                {
                    patterns.push((first, write));
                }
            }
        }
        patterns
    }

    /// The acquire patterns of the execution: their read and their last operation.
    fn acquires(&self) -> Vec<(usize, usize)> {
        let mut patterns = Vec::new();
        for read in 0..self.events.len() {
            let event = &self.events[read];
            if event.strong.is_none() || !event.reads {
                continue;
            }
            for last in 0..self.events.len() {
                let later = &self.events[last];
                let same_thread = later.taken.thread == event.taken.thread;
                let acquires =
                    later.acquires && (later.place.is_none() || later.place == event.place);
                if last == read && event.acquires
                    || same_thread && self.before[read][last] && acquires
                {
                    patterns.push((read, last));
                }
            }
        }
        patterns
    }

    /// A release pattern synchronises with an acquire pattern that observes its write.
    fn add_synchronisation(&mut self) {
        let (releases, acquires) = (self.releases(), self.acquires());
        for &(first, write) in &releases {
            for &(read, last) in &acquires {
                if self.observed(write, read) && self.morally_strong(first, last) {
                    self.add(first, last);
                }
            }
        }
    }

    /// Sequentially consistent fences have one order, which may not contradict the order of accesses to one place.
    fn add_fence_order(&mut self) {
        loop {
            let mut changed = false;
            for (first, second) in self.fences() {
                let forced = |this: &Self| {
                    (0..this.events.len()).any(|a| {
                        (0..this.events.len()).any(|b| {
                            this.before[first][a]
                                && this.before[b][second]
                                && this.communicates(a, b)
                        })
                    })
                };
                if !self.before[first][second] && forced(self) {
                    changed |= self.add(first, second);
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// The pairs of morally strong sequentially consistent fences.
    fn fences(&self) -> Vec<(usize, usize)> {
        let all = || (0..self.events.len()).filter(|&at| self.events[at].sc);
        let pairs = all().flat_map(|a| all().map(move |b| (a, b)));
        pairs.filter(|&(a, b)| a != b && self.morally_strong(a, b)).collect()
    }

    /// Whether a strong access comes before another one of the same place, as executed, or before a write that the other
    /// one observes.
    fn communicates(&self, a: usize, b: usize) -> bool {
        (0..self.events.len()).filter(|&x| x == b || self.observed(x, b)).any(|x| {
            let [one, other] = [a, x].map(|at| &self.events[at]);
            self.conflict(a, x) && one.taken.stamp < other.taken.stamp && self.morally_strong(a, x)
        })
    }

    /// Whether two accesses of one place conflict: one of them writes.
    fn conflict(&self, a: usize, b: usize) -> bool {
        let [one, other] = [a, b].map(|at| &self.events[at]);
        one.place.is_some()
            && one.place == other.place
            && (one.writes.is_some() || other.writes.is_some())
    }

    /// Whether one event comes before another in causality order: directly, or as a write that was observed.
    fn causes(&self, a: usize, b: usize) -> bool {
        self.before[a][b]
            || (0..self.events.len()).any(|z| self.observed(a, z) && self.before[z][b])
    }

    /// Whether two accesses conflict without order.
    fn race(&self, a: usize, b: usize) -> bool {
        self.conflict(a, b)
            && !self.morally_strong(a, b)
            && !self.causes(a, b)
            && !self.causes(b, a)
    }
}

/// The event of a step.
fn event(program: &Program, taken: Taken) -> Option<Event> {
    let block = program.threads[taken.thread].0;
    let of = |place: Place| match place {
        Place::Global(_) => (place, 0),
        Place::Shared(_) => (place, block),
    };
    let strong = |strength: Strength| match strength {
        Strength::Weak => None,
        Strength::Volatile => Some(Scope::Gpu),
        Strength::Relaxed(scope) | Strength::Ordered(scope) => Some(scope),
    };
    let none = Event {
        taken,
        place: None,
        reads: false,
        writes: None,
        strong: None,
        acquires: false,
        releases: false,
        sc: false,
    };
    Some(match taken.op {
        Op::Write(place, how, value) => Event {
            place: Some(of(place)),
            writes: Some(value),
            strong: strong(how),
            releases: matches!(how, Strength::Ordered(_)),
            ..none
        },
        Op::Read(place, how) | Op::Await(place, how, _) => Event {
            place: Some(of(place)),
            reads: true,
            strong: strong(how),
            acquires: matches!(how, Strength::Ordered(_)),
            ..none
        },
        Op::Exchange(place, update, scope, value) => Event {
            place: Some(of(place)),
            reads: true,
            writes: Some(value),
            strong: Some(scope),
            acquires: matches!(update, Update::Acquire | Update::AcquireRelease),
            releases: matches!(update, Update::Release | Update::AcquireRelease),
            ..none
        },
        Op::Fence(fence, scope) => Event {
            strong: Some(scope),
            acquires: fence != Fence::Release,
            releases: fence != Fence::Acquire,
            sc: fence == Fence::Sc,
            ..none
        },
        Op::Expect(_) => return None,
    })
}
