//! What the engine needs of a GPU, in one small trait.

use super::{Program, Result};
use std::fmt::Debug;

/// A GPU: real, simulated, or counting. Work is done in the order it is asked for.
pub trait Driver: Debug + Send + Sync {
    /// What the device is.
    fn description(&self) -> &Description;

    /// Memory of unspecified content; `bytes` is above 0.
    ///
    /// # Errors
    /// When there is not so much.
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// Gives memory back once everything asked for so far is done.
    fn free(&self, address: u64);

    /// Copies to the device.
    ///
    /// # Errors
    /// When the device refuses.
    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()>;

    /// Copies from the device, after everything asked for so far is done.
    ///
    /// # Errors
    /// When the device refuses, or work before failed.
    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()>;

    /// Starts a copy from the device into memory of the driver's own, in the order of work.
    ///
    /// # Errors
    /// When the device refuses.
    fn fetch(&self, from: u64, bytes: usize) -> Result<Fetch>;

    /// Waits until a fetch is done, and copies as many of its bytes out as there is room for. It is used up.
    ///
    /// # Errors
    /// When work before the fetch failed.
    fn collect(&self, fetch: Fetch, bytes: &mut [u8]) -> Result<()>;

    /// Copies within the device.
    ///
    /// # Errors
    /// When the device refuses.
    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()>;

    /// Sets every byte.
    ///
    /// # Errors
    /// When the device refuses.
    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()>;

    /// A kernel of a program, which is compiled and loaded the first time.
    ///
    /// # Errors
    /// When the program cannot be compiled or loaded, or has no such kernel.
    fn function(&self, program: &'static Program, kernel: &'static str) -> Result<Function>;

    /// Starts a kernel.
    ///
    /// # Errors
    /// When it cannot start; the simulator also when it found something wrong.
    fn launch(&self, function: Function, launch: &Launch<'_>) -> Result<()>;

    /// Waits until everything asked for so far is done.
    ///
    /// # Errors
    /// When some of it failed.
    fn synchronize(&self) -> Result<()>;

    /// The first of these bytes that nobody wrote, where the device knows.
    fn unwritten(&self, from: u64, bytes: usize) -> Option<usize>;

    /// A mark in the order of work.
    ///
    /// # Errors
    /// When the device refuses.
    fn mark(&self) -> Result<Mark>;

    /// Seconds of device time between two marks, after waiting for the second. Both are used up.
    ///
    /// # Errors
    /// When work between them failed.
    fn seconds(&self, from: Mark, to: Mark) -> Result<f64>;
}

/// What a device is.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its name, as its maker gives it.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of memory.
    pub memory: usize,
    /// The most shared memory a block can have without asking for more.
    pub shared_memory: usize,
    /// Whether it is simulated.
    pub simulated: bool,
}

/// A kernel that a driver has loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function(pub usize);

/// A place in the order of work.
#[derive(Debug, PartialEq, Eq)]
pub struct Mark(pub u64);

/// A copy from the device that was started; [`Driver::collect`] ends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetch(pub u64);

/// How many threads run a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [u32; 3],
    /// Threads of a block along x, y and z.
    pub threads: [u32; 3],
    /// Bytes of dynamic shared memory a block.
    pub shared: u32,
}

impl Grid {
    /// Threads of a block where nothing speaks for another number; `THREADS` in the prelude.
    pub const THREADS: u32 = 256;

    /// A thread for each of `count` elements, in blocks of [`Grid::THREADS`].
    pub fn elements(count: usize) -> Grid {
        Grid::blocks(count.div_ceil(Grid::THREADS as usize))
    }

    /// So many blocks of [`Grid::THREADS`] threads, along x. A number beyond the limit is refused at the launch.
    pub fn blocks(count: usize) -> Grid {
        Grid {
            blocks: [u32::try_from(count).unwrap_or(u32::MAX), 1, 1],
            threads: [Grid::THREADS, 1, 1],
            shared: 0,
        }
    }

    /// Blocks along x and y of [`Grid::THREADS`] threads along x.
    pub fn tiles(x: usize, y: usize) -> Grid {
        let [x, y] = [x, y].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Grid { blocks: [x, y, 1], ..Grid::blocks(1) }
    }

    /// A team of threads along x for each of `rows` rows, so wide: a warp, or a whole block where rows are wide.
    pub fn teams(rows: usize, width: usize) -> Grid {
        let (threads, teams) = match width {
            0..=512 => (32, 8),
            513..=8192 => (256, 1),
            _ => (1024, 1),
        };
        Grid { threads: [threads, teams, 1], ..Grid::blocks(rows.div_ceil(teams as usize)) }
    }

    /// What is wrong with it, if anything is.
    pub(super) fn complaint(&self, shared_memory: usize) -> Option<String> {
        let [x, y, z] = self.blocks;
        let threads: u64 = self.threads.iter().map(|&n| u64::from(n)).product();
        if x > i32::MAX as u32 || y > 65_535 || z > 65_535 {
            return Some(format!(
                "{x} x {y} x {z} blocks; a GPU takes 2147483647 x 65535 x 65535: use a smaller batch"
            ));
        }
        if threads == 0 || threads > 1024 || self.threads[2] > 64 {
            return Some(format!("blocks of {:?} threads; a GPU takes 1 to 1024", self.threads));
        }
        (self.shared as usize > shared_memory).then(|| {
            format!("{} bytes of shared memory; a block here has {shared_memory}", self.shared)
        })
    }
}

/// One launch of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The kernel's name, for messages.
    pub kernel: &'static str,
    /// How many threads.
    pub grid: Grid,
    /// Its one parameter, a struct by value.
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
