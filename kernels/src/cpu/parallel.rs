//! Splitting work over threads by its shape alone, so that the bits never depend on how many there are.

use rayon::prelude::*;

/// About how many numbers a task should touch: enough to be worth a hand-over, few enough to stay in L2.
pub const GRAIN: usize = 16 * 1024;

/// How many rows of `width` numbers make a task of about [`GRAIN`] numbers.
pub fn rows_a_task(width: usize) -> usize {
    (GRAIN / width.max(1)).max(1)
}

/// Calls the body with each chunk of rows of the output and the number of its first row.
///
/// `width` is how many numbers a row of `output` has; `work` how many numbers a row touches in all.
pub fn rows<T: Send>(
    output: &mut [T],
    width: usize,
    work: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    let rows = rows_a_task(work);
    if output.len() <= rows * width {
        return body(0, output);
    }
    output
        .par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(task, chunk)| body(task * rows, chunk));
}

/// Calls the body with each task number below `tasks`, on all threads.
pub fn tasks(tasks: usize, body: impl Fn(usize) + Sync + Send) {
    if tasks == 1 {
        return body(0);
    }
    // One task a split: each is worth a hand-over already.
    (0..tasks).into_par_iter().with_max_len(1).for_each(body);
}

/// A pointer that tasks share because each writes its own part of what is behind it.
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

    /// A part of the slice.
    ///
    /// # Safety
    /// No other task may have a part that overlaps it.
    #[allow(clippy::mut_from_ref, reason = "parts are disjoint by contract")]
    pub unsafe fn part(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start + length <= self.1, "part {start}+{length} of {}", self.1);
        // SAFETY: inside the slice, and nobody else's by contract.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), length) }
    }

    /// The pointer to element `start`.
    ///
    /// # Safety
    /// As for [`part`](Self::part), for whatever is written through it.
    pub unsafe fn pointer(&self, start: usize) -> *mut T {
        debug_assert!(start <= self.1);
        // SAFETY: inside the slice.
        unsafe { self.0.add(start) }
    }
}
