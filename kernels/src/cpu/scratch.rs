//! Scratch memory of a thread: grows to what was asked for once, and is then given out again and again.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;

/// Buffers start on a cache line, which is also the widest vector.
const ALIGNMENT: usize = 64;
/// Large buffers are whole huge pages: a product that walks down the rows of a matrix meets a new small page at every
/// step.
const HUGE: usize = 2 << 20;
/// From so many bytes on a buffer is large.
const LARGE: usize = 256 << 10;

struct Region {
    start: *mut u8,
    layout: Layout,
}

impl Region {
    fn new(bytes: usize) -> Self {
        // Sizes double, so that a thread settles after a few calls; large ones grow by an eighth to a quarter.
        let power = bytes.next_power_of_two().max(4096);
        let (bytes, alignment) = match bytes {
            ..LARGE => (power, ALIGNMENT),
            _ => (bytes.next_multiple_of((power / 8).max(HUGE)), HUGE),
        };
        let layout =
            Layout::from_size_align(bytes, alignment).unwrap_or_else(|_| Layout::new::<u64>());
        // SAFETY: the layout's size is at least a page.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        #[cfg(target_os = "linux")]
        if alignment == HUGE {
            // SAFETY: the range is ours; advice that is refused changes nothing.
            unsafe { libc::madvise(start.cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        Region { start, layout }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.start, self.layout) }
    }
}

thread_local! {
    /// Free regions, largest last. More than one where uses nest, or where a thread waiting in rayon takes
    /// up another task.
    static FREE: RefCell<Vec<Region>> = const { RefCell::new(Vec::new()) };
}

/// Lends the body `count` numbers of unspecified value. May be nested.
pub fn with<T: bytemuck::Pod, R>(count: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    let bytes = count * size_of::<T>();
    let region = FREE.with_borrow_mut(|free| {
        let fits = free.iter().position(|r| r.layout.size() >= bytes);
        if fits.is_none() {
            // A larger one takes the place of the largest.
            free.pop();
        }
        fits.map(|at| free.remove(at))
    });
    let region = region.unwrap_or_else(|| {
        let region = Region::new(bytes);
        // Memory is given out uninitialised ever after, but initialised once, so that reading it is defined.
        // SAFETY: the region is ours and as long as its layout says.
        unsafe { region.start.write_bytes(0, region.layout.size()) };
        region
    });
    // SAFETY: the region is long enough, aligned for every Pod number, initialised, and nobody else's until
    // it goes back on the list below.
    let slice = unsafe { std::slice::from_raw_parts_mut(region.start.cast::<T>(), count) };
    let result = body(slice);
    FREE.with_borrow_mut(|free| {
        let at = free.partition_point(|r| r.layout.size() < region.layout.size());
        free.insert(at, region);
    });
    result
}
