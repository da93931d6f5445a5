//! Memory of the CPU's tensors, kept from step to step: a training step that ran twice takes no fresh memory.
//!
//! Large blocks are cut from one long stretch of addresses, where they fit best, and grow together when they come
//! back. (A list of free blocks for each size keeps 1.6 times what MPUC's step ever has at once: what one size left
//! serves no other.) Free memory goes back to the system where a block fits nowhere and the pool holds more than
//! [`HOLD`] times what was ever in use. Small blocks stand on free lists by size class.

mod ranges;

use memmap2::{MmapMut, MmapOptions};
use ranges::Ranges;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::sync::Mutex;

/// Blocks start on a cache line.
const LINE: usize = 64;
/// Large blocks are whole pages.
const PAGE: usize = 4096;
/// Blocks of so many bytes and more are large.
const LARGE: usize = 16 * PAGE;
/// Addresses that a stretch reserves, where the system lets it; memory is taken as it is touched.
const STRETCH: usize = 64 << 30;
/// A stretch starts on a huge page, and what it gives back is whole huge pages.
const HUGE: usize = 2 << 20;
/// Large blocks, used and free, hold at most so many times the most bytes that were ever in use. The holes between
/// blocks of MPUC's step are 3 % of that; a limit below them has every step return memory and fault it in again.
const HOLD: usize = 2;
/// They may hold the most bytes that were ever in use and so many more in any case.
const SPARE: usize = 64 << 20;
/// Size classes of small blocks: four to each doubling, from 64 bytes up.
const CLASSES: usize = 4 * 10;

/// What the pool did and holds, in bytes and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes in use by tensors now.
    pub in_use: usize,
    /// The most bytes that were in use at once since the last [`trim`].
    pub peak: usize,
    /// Bytes got from the operating system that nobody uses.
    pub cached: usize,
    /// Blocks handed out so far.
    pub requests: u64,
    /// Blocks for which memory had to be got from the operating system, for the first time or again.
    pub fresh: u64,
}

/// Everything the pool has.
struct Pool {
    stretches: Vec<Stretch>,
    small: [Vec<Block>; CLASSES],
    statistics: Statistics,
    /// [`SPARE`]; less in a test.
    spare: usize,
}

/// Addresses that large blocks are cut from.
struct Stretch {
    memory: MmapMut,
    /// Where its first huge page starts: the ranges count from here.
    first: usize,
    ranges: Ranges,
}

static POOL: Mutex<Pool> = Mutex::new(Pool::new(SPARE));

/// A piece of memory that goes back to the pool when dropped.
#[derive(Debug)]
pub struct Block {
    start: *mut u8,
    length: usize,
    /// Which stretch a large block is of.
    stretch: Option<usize>,
}

// SAFETY: a block owns its memory and is only reached through the slices of its buffer.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// The class that holds `bytes`, and its size: 4, 5, 6 or 7 quarters of a power of two.
fn class_of(bytes: usize) -> (usize, usize) {
    let bytes = bytes.max(LINE);
    let doubling = bytes.ilog2() as usize;
    let quarter = 1usize << doubling >> 2;
    let step = (bytes - (1 << doubling)).div_ceil(quarter);
    ((doubling - 6) * 4 + step, (4 + step) * quarter)
}

/// The layout of a small block.
fn layout(length: usize) -> Layout {
    Layout::from_size_align(length, LINE).unwrap_or(Layout::new::<u64>())
}

fn lock() -> std::sync::MutexGuard<'static, Pool> {
    // A poisoned pool is whole: nothing in here panics half way.
    POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A block of at least `bytes`, zeroed the first time and of unspecified content ever after.
pub(crate) fn take(bytes: usize) -> Block {
    let block = lock().take(bytes);
    // Without the lock: the handler may print, or unwind.
    block.unwrap_or_else(|| handle_alloc_error(layout(bytes)))
}

impl Pool {
    const fn new(spare: usize) -> Self {
        Pool {
            stretches: Vec::new(),
            small: [const { Vec::new() }; CLASSES],
            statistics: Statistics { in_use: 0, peak: 0, cached: 0, requests: 0, fresh: 0 },
            spare,
        }
    }

