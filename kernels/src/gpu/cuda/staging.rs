//! Uploads through a ring of pinned blocks: a copy from pinned memory runs while the host continues, and a block is
//! written again only after the event behind its last copy.

use super::failed;
use crate::gpu::Result;
use cudarc::driver::{DriverError, result, sys};
use std::collections::VecDeque;
use std::ffi::c_void;

/// The size of a block in bytes.
const BLOCK: usize = 8 << 20;
/// The most blocks: a step's uploads fit without a wait.
const BLOCKS: usize = 16;
/// Copies start at multiples of this number of bytes.
const ALIGNMENT: usize = 256;

/// Pinned host memory, which the GPU reads and writes while the host continues.
#[derive(Debug)]
pub(super) struct Pinned {
    start: *mut c_void,
    bytes: usize,
}

// SAFETY: the memory belongs to this value alone and may be used from any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Needs a current context. Another context may use the memory too.
    pub(super) fn new(bytes: usize) -> Result<Self> {
        // SAFETY: the caller has made a context current.
        let start = unsafe { result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_PORTABLE) }
            .map_err(failed("cuMemHostAlloc"))?;
        Ok(Pinned { start, bytes })
    }

    /// The size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// `length` bytes from `at` on, at most to the end.
    ///
    /// # Safety
    /// No copy of the GPU may use them now, except one that this call's result is for.
    pub(super) unsafe fn part(&mut self, at: usize, length: usize) -> &mut [u8] {
        let at = at.min(self.bytes);
        let length = length.min(self.bytes - at);
        // SAFETY: inside the memory, which this value owns; the caller excludes the GPU.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast::<u8>().add(at), length) }
    }

    /// Frees the memory.
    ///
    /// # Safety
    /// No copy of the GPU may use it.
    pub(super) unsafe fn free(self) {
        // SAFETY: allocated by `malloc_host` and freed once; a failure changes nothing.
        let _ = unsafe { result::free_host(self.start) };
    }
}

/// What a ring asks of a GPU.
pub(super) trait Engine {
    /// A block of memory that the GPU reads.
    type Block;
    /// A place in the order of the GPU's work.
    type Event;

    /// A new block; `None` if there is no memory for it.
    fn block(&self, bytes: usize) -> Option<Self::Block>;

    /// Writes `bytes` to the block from `at` on and starts to copy them to the device.
    ///
    /// # Errors
    /// When the copy cannot start.
    fn send(&self, block: &mut Self::Block, at: usize, bytes: &[u8], to: u64) -> Result<()>;

    /// The place after all work so far.
    ///
    /// # Errors
    /// When it cannot be recorded.
    fn event(&self) -> Result<Self::Event>;

    /// Whether the GPU has passed the event.
    ///
    /// # Errors
    /// When earlier work failed.
    fn passed(&self, event: &Self::Event) -> Result<bool>;

    /// Waits until the GPU has passed the event.
    ///
    /// # Errors
    /// When earlier work failed.
    fn wait(&self, event: &Self::Event) -> Result<()>;

    /// Releases an event.
    fn forget(&self, event: Self::Event);
}

/// The blocks, of which the last is being filled; those before it wait for their events, the oldest first.
#[derive(Debug)]
pub(super) struct Ring<E: Engine> {
    /// A block, and the event after its last copy.
    blocks: VecDeque<(E::Block, Option<E::Event>)>,
    /// Bytes of the last block that are taken.
    filled: usize,
    size: usize,
    most: usize,
    /// Whether there was no memory for the first block.
    refused: bool,
}

impl<E: Engine> Default for Ring<E> {
    fn default() -> Self {
        Ring::new(BLOCK, BLOCKS)
    }
}

impl<E: Engine> Ring<E> {
    /// At most `most` blocks of `size` bytes.
    fn new(size: usize, most: usize) -> Self {
        Ring { blocks: VecDeque::new(), filled: size, size, most, refused: false }
    }

