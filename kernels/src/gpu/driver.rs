//! The trait between the engine and a GPU.

use super::{Program, Result};
use std::fmt::Debug;

/// A GPU: real, simulated, or counting. Calls take effect in the order in which they are made.
pub trait Driver: Debug + Send + Sync {
    /// The device's name and limits.
    fn description(&self) -> &Description;

    /// Loads programs, where that takes seconds; calls `done` with the number of programs loaded so far.
    ///
    /// # Errors
    /// When a program cannot be compiled or loaded.
    fn prepare(&self, programs: &[&'static Program], done: &(dyn Fn(usize) + Sync)) -> Result<()> {
        let _ = (programs, done);
        Ok(())
    }

    /// Allocates uninitialised memory; `bytes` must be above 0.
    ///
    /// # Errors
    /// When the device is out of memory.
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// Frees memory after all earlier calls are done.
    fn free(&self, address: u64);

    /// Waits for all earlier calls, and returns freed memory that the driver keeps to the device.
    ///
    /// # Errors
    /// When earlier work failed.
    fn trim(&self) -> Result<()> {
        self.synchronize()
    }

    /// Copies to the device. The bytes may change as soon as the call returns.
    ///
    /// # Errors
    /// When the copy fails.
    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()>;

    /// Copies from the device after all earlier calls are done, and waits for the copy.
    ///
    /// # Errors
    /// When the copy or earlier work fails.
    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()>;

    /// Starts a copy from the device to memory that the driver owns; [`collect`](Self::collect) ends it.
    ///
    /// # Errors
    /// When the copy cannot start.
    fn fetch(&self, from: u64, bytes: usize) -> Result<Fetch>;

    /// Waits for a fetch and copies its first `bytes.len()` bytes. The fetch cannot be collected again.
    ///
    /// # Errors
    /// When work before the fetch failed.
    fn collect(&self, fetch: Fetch, bytes: &mut [u8]) -> Result<()>;

    /// Copies `bytes` bytes inside the device.
    ///
    /// # Errors
    /// When the copy cannot start.
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()>;

    /// Sets `bytes` bytes to `byte`.
    ///
    /// # Errors
    /// When the fill cannot start.
    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()>;

    /// A kernel of a program. The first call compiles and loads the program.
    ///
    /// # Errors
    /// When the program cannot be compiled or loaded, or has no such kernel.
    fn function(&self, program: &'static Program, kernel: &'static str) -> Result<Function>;

    /// Starts a kernel.
    ///
    /// # Errors
    /// When the kernel cannot start. The simulator also reports the mistakes that it finds in the kernel.
    fn launch(&self, function: Function, launch: &Launch<'_>) -> Result<()>;

    /// Waits until all earlier calls are done.
    ///
    /// # Errors
    /// When one of them failed.
    fn synchronize(&self) -> Result<()>;

    /// The position of the first uninitialised byte of these, if the device tracks writes.
    fn unwritten(&self, from: u64, bytes: usize) -> Option<usize>;

    /// Records a mark after all earlier calls.
    ///
    /// # Errors
    /// When the mark cannot be recorded.
    fn mark(&self) -> Result<Mark>;

    /// Waits for the second mark; returns the seconds of device time between the two.
    ///
    /// # Errors
    /// When work between them failed.
    fn seconds(&self, from: Mark, to: Mark) -> Result<f64>;
}

/// A device's name, kind and limits.
#[derive(Debug, Clone)]
pub struct Description {
    /// The name that the driver reports.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// The number of streaming multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of memory.
    pub memory: usize,
    /// The most bytes of shared memory of a block, without the opt-in to more.
    pub shared_memory: usize,
    /// Whether it is simulated.
    pub simulated: bool,
    /// Whether the backward pass recomputes cheap tensors, as on the CPU, instead of keeping them.
    pub recompute: bool,
    /// Why memory comes from plain allocations instead of the driver's pool, if it does.
    pub without_pool: Option<String>,
}

/// A kernel that a driver has loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function(pub usize);

/// A position in the order of a device's work.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark(pub u64);

/// A copy from the device that [`Driver::fetch`] started; [`Driver::collect`] ends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetch(pub u64);

/// The blocks and threads of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [u32; 3],
    /// Threads of each block along x, y and z.
    pub threads: [u32; 3],
    /// Bytes of dynamic shared memory of each block.
    pub shared: u32,
}

impl Grid {
    /// The default number of threads of a block; `THREADS` in `prelude.cuh`.
    pub const THREADS: u32 = 256;

