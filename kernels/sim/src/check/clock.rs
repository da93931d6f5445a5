//! Vector clocks.

use std::sync::Arc;

use crate::lanes::LANES;

/// A vector clock: for each thread the time up to which its accesses happen before a point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// Sorted by block.
    parts: Vec<Part>,
}

/// The entries of one block's threads. The time of a thread is the largest of its three.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Part {
    block: u32,
    /// The time of every thread.
    all: u32,
    /// Later times of whole warps, sorted.
    warps: Vec<(u16, u32)>,
    /// Later times of single threads, sorted.
    threads: Vec<(u16, u32)>,
}

/// Raises the time of a key in a sorted list.
fn raise(list: &mut Vec<(u16, u32)>, key: u16, time: u32) {
    match list.binary_search_by_key(&key, |entry| entry.0) {
        Ok(at) => list[at].1 = list[at].1.max(time),
        Err(at) => list.insert(at, (key, time)),
    }
}

/// The time of a key in a sorted list; 0 when it has none.
fn time_of(list: &[(u16, u32)], key: u16) -> u32 {
    list.binary_search_by_key(&key, |entry| entry.0).map_or(0, |at| list[at].1)
}

impl Part {
    fn time(&self, thread: u16) -> u32 {
        let warp = thread / LANES as u16;
        self.all.max(time_of(&self.warps, warp)).max(time_of(&self.threads, thread))
    }

    fn raise_all(&mut self, time: u32) {
        if time > self.all {
            self.all = time;
            self.warps.retain(|entry| entry.1 > time);
            self.threads.retain(|entry| entry.1 > time);
        }
    }

    fn join(&mut self, other: &Part) {
        self.raise_all(other.all);
        for &(warp, time) in other.warps.iter().filter(|entry| entry.1 > self.all) {
            raise(&mut self.warps, warp, time);
        }
        for &(thread, time) in other.threads.iter().filter(|entry| entry.1 > self.all) {
            raise(&mut self.threads, thread, time);
        }
    }

    /// Whether every time is at least that of `other`. False means unknown.
    fn covers(&self, other: &Part) -> bool {
        let at_least = |list: &[(u16, u32)], own: &[(u16, u32)]| {
            list.iter().all(|&(key, time)| time <= self.all || time <= time_of(own, key))
        };
        other.all <= self.all
            && at_least(&other.warps, &self.warps)
            && at_least(&other.threads, &self.threads)
    }
}

impl Clock {
    /// The clock of a block's threads at its start.
    pub fn start(block: u32, time: u32) -> Clock {
        Clock { parts: vec![Part { block, all: time, ..Part::default() }] }
    }

    /// Whether no access of any thread happens before.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    fn find(&self, block: u32) -> Result<usize, usize> {
        self.parts.binary_search_by_key(&block, |part| part.block)
    }

    fn part(&mut self, block: u32) -> &mut Part {
        let at = self.find(block).unwrap_or_else(|at| {
            self.parts.insert(at, Part { block, ..Part::default() });
            at
        });
        &mut self.parts[at]
    }

    /// The time up to which the accesses of a thread happen before.
    pub fn time(&self, block: u32, thread: u16) -> u32 {
        self.find(block).map_or(0, |at| self.parts[at].time(thread))
    }

    /// The time up to which the accesses of every thread of a block happen before.
    pub fn floor(&self, block: u32) -> u32 {
        self.find(block).map_or(0, |at| self.parts[at].all)
    }

    /// Raises the time of every thread of a block.
    pub fn raise_all(&mut self, block: u32, time: u32) {
        self.part(block).raise_all(time);
    }

    /// Raises the time of every thread of a warp.
    pub fn raise_warp(&mut self, block: u32, warp: u16, time: u32) {
        let part = self.part(block);
        raise(&mut part.warps, warp, time);
        part.threads.retain(|entry| entry.0 / LANES as u16 != warp || entry.1 > time);
    }

    /// Raises the time of one thread.
    pub fn raise_thread(&mut self, block: u32, thread: u16, time: u32) {
        raise(&mut self.part(block).threads, thread, time);
    }

    /// Raises every time to at least that of `other`.
    pub fn join(&mut self, other: &Clock) {
        for part in &other.parts {
            self.part(part.block).join(part);
        }
    }

    /// Whether every time is at least that of `other`. False means unknown.
    fn covers(&self, other: &Clock) -> bool {
        let covered =
            |part: &Part| self.find(part.block).is_ok_and(|at| self.parts[at].covers(part));
        other.parts.iter().all(covered)
    }
}

/// Raises every time of a shared clock to at least that of another; copies it only where needed.
pub(super) fn join(into: &mut Arc<Clock>, other: &Arc<Clock>) {
    if Arc::ptr_eq(into, other) || into.covers(other) {
        return;
    }
    if into.is_empty() {
        *into = Arc::clone(other);
    } else {
        Arc::make_mut(into).join(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_the_largest_of_its_times() {
        let mut clock = Clock::start(3, 10);
        clock.raise_warp(3, 1, 20);
        clock.raise_thread(3, 40, 30);
        let times = [0, 33, 40, 64].map(|thread| clock.time(3, thread));
        assert_eq!((times, clock.time(2, 0), clock.floor(3)), ([10, 20, 30, 10], 0, 10));
        clock.raise_all(3, 25);
        assert_eq!([0, 33, 40].map(|thread| clock.time(3, thread)), [25, 25, 30]);
        clock.raise_warp(3, 1, 35);
        assert_eq!(clock.time(3, 40), 35);
    }

    #[test]
    fn a_join_has_the_larger_time_of_each_thread() {
        let (mut a, mut b) = (Clock::start(0, 5), Clock::start(0, 7));
        a.raise_thread(0, 1, 6);
        a.raise_thread(0, 2, 9);
        b.raise_warp(0, 0, 8);
        b.raise_all(4, 3);
        assert!(!a.covers(&b) && !b.covers(&a));
        let mut joined = a.clone();
        joined.join(&b);
        for (block, thread) in [(0, 0), (0, 1), (0, 2), (0, 33), (4, 0), (5, 0)] {
            let larger = a.time(block, thread).max(b.time(block, thread));
            assert_eq!(joined.time(block, thread), larger, "thread {thread} of block {block}");
        }
        assert!(joined.covers(&a) && joined.covers(&b));
    }
}
