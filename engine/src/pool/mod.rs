//! The memory pool of CPU tensors: a repeated training step gets no memory from the operating system.
//!
//! Large blocks are allocated by best fit from one reserved address range (a stretch); freed neighbours are merged.
//! (Free lists by size would hold 1.6 times the peak of MPUC's step, since one size cannot reuse another's blocks.)
//! When a block needs new memory and the pool holds more than [`HOLD`] times the peak, free memory is returned to the
//! system. Small blocks are on free lists by size class.

mod ranges;

use memmap2::{MmapMut, MmapOptions};
use ranges::Ranges;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::sync::Mutex;

/// Bytes of a cache line, at which blocks start.
const LINE: usize = 64;
/// Bytes of a page; the size of a large block is a multiple.
const PAGE: usize = 4096;
/// The fewest bytes of a large block.
const LARGE: usize = 16 * PAGE;
/// Bytes of address space that a stretch reserves, if the system allows it; pages get memory on the first access.
const STRETCH: usize = 64 << 30;
/// Bytes of a huge page. A stretch starts at one and returns whole ones.
const HUGE: usize = 2 << 20;
/// Large blocks, used and free, hold at most this many times the peak in use. The holes between blocks of MPUC's step
/// are 3 % of the peak; with a lower limit every step would return memory and page it in again.
const HOLD: usize = 2;
/// Large blocks may always hold this many bytes more than the peak in use.
const SPARE: usize = 64 << 20;
/// Size classes of small blocks: four to each doubling, from 64 bytes up.
const CLASSES: usize = 4 * 10;

/// The pool's memory in bytes and its counts of blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes in use by tensors.
    pub in_use: usize,
    /// The most bytes in use at once since the last [`trim`].
    pub peak: usize,
    /// Bytes from the operating system that are free.
    pub cached: usize,
    /// Blocks allocated so far.
    pub requests: u64,
    /// Blocks for which the pool got memory from the operating system.
    pub fresh: u64,
}

/// The state of the pool.
struct Pool {
    stretches: Vec<Stretch>,
    small: [Vec<Block>; CLASSES],
    statistics: Statistics,
    /// [`SPARE`]; lower in a test.
    spare: usize,
}

/// A reserved address range for large blocks.
struct Stretch {
    memory: MmapMut,
    /// The offset of the first huge page; the ranges are relative to it.
    first: usize,
    ranges: Ranges,
}

static POOL: Mutex<Pool> = Mutex::new(Pool::new(SPARE));

/// A block of memory that returns to the pool when dropped.
#[derive(Debug)]
pub struct Block {
    start: *mut u8,
    length: usize,
    /// The index of a large block's stretch; `None` for a small block.
    stretch: Option<usize>,
}

// SAFETY: a block owns its memory, and access follows the borrow rules of its slices.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// The size class for `bytes` and its size: 4, 5, 6 or 7 quarters of a power of two.
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
    // A poisoned lock is usable: no code that holds it panics in the middle of a change.
    POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A block of at least `bytes` bytes. New memory is zero; reused memory has unspecified content.
pub(crate) fn take(bytes: usize) -> Block {
    let block = lock().take(bytes);
    // After the lock is released, since the handler may print or unwind.
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

    /// Frees a block.
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

    /// Returns memory of free large blocks to the system until all large blocks hold at most `limit` bytes.
    fn cool(&mut self, limit: usize) {
        let mut warm: usize = self.stretches.iter().map(|stretch| stretch.ranges.warm()).sum();
        for stretch in &mut self.stretches {
            let given = stretch.cool(limit, warm);
            warm -= given;
            self.statistics.cached -= given;
        }
    }

    /// Counts new memory from the operating system.
    fn got(&mut self, bytes: usize) {
        self.statistics.fresh += 1;
        self.statistics.cached += bytes;
    }
}

impl Stretch {
    /// Reserves up to [`STRETCH`] bytes of address space, and at least `length`.
    fn new(length: usize) -> Option<Self> {
        let least = length + HUGE;
        let mut reserved = STRETCH.max(least);
        loop {
            if let Ok(memory) = MmapOptions::new().len(reserved).no_reserve_swap().map_anon() {
                // Huge pages mean fewer page faults. Without them the stretch still works.
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

    /// Returns free memory to the system until all stretches, which hold `warm` bytes, hold at most `limit`. The result
    /// is the number of bytes; 0 on systems other than Linux.
    #[cfg(target_os = "linux")]
    fn cool(&mut self, limit: usize, warm: usize) -> usize {
        let before = self.ranges.warm();
        for range in self.ranges.cool(before.saturating_sub(warm.saturating_sub(limit)), HUGE) {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: no block is in the range, and later reads of it give zeros.
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
        // SAFETY: this value owns the block, which was zero at first and is written only through `bytes_mut`.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` is the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Block { start, length, stretch } = *self;
        lock().give(Block { start, length, stretch });
    }
}

/// The pool's memory in bytes and its counts of blocks.
pub fn statistics() -> Statistics {
    lock().statistics
}

/// Returns cached memory to the operating system.
pub fn trim() {
    let mut pool = lock();
    let pool = &mut *pool;
    for block in pool.small.iter_mut().flat_map(std::mem::take) {
        // SAFETY: allocated by `alloc_zeroed` with this layout; forgotten below, so it is freed once.
        unsafe { dealloc(block.start, layout(block.length)) };
        pool.statistics.cached -= block.length;
        std::mem::forget(block);
    }
    pool.cool(0);
    pool.statistics.peak = pool.statistics.in_use;
    // Otherwise the C library caches the freed memory.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time, and releases only free memory.
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

    /// A step whose first blocks leave separate holes that are too small for its later blocks.
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
