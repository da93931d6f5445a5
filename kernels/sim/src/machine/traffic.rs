//! How much traffic an access makes.

use super::access::{Place, Region};
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
            let mut distinct = 0;
            for (at, sector) in touched.iter().enumerate() {
                let recent = &touched[..at];
                distinct += u64::from(!recent.iter().rev().any(|other| other == sector));
            }
            tally.global_sectors += distinct;
        } else if self.shared > 0 {
            tally.shared_wavefronts += wavefronts(touched, bytes.div_ceil(4) as usize);
        }
    }
}

/// Passes over 32 banks of 4 bytes: lanes go together as far as they fill 128 bytes, and lanes
/// that read one word share it.
pub(super) fn wavefronts(first_words: &[u64], words: usize) -> u64 {
    let mut passes = 0;
    for group in first_words.chunks(LANES / words) {
        let mut load = [0u8; LANES];
        let mut most = 0;
        for (at, first) in group.iter().enumerate() {
            if group[..at].iter().rev().any(|other| other == first) {
                continue;
            }
            for word in *first..*first + words as u64 {
                let bank = &mut load[word as usize % LANES];
                *bank += 1;
                most = most.max(*bank);
            }
        }
        passes += u64::from(most);
    }
    passes
}
