//! Scratch memory of a thread: grows to what was asked for once, and is then given out again and again.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;

/// Buffers start on a cache line, which is also the widest vector.
const ALIGNMENT: usize = 64;
/// A huge page. Buffers that are not small stand in them, if the system gives them: strides over many small pages
/// cost more time in address translation than in arithmetic.
const HUGE: usize = 2 << 20;

struct Region {
    start: *mut u8,
    layout: Layout,
}

impl Region {
    fn new(bytes: usize) -> Self {
        // Sizes double, so that a thread settles after a few calls.
        let mut bytes = bytes.next_power_of_two().max(4096);
        if bytes >= HUGE / 8 {
            bytes = bytes.max(HUGE);
        }
        let alignment = if bytes >= HUGE { HUGE } else { ALIGNMENT };
        let layout =
            Layout::from_size_align(bytes, alignment).unwrap_or_else(|_| Layout::new::<u64>());
        // SAFETY: the layout's size is at least a page.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        #[cfg(target_os = "linux")]
        if bytes >= HUGE {
            // SAFETY: advice on memory that is ours; where the system does not take it, nothing changes.
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
