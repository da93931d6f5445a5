//! A best-fit allocator of address ranges, which also tracks the addresses that have memory.

use std::collections::BTreeMap;
use std::ops::Range;

/// The free and the cold addresses of a stretch. A cold address has no memory; a warm one has.
#[derive(Debug)]
pub(super) struct Ranges {
    free: Set,
    cold: Set,
    /// The number of warm addresses.
    warm: usize,
}

impl Ranges {
    /// The addresses `0..length`, all free and cold.
    pub(super) fn new(length: usize) -> Self {
        let whole = || Set { ends: BTreeMap::from([(0, length)]) };
        Ranges { free: whole(), cold: whole(), warm: 0 }
    }

    /// The number of warm addresses.
    pub(super) fn warm(&self) -> usize {
        self.warm
    }

    /// The best free range for a piece: the number of cold addresses it would warm, the range's length and start. The
    /// smallest tuple wins.
    pub(super) fn fit(&self, length: usize) -> Option<(usize, usize, usize)> {
        let long = self.free.iter().filter(|range| range.len() >= length);
        let costs = long.map(|range| {
            (self.cold.common(range.start..range.start + length), range.len(), range.start)
        });
        costs.min()
    }

    /// Allocates a piece by best fit; returns its start and the number of its addresses that were cold.
    pub(super) fn cut(&mut self, length: usize) -> Option<(usize, usize)> {
        let (cold, _, start) = self.fit(length)?;
        self.free.remove(start..start + length);
        self.cold.remove(start..start + length);
        self.warm += cold;
        Some((start, cold))
    }

    /// Frees a piece.
    pub(super) fn give(&mut self, piece: Range<usize>) {
        self.free.insert(piece);
    }

    /// Marks free warm ranges as cold until at most `limit` addresses are warm; returns these ranges, which start and
    /// end at multiples of `grain`.
    pub(super) fn cool(&mut self, limit: usize, grain: usize) -> Vec<Range<usize>> {
        let mut cooled = Vec::new();
        for range in self.free.iter() {
            let whole = range.start.next_multiple_of(grain)..range.end / grain * grain;
            if self.warm <= limit {
                break;
            }
            let warm = whole.len() - self.cold.common(whole.clone());
            if !whole.is_empty() && warm > 0 {
                self.warm -= warm;
                cooled.push(whole);
            }
        }
        for range in &cooled {
            self.cold.insert(range.clone());
        }
        cooled
    }
}

/// A set of addresses: disjoint ranges that are not adjacent, as a map from start to end.
#[derive(Debug)]
struct Set {
    ends: BTreeMap<usize, usize>,
}

impl Set {
    fn iter(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.ends.iter().map(|(&start, &end)| start..end)
    }

    /// The ranges that overlap another range or are adjacent to it, in descending order.
    fn near(&self, other: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        let below = self.ends.range(..=other.end).rev().map(|(&start, &end)| start..end);
        below.take_while(move |range| range.end >= other.start)
    }

    /// The number of addresses of the set inside a range.
    fn common(&self, other: Range<usize>) -> usize {
        let both = |range: Range<usize>| {
            range.end.min(other.end).saturating_sub(range.start.max(other.start))
        };
        self.near(other.clone()).map(both).sum()
    }

    fn insert(&mut self, mut added: Range<usize>) {
        let met: Vec<_> = self.near(added.clone()).collect();
        for range in met {
            self.ends.remove(&range.start);
            added = range.start.min(added.start)..range.end.max(added.end);
        }
        self.ends.insert(added.start, added.end);
    }

    fn remove(&mut self, removed: Range<usize>) {
        let met: Vec<_> = self.near(removed.clone()).collect();
        for range in met {
            self.ends.remove(&range.start);
            for rest in
                [range.start..range.end.min(removed.start), range.start.max(removed.end)..range.end]
            {
                if !rest.is_empty() {
                    self.ends.insert(rest.start, rest.end);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LENGTH: usize = 1000;
    const GRAIN: usize = 8;

    proptest! {
        /// Compares the ranges with one flag for each address.
        #[test]
        fn every_address_is_accounted_for(
            calls in proptest::collection::vec((0usize..5, 1usize..300), 1..200),
        ) {
            let mut ranges = Ranges::new(LENGTH);
            let mut pieces: Vec<Range<usize>> = Vec::new();
            let (mut used, mut warm) = ([false; LENGTH], [false; LENGTH]);
            for (call, number) in calls {
                match call {
                    0 | 1 => {
                        let room = used.chunk_by(|a, b| a == b).any(|run| !run[0] && run.len() >= number);
                        let cut = ranges.cut(number);
                        prop_assert_eq!(cut.is_some(), room);
                        let Some((start, cold)) = cut else { continue };
                        let piece = start..start + number;
                        prop_assert!(used[piece.clone()].iter().all(|&used| !used));
                        prop_assert_eq!(warm[piece.clone()].iter().filter(|&&warm| !warm).count(), cold);
                        used[piece.clone()].fill(true);
                        warm[piece.clone()].fill(true);
                        pieces.push(piece);
                    }
                    2 | 3 if !pieces.is_empty() => {
                        let piece = pieces.swap_remove(number % pieces.len());
                        used[piece.clone()].fill(false);
                        ranges.give(piece);
                    }
                    4 => {
                        for range in ranges.cool(number, GRAIN) {
                            prop_assert!(range.start % GRAIN == 0 && range.end % GRAIN == 0);
                            prop_assert!(used[range.clone()].iter().all(|&used| !used));
                            warm[range].fill(false);
                        }
                        let whole = used.chunks(GRAIN).zip(warm.chunks(GRAIN));
                        let left = whole.filter(|(used, warm)| !used.contains(&true) && warm.contains(&true));
                        prop_assert!(ranges.warm() <= number || left.count() == 0);
                    }
                    _ => {}
                }
                prop_assert_eq!(ranges.warm(), warm.iter().filter(|&&warm| warm).count());
            }
            pieces.into_iter().for_each(|piece| ranges.give(piece));
            prop_assert_eq!(ranges.cut(LENGTH).map(|(start, _)| start), Some(0));
        }
    }

    #[test]
    fn the_best_fit_is_taken() {
        let mut ranges = Ranges::new(LENGTH);
        let starts = [50, 10, 20, 10, 30, 10].map(|length| ranges.cut(length));
        assert_eq!(starts[5], Some((120, 10)));
        for piece in [0..50, 60..80, 90..120] {
            ranges.give(piece);
        }
        assert_eq!(ranges.cut(25), Some((90, 0)));
        assert_eq!(ranges.cut(20), Some((60, 0)));
        assert_eq!(ranges.cut(60), Some((130, 60)), "cold addresses are used last");
        assert_eq!(ranges.cool(0, 1), [0..50, 115..120]);
        assert_eq!(ranges.cut(50), Some((0, 50)));
    }
}
