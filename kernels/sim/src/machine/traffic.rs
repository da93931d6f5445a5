//! Counts the memory sectors and wavefronts of an access.

use super::view::{Place, Region};
use crate::lanes::LANES;

/// The addresses that the lanes of one access touch, for the counters.
#[derive(Default)]
pub(super) struct Traffic {
    global: usize,
    shared: usize,
    /// Sectors of global addresses, or word numbers of shared offsets.
    touched: [u64; LANES],
}

impl Traffic {
    /// Adds the address of one lane.
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

/// The number of distinct sectors.
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

/// Wavefronts over 32 banks of 4 bytes: lanes are combined up to 128 bytes, and lanes that read the
/// same word share it. An access of n words must start at a multiple of n.
pub(super) fn wavefronts(first_words: &[u64], words: usize) -> u64 {
    let mut held = [0; LANES];
    first_words.chunks(LANES / words).map(|group| passes(group, words, &mut held)).sum()
}

/// Wavefronts of combined lanes. `held` stores the first word of each bank.
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

/// Wavefronts with bank conflicts: the most distinct words in one bank.
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