    fn take(&mut self, bytes: usize) -> Option<Block> {
        let small = class_of(bytes).1 < LARGE;
        let block = if small { self.small(bytes) } else { self.large(bytes) }?;
        let statistics = &mut self.statistics;
        statistics.requests += 1;
        statistics.in_use += block.length;
        statistics.peak = statistics.peak.max(statistics.in_use);
        statistics.cached -= block.length;
        Some(block)
    }

    fn small(&mut self, bytes: usize) -> Option<Block> {
        let (class, length) = class_of(bytes);
        if let Some(block) = self.small[class].pop() {
            return Some(block);
        }
        // SAFETY: no class has size 0.
        let start = unsafe { alloc_zeroed(layout(length)) };
        if start.is_null() {
            return None;
        }
        self.got(length);
        Some(Block { start, length, stretch: None })
    }

    fn large(&mut self, bytes: usize) -> Option<Block> {
        let length = bytes.next_multiple_of(PAGE);
        let fits = self.stretches.iter().enumerate();
        let best = fits.filter_map(|(i, stretch)| Some((stretch.ranges.fit(length)?, i))).min();
        let number = match best {
            Some((_, number)) => number,
            None => {
                self.stretches.push(Stretch::new(length)?);
                self.stretches.len() - 1
            }
        };
        let stretch = &mut self.stretches[number];
        let (at, cold) = stretch.ranges.cut(length)?;
        let start = stretch.memory.as_mut_ptr().wrapping_add(stretch.first + at);
        if cold > 0 {
            self.got(cold);
            let peak = self.statistics.peak.max(self.statistics.in_use + length);
            self.cool((HOLD * peak).max(peak + self.spare));
        }
        Some(Block { start, length, stretch: Some(number) })
    }

    /// Takes a block back.
    fn give(&mut self, block: Block) {
        let block = ManuallyDrop::new(block);
        let Block { start, length, stretch } = *block;
        self.statistics.in_use -= length;
        self.statistics.cached += length;
        match stretch {
            None => self.small[class_of(length).0].push(Block { start, length, stretch }),
            Some(number) => {
                let Stretch { memory, first, ranges } = &mut self.stretches[number];
                let at = start.addr() - memory.as_ptr().addr() - *first;
                ranges.give(at..at + length);
            }
        }
    }

    /// Gives memory of free large blocks back to the system until they and those in use have no more than `limit`.
    fn cool(&mut self, limit: usize) {
        let mut warm: usize = self.stretches.iter().map(|stretch| stretch.ranges.warm()).sum();
        for stretch in &mut self.stretches {
            let given = stretch.cool(limit, warm);
            warm -= given;
            self.statistics.cached -= given;
        }
    }

    /// Notes memory that came from the operating system.
    fn got(&mut self, bytes: usize) {
        self.statistics.fresh += 1;
        self.statistics.cached += bytes;
    }
}

impl Stretch {
    /// Reserves as many addresses as the system gives, for at least `length` bytes.
    fn new(length: usize) -> Option<Self> {
        let least = length + HUGE;
        let mut reserved = STRETCH.max(least);
        loop {
            if let Ok(memory) = MmapOptions::new().len(reserved).no_reserve_swap().map_anon() {
                // Small pages cost a fault each. Advice that is refused changes nothing.
                #[cfg(target_os = "linux")]
                let _ = memory.advise(memmap2::Advice::HugePage);
                let first = memory.as_ptr().addr().next_multiple_of(HUGE) - memory.as_ptr().addr();
                return Some(Stretch { memory, first, ranges: Ranges::new(reserved - first) });
            }
            if reserved == least {
                return None;
            }
            reserved = (reserved / 2).max(least);
        }
    }

