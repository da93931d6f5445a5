//! Scratch memory: a thread-local buffer that grows to the largest request and is then reused.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;

/// Alignment of buffers: a cache line, and also the widest vector.
const ALIGNMENT: usize = 64;
/// Large buffers consist of huge pages: a matrix product that reads down a column would access a new small page at
/// every step.
const HUGE: usize = 2 << 20;
/// The least bytes of a large buffer.
const LARGE: usize = 256 << 10;

struct Region {
    start: *mut u8,
    layout: Layout,
}

impl Region {
    fn new(bytes: usize) -> Self {
        // Sizes double, so that few calls allocate; large ones grow by an eighth to a quarter.
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
            // SAFETY: this value owns the range; rejected advice changes nothing.
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
    /// Free regions, largest last. There are several when uses nest, or when a thread that waits in rayon
    /// executes another task.
    static FREE: RefCell<Vec<Region>> = const { RefCell::new(Vec::new()) };
}

/// Calls the body with a buffer of `count` numbers of unspecified value. May be nested.
pub fn with<T: bytemuck::Pod, R>(count: usize, body: impl FnOnce(&mut [T]) -> R) -> R {
    let region = take(count * size_of::<T>());
    // SAFETY: the region is long enough, aligned for every Pod number, initialised, and not shared until it
    // returns to the list below.
    let slice = unsafe { std::slice::from_raw_parts_mut(region.start.cast::<T>(), count) };
    let result = body(slice);
    put_back(region);
    result
}

/// The smallest free region of at least `bytes` bytes, or a new one. Not part of [`with`]: compiled once.
fn take(bytes: usize) -> Region {
    let region = FREE.with_borrow_mut(|free| {
        let fits = free.iter().position(|r| r.layout.size() >= bytes);
        if fits.is_none() {
            // A larger region replaces the largest one.
            free.pop();
        }
        fits.map(|at| free.remove(at))
    });
    region.unwrap_or_else(|| {
        let region = Region::new(bytes);
        // Zeroed once, so that later reads are defined; later uses see old values.
        // SAFETY: this function owns the region, which is as long as its layout.
        unsafe { region.start.write_bytes(0, region.layout.size()) };
        region
    })
}

fn put_back(region: Region) {
    FREE.with_borrow_mut(|free| {
        let at = free.partition_point(|r| r.layout.size() < region.layout.size());
        free.insert(at, region);
    });
}