    /// The most threads of a block of [`Grid::teams`]; `TEAM` in `prelude.cuh`.
    pub const TEAM: u32 = 1024;

    /// One thread for each of `count` elements, in blocks of [`Grid::THREADS`].
    pub fn elements(count: usize) -> Grid {
        Grid::blocks(count.div_ceil(Grid::THREADS as usize))
    }

    /// `count` blocks of [`Grid::THREADS`] threads, along x. A launch with more than the limit fails.
    pub fn blocks(count: usize) -> Grid {
        Grid {
            blocks: [u32::try_from(count).unwrap_or(u32::MAX), 1, 1],
            threads: [Grid::THREADS, 1, 1],
            shared: 0,
        }
    }

    /// `x` by `y` blocks of [`Grid::THREADS`] threads along x.
    pub fn tiles(x: usize, y: usize) -> Grid {
        let [x, y] = [x, y].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Grid { blocks: [x, y, 1], ..Grid::blocks(1) }
    }

    /// One team of threads along x for each of `rows` rows of `width` numbers: a warp for up to 512, otherwise a block.
    pub fn teams(rows: usize, width: usize) -> Grid {
        let (threads, teams) = match width {
            0..=512 => (32, 8),
            513..=8192 => (256, 1),
            _ => (Grid::TEAM, 1),
        };
        Grid { threads: [threads, teams, 1], ..Grid::blocks(rows.div_ceil(teams as usize)) }
    }

    /// The limit of a GPU that the grid exceeds, if any.
    pub(super) fn complaint(&self, shared_memory: usize) -> Option<String> {
        let [x, y, z] = self.blocks;
        let threads: u64 = self.threads.iter().map(|&n| u64::from(n)).product();
        if x > i32::MAX as u32 || y > 65_535 || z > 65_535 {
            return Some(format!(
                "got {x} x {y} x {z} blocks, at most 2147483647 x 65535 x 65535: use a smaller batch"
            ));
        }
        if threads == 0 || threads > 1024 || self.threads[2] > 64 {
            return Some(format!("got blocks of {:?} threads, expected 1 to 1024", self.threads));
        }
        (self.shared as usize > shared_memory).then(|| {
            format!("got {} bytes of shared memory, at most {shared_memory} a block", self.shared)
        })
    }
}

/// One launch of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The kernel's name, for messages.
    pub kernel: &'static str,
    /// The blocks and threads.
    pub grid: Grid,
    /// The bytes of the kernel's one parameter, a struct by value.
    pub arguments: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_beyond_the_limits_are_refused_before_the_launch() {
        const SHARED: usize = 48 << 10;
        assert_eq!(Grid::elements(1000), Grid::blocks(4));
        assert_eq!(Grid::elements(1 << 40).blocks[0], u32::MAX);
        assert!(Grid::elements(i32::MAX as usize).complaint(SHARED).is_none());
        assert!(Grid::elements(1 << 40).complaint(SHARED).is_some());
        assert!(Grid::tiles(1 << 20, 65_535).complaint(SHARED).is_none());
        assert!(Grid::tiles(1, 65_536).complaint(SHARED).is_some());
        assert!(Grid { threads: [1024, 2, 1], ..Grid::blocks(1) }.complaint(SHARED).is_some());
        assert!(Grid { threads: [0, 1, 1], ..Grid::blocks(1) }.complaint(SHARED).is_some());
        assert!(Grid { shared: 49 << 10, ..Grid::blocks(1) }.complaint(SHARED).is_some());
    }
}
