//! Memory of the CPU's tensors: free lists by size class, so that a training step that ran twice allocates
//! nothing new.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::sync::Mutex;

/// Buffers start on a cache line.
const LINE: usize = 64;
/// Large buffers start on a huge page, and ask for huge pages: fresh small ones cost a fault each.
const HUGE: usize = 2 << 20;
/// Size classes: four to each doubling, from 64 bytes up.
const CLASSES: usize = 4 * 40;

/// What the pool did and holds, in bytes and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes in use by tensors now.
    pub in_use: usize,
    /// The most bytes that were in use at once.
    pub peak: usize,
    /// Bytes on the free lists.
    pub cached: usize,
    /// Buffers handed out so far.
    pub requests: u64,
    /// Buffers that had to be got from the operating system.
    pub fresh: u64,
}

struct Pool {
    free: [Vec<Block>; CLASSES],
    statistics: Statistics,
}

static POOL: Mutex<Pool> = Mutex::new(Pool {
    free: [const { Vec::new() }; CLASSES],
    statistics: Statistics { in_use: 0, peak: 0, cached: 0, requests: 0, fresh: 0 },
});

/// A piece of memory that goes back to the pool when dropped.
#[derive(Debug)]
pub struct Block {
    start: *mut u8,
    class: usize,
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

fn class_size(class: usize) -> usize {
    (4 + class % 4) << (class / 4 + 4)
}

fn layout(class: usize) -> Layout {
    let size = class_size(class);
    let alignment = if size >= HUGE { HUGE } else { LINE };
    Layout::from_size_align(size, alignment).unwrap_or(Layout::new::<u64>())
}

fn lock() -> std::sync::MutexGuard<'static, Pool> {
    // A poisoned pool is whole: nothing in here panics half way.
    POOL.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A block of at least `bytes`, zeroed the first time and of unspecified content ever after.
pub(crate) fn take(bytes: usize) -> Block {
    let (class, size) = class_of(bytes);
    let recycled = {
        let mut pool = lock();
        pool.statistics.requests += 1;
        pool.statistics.in_use += size;
        pool.statistics.peak = pool.statistics.peak.max(pool.statistics.in_use);
        let recycled = pool.free[class].pop();
        match recycled {
            Some(_) => pool.statistics.cached -= size,
            None => pool.statistics.fresh += 1,
        }
        recycled
    };
    recycled.unwrap_or_else(|| fresh(class))
}

fn fresh(class: usize) -> Block {
    let layout = layout(class);
    // SAFETY: no class has size 0.
    let start = unsafe { alloc(layout) };
    if start.is_null() {
        handle_alloc_error(layout);
    }
    #[cfg(target_os = "linux")]
    if layout.size() >= HUGE {
        // SAFETY: the range is ours; advice that is refused changes nothing.
        unsafe { libc::madvise(start.cast(), layout.size(), libc::MADV_HUGEPAGE) };
    }
    // SAFETY: the block is ours and as long as its layout. Zeroing makes every later read defined.
    unsafe { start.write_bytes(0, layout.size()) };
    Block { start, class }
}

impl Block {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the block is ours, zeroed when it was got, and written only through `bytes_mut`.
        unsafe { std::slice::from_raw_parts(self.start, class_size(self.class)) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; this is the only reference to it.
        unsafe { std::slice::from_raw_parts_mut(self.start, class_size(self.class)) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let size = class_size(self.class);
        let mut pool = lock();
        pool.statistics.in_use -= size;
        pool.statistics.cached += size;
        let class = self.class;
        pool.free[class].push(Block { start: self.start, class });
    }
}

/// What the pool did and holds.
pub fn statistics() -> Statistics {
    lock().statistics
}

/// Gives all cached memory back to the operating system.
pub fn trim() {
    let mut pool = lock();
    for class in 0..CLASSES {
        for block in std::mem::take(&mut pool.free[class]) {
            // SAFETY: got from `alloc` with this layout; forgotten below, so that it is freed once.
            unsafe { dealloc(block.start, layout(class)) };
            std::mem::forget(block);
        }
    }
    pool.statistics.cached = 0;
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
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 3 << 20, 12_345_678_901]) {
            let (class, size) = class_of(bytes);
            assert!(size >= bytes && size == class_size(class), "{bytes} {class} {size}");
            assert!(
                bytes <= LINE || size <= bytes + bytes / 4 + LINE,
                "{bytes} wastes too much: {size}"
            );
        }
    }
}