    /// Starts to copy `bytes` to the device, in pieces of at most a block; waits only if all blocks are in use. False if
    /// there is no pinned memory: nothing was copied then.
    pub(super) fn upload(&mut self, engine: &E, mut to: u64, mut bytes: &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            if self.filled + bytes.len().min(self.size) > self.size && !self.advance(engine)? {
                return Ok(false);
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(self.size - self.filled));
            // `advance` has succeeded before: there is a last block.
            let Some((block, event)) = self.blocks.back_mut() else { return Ok(false) };
            let at = self.filled;
            // Taken before the copy starts: a copy that failed may still run.
            self.filled = (at + piece.len()).next_multiple_of(ALIGNMENT);
            engine.send(block, at, piece, to)?;
            if let Some(old) = event.replace(engine.event()?) {
                engine.forget(old);
            }
            (to, bytes) = (to + piece.len() as u64, rest);
        }
        Ok(true)
    }

    /// Makes an empty block the last one: the oldest if the GPU has read it, otherwise a new one, otherwise the oldest
    /// after a wait. False if there is none at all.
    fn advance(&mut self, engine: &E) -> Result<bool> {
        let free = match self.blocks.front() {
            Some((_, Some(event))) => engine.passed(event)?,
            Some((_, None)) => true,
            None => false,
        };
        if !free && !self.refused && self.blocks.len() < self.most {
            match engine.block(self.size) {
                Some(block) => {
                    self.blocks.push_back((block, None));
                    self.filled = 0;
                    return Ok(true);
                }
                None => self.refused = true,
            }
        }
        let Some((_, event)) = self.blocks.front_mut() else { return Ok(false) };
        if let (false, Some(event)) = (free, &event) {
            engine.wait(event)?;
        }
        if let Some(event) = event.take() {
            engine.forget(event);
        }
        self.blocks.rotate_left(1);
        self.filled = 0;
        Ok(true)
    }

    /// Takes the blocks out, and releases their events.
    pub(super) fn drain(&mut self, engine: &E) -> Vec<E::Block> {
        self.filled = self.size;
        let release = |(block, event): (E::Block, Option<E::Event>)| {
            if let Some(event) = event {
                engine.forget(event);
            }
            block
        };
        self.blocks.drain(..).map(release).collect()
    }
}

/// An event without a time.
#[derive(Debug)]
pub(super) struct Event(sys::CUevent);

// SAFETY: the driver's handles may be used from any thread.
unsafe impl Send for Event {}

/// The stream of a GPU whose context is current.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream(pub(super) sys::CUstream);

impl Engine for Stream {
    type Block = Pinned;
    type Event = Event;

    fn block(&self, bytes: usize) -> Option<Pinned> {
        Pinned::new(bytes).ok()
    }

    fn send(&self, block: &mut Pinned, at: usize, bytes: &[u8], to: u64) -> Result<()> {
        // SAFETY: `advance` has waited for the event after the last copy from this part of the block, and no copy writes
        // to it.
        let staged = unsafe { block.part(at, bytes.len()) };
        staged.copy_from_slice(bytes);
        // SAFETY: pinned, and not written again before the event that `upload` records behind this copy.
        unsafe { result::memcpy_htod_async(to, staged, self.0) }
            .map_err(failed("cuMemcpyHtoDAsync"))
    }