    /// Gives memory back until all stretches, which have `warm` bytes, have no more than `limit`. Says how many bytes
    /// that was; none where the system has no way to take them.
    #[cfg(target_os = "linux")]
    fn cool(&mut self, limit: usize, warm: usize) -> usize {
        let before = self.ranges.warm();
        for range in self.ranges.cool(before.saturating_sub(warm.saturating_sub(limit)), HUGE) {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: no block lies in the range, and the next that is cut there finds zeros.
            let given = unsafe {
                self.memory.unchecked_advise_range(advice, self.first + range.start, range.len())
            };
            debug_assert!(given.is_ok(), "{given:?}");
        }
        before - self.ranges.warm()
    }

    #[cfg(not(target_os = "linux"))]
    fn cool(&mut self, _: usize, _: usize) -> usize {
        0
    }
}

impl Block {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the block is ours, zeroed when it was got, and written only through `bytes_mut`.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; this is the only reference to it.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Block { start, length, stretch } = *self;
        lock().give(Block { start, length, stretch });
    }
}

/// What the pool did and holds.
pub fn statistics() -> Statistics {
    lock().statistics
}

/// Gives cached memory back to the operating system.
pub fn trim() {
    let mut pool = lock();
    let pool = &mut *pool;
    for block in pool.small.iter_mut().flat_map(std::mem::take) {
        // SAFETY: got from `alloc_zeroed` with this layout; forgotten below, so that it is freed once.
        unsafe { dealloc(block.start, layout(block.length)) };
        pool.statistics.cached -= block.length;
        std::mem::forget(block);
    }
    pool.cool(0);
    pool.statistics.peak = pool.statistics.in_use;
    // The C library keeps what it was given back, unless it is told not to.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time, and frees only memory that nobody has.
    unsafe {
        libc::malloc_trim(0)
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_are_for() {
        for bytes in 1..=LARGE / 8 * 7 {
            let (class, size) = class_of(bytes);
            assert!(size >= bytes && size < LARGE && class < CLASSES, "{bytes} {class} {size}");
            assert_eq!(class_of(size), (class, size));
            assert!(
                bytes <= LINE || size <= bytes + bytes / 4 + LINE,
                "{bytes} wastes too much: {size}"
            );
        }
    }

    #[test]
    fn blocks_are_zeroed_at_first_and_apart() {
        let lengths = [1, 100, 60_000, LARGE - 1, LARGE, 3 << 20, (5 << 20) + 1];
        let mut blocks = lengths.map(take);
        for (number, block) in blocks.iter_mut().enumerate() {
            assert!(
                block.bytes().len() >= lengths[number] && block.start.addr().is_multiple_of(LINE)
            );
            block.bytes_mut().fill(number as u8);
        }
        for (number, block) in blocks.iter().enumerate() {
            assert!(block.bytes().iter().all(|&byte| byte == number as u8), "block {number}");
        }
        drop(blocks);
        trim();
        let mut again = take(5 << 20);
        again.bytes_mut().fill(7);
        assert!(again.bytes().len() >= 5 << 20 && again.bytes().ends_with(&[7]));
    }

    /// A step whose first blocks leave holes, kept apart by others, that the blocks after them do not fit into.
    fn step(pool: &mut Pool) {
        let mut take = |length| pool.take(length).unwrap();
        let pairs: Vec<[Block; 2]> = (0..40).map(|_| [1 << 20, LARGE].map(&mut take)).collect();
        let (holes, mut kept): (Vec<_>, Vec<_>) = pairs.into_iter().map(|[a, b]| (a, b)).unzip();
        holes.into_iter().for_each(|block| pool.give(block));
        kept.extend((0..30).map(|_| pool.take(3 << 19).unwrap()));
        kept.into_iter().for_each(|block| pool.give(block));
    }

    #[test]
    fn a_step_that_ran_twice_takes_no_fresh_memory() {
        let mut pool = Pool::new(0);
        (0..2).for_each(|_| step(&mut pool));
        let warm = pool.statistics;
        assert!(warm.fresh > 0 && warm.cached > warm.peak + warm.peak / 10, "no holes: {warm:?}");
        (0..3).for_each(|_| step(&mut pool));
        assert_eq!(pool.statistics.fresh, warm.fresh);
        assert!(warm.cached <= HOLD * warm.peak, "{warm:?}");
    }
}
