//! Splits work over threads. The split depends on the shape only, so results do not depend on the number of threads.

use rayon::prelude::*;

/// The target size of a task, in numbers: large enough to pay for scheduling, small enough for L2.
pub const GRAIN: usize = 16 * 1024;

/// The number of rows of `width` numbers in a task of about [`GRAIN`] numbers.
pub fn rows_a_task(width: usize) -> usize {
    (GRAIN / width.max(1)).max(1)
}

/// Splits `output` into chunks of rows and calls the body with the index of the first row and the chunk, in parallel.
///
/// `width` is the length of a row of `output`; `work` is the count of numbers that a row reads and writes.
pub fn rows<T: Send>(
    output: &mut [T],
    width: usize,
    work: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    let rows = rows_a_task(work);
    let (length, chunk) = (output.len(), rows * width);
    if length <= chunk {
        return body(0, output);
    }
    let shared = Shared::new(output);
    // Small tasks: rayon may put several into one split.
    spread(length.div_ceil(chunk), usize::MAX, &|task| {
        let start = task * chunk;
        // SAFETY: each task has its own chunk.
        let part = unsafe { shared.part(start, chunk.min(length - start)) };
        body(task * rows, part);
    });
}

/// Calls the body with each task index below `tasks`, in parallel.
pub fn tasks(tasks: usize, body: impl Fn(usize) + Sync + Send) {
    if tasks == 1 {
        return body(0);
    }
    // One task for each split: a task is large enough to pay for scheduling.
    spread(tasks, 1, &body);
}

/// Calls the body with each task number below `tasks`, at most `most` of them in one split. The body comes behind a
/// pointer, so that rayon is compiled once and not for each body.
fn spread(tasks: usize, most: usize, body: &(dyn Fn(usize) + Sync)) {
    (0..tasks).into_par_iter().with_max_len(most).for_each(body);
}

/// A slice shared by parallel tasks, each of which writes its own part.
#[derive(Debug)]
pub struct Shared<T>(*mut T, usize);

// SAFETY: the only access is through the unsafe methods, whose callers promise that parts are disjoint.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    /// Shares a slice among tasks.
    pub fn new(slice: &mut [T]) -> Self {
        Shared(slice.as_mut_ptr(), slice.len())
    }

    /// The part of `length` numbers from `start` on.
    ///
    /// # Safety
    /// No other task may hold a part that overlaps it.
    #[allow(clippy::mut_from_ref, reason = "parts are disjoint by contract")]
    pub unsafe fn part(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start + length <= self.1, "part {start}+{length} of {}", self.1);
        // SAFETY: inside the slice, and by contract no other part overlaps it.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), length) }
    }

    /// The pointer to element `start`.
    ///
    /// # Safety
    /// As for [`part`](Self::part): no other task may access what is written through it.
    pub unsafe fn pointer(&self, start: usize) -> *mut T {
        debug_assert!(start <= self.1);
        // SAFETY: inside the slice.
        unsafe { self.0.add(start) }
    }
}