    fn event(&self) -> Result<Event> {
        self.record(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map(Event)
    }

    fn passed(&self, event: &Event) -> Result<bool> {
        // SAFETY: created by `event`, not destroyed yet.
        match unsafe { result::event::query(event.0) } {
            Ok(()) => Ok(true),
            Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            Err(error) => Err(failed("cuEventQuery")(error)),
        }
    }

    fn wait(&self, event: &Event) -> Result<()> {
        // SAFETY: created by `event`, not destroyed yet.
        unsafe { result::event::synchronize(event.0) }.map_err(failed("cuEventSynchronize"))
    }

    fn forget(&self, event: Event) {
        // SAFETY: created by `event` and destroyed once; a failure changes nothing.
        let _ = unsafe { result::event::destroy(event.0) };
    }
}

impl Stream {
    /// A new event behind all work so far.
    pub(super) fn record(self, flags: sys::CUevent_flags) -> Result<sys::CUevent> {
        let event = result::event::create(flags).map_err(failed("cuEventCreate"))?;
        // SAFETY: the event was just made; the stream lives as long as its driver.
        let recorded =
            unsafe { result::event::record(event, self.0) }.map_err(failed("cuEventRecord"));
        if recorded.is_err() {
            self.forget(Event(event));
        }
        recorded.map(|()| event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// A copy: the block, its place there, the length, and where the bytes go.
    type Copy = (usize, usize, usize, u64);

    /// A GPU that copies only when somebody waits, so that a block that is written too early gives wrong bytes.
    #[derive(Default)]
    struct Late {
        room: usize,
        state: RefCell<State>,
    }

    #[derive(Default)]
    struct State {
        blocks: Vec<Vec<u8>>,
        waiting: Vec<Copy>,
        /// Copies done so far.
        done: usize,
        waits: usize,
        events: isize,
        memory: Vec<u8>,
    }

    impl State {
        fn run_to(&mut self, event: usize) {
            let now = event.saturating_sub(self.done).min(self.waiting.len());
            for (block, at, length, to) in self.waiting.drain(..now) {
                let bytes = &self.blocks[block][at..at + length];
                self.memory[to as usize..][..length].copy_from_slice(bytes);
            }
            self.done += now;
        }
    }

    impl Engine for Late {
        type Block = usize;
        type Event = usize;

        fn block(&self, bytes: usize) -> Option<usize> {
            let mut state = self.state.borrow_mut();
            let number = state.blocks.len();
            (number < self.room).then(|| state.blocks.push(vec![0; bytes]))?;
            Some(number)
        }

        fn send(&self, block: &mut usize, at: usize, bytes: &[u8], to: u64) -> Result<()> {
            let mut state = self.state.borrow_mut();
            state.blocks[*block][at..at + bytes.len()].copy_from_slice(bytes);
            state.waiting.push((*block, at, bytes.len(), to));
            Ok(())
        }

        fn event(&self) -> Result<usize> {
            let mut state = self.state.borrow_mut();
            state.events += 1;
            Ok(state.done + state.waiting.len())
        }

        fn passed(&self, event: &usize) -> Result<bool> {
            Ok(self.state.borrow().done >= *event)
        }

        fn wait(&self, event: &usize) -> Result<()> {
            let mut state = self.state.borrow_mut();
            state.waits += 1;
            state.run_to(*event);
            Ok(())
        }

        fn forget(&self, _: usize) {
            self.state.borrow_mut().events -= 1;
        }
    }

    #[test]
    fn a_block_is_used_again_only_after_its_copies() {
        const SIZE: usize = 4096;
        let lengths = [1, 300, 4096, 17, 5000, 20_000, 3, 3, 4000, 256, 257, 12_288, 1];
        for (most, room) in [(1, 1), (2, 2), (3, 3), (16, 16), (16, 2)] {
            let total = lengths.iter().sum();
            let gpu = Late { room, ..Late::default() };
            gpu.state.borrow_mut().memory = vec![0; total];
            let mut ring = Ring::new(SIZE, most);
            let expected: Vec<u8> = (0..total).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut at = 0;
            for (i, &length) in lengths.iter().enumerate() {
                assert!(ring.upload(&gpu, at as u64, &expected[at..at + length]).unwrap());
                at += length;
                // A GPU that keeps up now and then.
                if i % 4 == 3 {
                    gpu.state.borrow_mut().run_to(usize::MAX);
                }
            }
            assert!(ring.blocks.len() <= most.min(room), "{most} {room}");
            let few = most.min(room) < 4;
            assert_eq!(gpu.state.borrow().waits > 0, few, "{most} blocks, room for {room}");
            gpu.state.borrow_mut().run_to(usize::MAX);
            assert!(gpu.state.borrow().memory == expected, "{most} blocks, room for {room}");
            ring.drain(&gpu);
            assert_eq!(gpu.state.borrow().events, 0, "every event is released");
        }
    }

    #[test]
    fn without_pinned_memory_nothing_is_copied_and_it_is_not_asked_for_again() {
        let gpu = Late::default();
        let mut ring = Ring::new(4096, 4);
        assert!(!ring.upload(&gpu, 0, &[1, 2, 3]).unwrap());
        assert!(!ring.upload(&gpu, 0, &[1; 10_000]).unwrap());
        assert!(ring.refused && gpu.state.borrow().waiting.is_empty());
    }
}
