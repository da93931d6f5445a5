//! Memory of which only the touched pages exist, for arrays larger than the machine's memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::lanes::mix;

/// Words of a page: a multiple of 32.
const WORDS: usize = 1 << 13;

/// The pages. A word that was never written has the value of [`pattern`].
pub(crate) struct Pages {
    pages: Box<[OnceLock<Page>]>,
    seed: u64,
}

/// Words, and a bit for each of their bytes that was written.
struct Page {
    words: Box<[AtomicU32]>,
    written: Box<[AtomicU32]>,
}

/// The number that a sparse array has at an index before anybody writes it: in -1..1, a multiple of
/// 2^-12, so that sums of a few products are exact in `f32`.
pub fn pattern(seed: u64, index: u64) -> f32 {
    let bits = mix(seed ^ mix(index)) >> 51;
    (bits as f32 - 4096.0) / 4096.0
}

impl Pages {
    /// Room for `words` words.
    pub fn new(words: usize, seed: u64) -> Pages {
        Pages { pages: (0..words.div_ceil(WORDS)).map(|_| OnceLock::new()).collect(), seed }
    }

    fn page(&self, number: usize) -> &Page {
        self.pages[number].get_or_init(|| {
            let first = (number * WORDS) as u64;
            let word = |at| AtomicU32::new(pattern(self.seed, first + at as u64).to_bits());
            Page {
                words: (0..WORDS).map(word).collect(),
                written: (0..WORDS / 8).map(|_| AtomicU32::new(0)).collect(),
            }
        })
    }

    /// A word.
    pub fn word(&self, at: usize) -> &AtomicU32 {
        &self.page(at / WORDS).words[at % WORDS]
    }

    /// The bits of 32 bytes from byte `32 * at` on: whether they were written.
    pub fn written(&self, at: usize) -> &AtomicU32 {
        &self.page(at / (WORDS / 8)).written[at % (WORDS / 8)]
    }

    /// Index and value of every word of which a byte was written.
    pub fn changed(&self) -> Vec<(u64, u32)> {
        let mut changed = Vec::new();
        for (number, page) in self.pages.iter().enumerate() {
            let Some(page) = page.get() else { continue };
            for (at, word) in page.words.iter().enumerate() {
                if page.written[at / 8].load(Relaxed) >> (4 * (at % 8)) & 15 != 0 {
                    changed.push(((number * WORDS + at) as u64, word.load(Relaxed)));
                }
            }
        }
        changed
    }
}
