//! How much traffic an access makes.

use super::view::{Place, Region};
use crate::lanes::LANES;

/// What the lanes of one access touch, for the counters.
#[derive(Default)]
pub(super) struct Traffic {
    global: usize,
    shared: usize,
    /// Sectors of global addresses, or word numbers of shared offsets.
    touched: [u64; LANES],
}

impl Traffic {
    /// Notes what one lane touches.
    #[inline(always)]
    pub fn add(&mut self, place: Place<'_>, address: u64) {
        match place.region {
            Region::Global(_) => {
                self.touched[self.global + self.shared] = address >> 5;
                self.global += 1;
            }
            Region::Shared => {
                self.touched[self.global + self.shared] = place.offset as u64 >> 2;
                self.shared += 1;
            }
            Region::Local => {}
        }
    }

    /// Adds to the instruction's counters. Accesses that mix spaces are counted as global.
    pub fn count(&self, tally: &mut crate::report::Tally, bytes: u32) {
        let touched = &self.touched[..self.global + self.shared];
        if self.global > 0 {
            tally.global_sectors += sectors(touched);
        } else if self.shared > 0 {
            tally.shared_wavefronts += wavefronts(touched, bytes.div_ceil(4) as usize);
        }
    }
}

/// How many different sectors lanes touch.
pub(super) fn sectors(touched: &[u64]) -> u64 {
    if touched.is_sorted() {
        let steps = touched.windows(2).filter(|pair| pair[0] != pair[1]).count();
        return steps as u64 + u64::from(!touched.is_empty());
    }
    let mut distinct = 0;
    for (at, sector) in touched.iter().enumerate() {
        distinct += u64::from(!touched[..at].iter().rev().any(|other| other == sector));
    }
    distinct
}

/// Passes over 32 banks of 4 bytes: lanes go together as far as they fill 128 bytes, and lanes
/// that read one word share it. Accesses of several words start at multiples of as many.
pub(super) fn wavefronts(first_words: &[u64], words: usize) -> u64 {
    let mut held = [0; LANES];
    first_words.chunks(LANES / words).map(|group| passes(group, words, &mut held)).sum()
}

/// Passes of lanes that go together. `held` is room for the first words by their banks.
#[inline(always)]
fn passes(group: &[u64], words: usize, held: &mut [u64; LANES]) -> u64 {
    let mut taken = 0u32;
    for &first in group {
        let bank = first as usize % LANES;
        let mine = (u32::MAX >> (LANES - words)).rotate_left(bank as u32);
        if taken & mine == 0 {
            taken |= mine;
            held[bank] = first;
        } else if held[bank] != first {
            return conflicting_passes(group, words);
        }
    }
    1
}

/// Passes of lanes of which some need different words of one bank: as many as the fullest bank has.
fn conflicting_passes(group: &[u64], words: usize) -> u64 {
    let mut load = [0u8; LANES];
    for (at, first) in group.iter().enumerate() {
        if group[..at].iter().rev().any(|other| other == first) {
            continue;
        }
        for word in *first..*first + words as u64 {
            load[word as usize % LANES] += 1;
        }
    }
    load.into_iter().max().map_or(0, u64::from)
}
