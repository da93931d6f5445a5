//! A driver that executes nothing and counts calls: it measures the launches, transfers and waits of a step on a
//! machine without a GPU.

use super::driver::{Description, Driver, Fetch, Function, Launch, Mark};
use super::{Program, Result};
use std::collections::{BTreeMap, HashMap};
use std::ops::Sub;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counts of a driver's calls since it was created. Subtract two of them for the counts in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Launches of each kernel, by its name.
    pub kernels: BTreeMap<&'static str, u64>,
    /// Copies and fills inside the device.
    pub copies: u64,
    /// Copies from the host to the device.
    pub uploads: u64,
    /// Bytes of these copies.
    pub uploaded: u64,
    /// Copies from the device to the host.
    pub downloads: u64,
    /// Bytes of these copies.
    pub downloaded: u64,
    /// Waits of the host during which the device had no later work queued: blocking downloads, synchronisations, and
    /// fetches collected before the next launch.
    pub waits: u64,
    /// Memory allocations of the driver.
    pub fresh: u64,
}

impl Counts {
    /// Launches of all kernels.
    pub fn launches(&self) -> u64 {
        self.kernels.values().sum()
    }
}

impl Sub<&Counts> for Counts {
    type Output = Counts;

    fn sub(mut self, before: &Counts) -> Counts {
        for (kernel, launches) in &mut self.kernels {
            *launches -= before.kernels.get(kernel).copied().unwrap_or(0);
        }
        self.kernels.retain(|_, launches| *launches > 0);
        self.copies -= before.copies;
        self.uploads -= before.uploads;
        self.uploaded -= before.uploaded;
        self.downloads -= before.downloads;
        self.downloaded -= before.downloaded;
        self.waits -= before.waits;
        self.fresh -= before.fresh;
        self
    }
}

/// Counts the calls of a driver. Clones share one state.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    counts: Counts,
    /// For each fetch not yet collected, the number of launches before it.
    fetches: HashMap<u64, u64>,
}

impl Recorder {
    fn state(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts.clone()
    }

    pub(super) fn allocated(&self) {
        self.state().counts.fresh += 1;
    }

    pub(super) fn uploaded(&self, bytes: usize) {
        let counts = &mut self.state().counts;
        counts.uploads += 1;
        counts.uploaded += bytes as u64;
    }

    pub(super) fn downloaded(&self, bytes: usize) {
        let counts = &mut self.state().counts;
        counts.downloads += 1;
        counts.downloaded += bytes as u64;
        counts.waits += 1;
    }

    pub(super) fn fetched(&self, fetch: &Fetch, bytes: usize) {
        let state = &mut *self.state();
        state.counts.downloads += 1;
        state.counts.downloaded += bytes as u64;
        state.fetches.insert(fetch.0, state.counts.launches());
    }

    pub(super) fn collected(&self, fetch: &Fetch) {
        let state = &mut *self.state();
        let before = state.fetches.remove(&fetch.0);
        state.counts.waits += u64::from(before == Some(state.counts.launches()));
    }

    pub(super) fn copied(&self) {
        self.state().counts.copies += 1;
    }

    pub(super) fn launched(&self, kernel: &'static str) {
        *self.state().counts.kernels.entry(kernel).or_default() += 1;
    }

    pub(super) fn waited(&self) {
        self.state().counts.waits += 1;
    }
}

/// A driver that counts calls. Downloads give zeros. Clones share one state.
#[derive(Debug, Clone)]
pub struct Counting {
    description: Description,
    recorder: Recorder,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Functions, marks and fetches created so far.
    handles: usize,
    /// The first address not yet allocated.
    address: u64,
}

impl Default for Counting {
    fn default() -> Self {
        let description = Description {
            name: "counting GPU".into(),
            capability: (8, 0),
            multiprocessors: 1,
            memory: usize::MAX,
            shared_memory: 48 << 10,
            // Memory is cached and reused as on a real GPU.
            simulated: false,
            recompute: false,
            without_pool: None,
        };
        let state = Arc::new(Mutex::new(State { handles: 0, address: 4096 }));
        Counting { description, recorder: Recorder::default(), state }
    }
}

impl Counting {
    /// A driver on which the engine uses memory as on the CPU.
    pub fn recomputing() -> Self {
        let mut counting = Counting::default();
        counting.description.recompute = true;
        counting
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.recorder.counts()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self) -> usize {
        let mut state = self.state();
        state.handles += 1;
        state.handles
    }
}

impl Driver for Counting {
    fn description(&self) -> &Description {
        &self.description
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.recorder.allocated();
        let mut state = self.state();
        let address = state.address;
        // Sizes beyond any memory are counted too; addresses then overlap, which does no harm.
        state.address = state.address.wrapping_add(bytes as u64) / 256 * 256 + 256;
        Ok(address)
    }

    fn free(&self, _: u64) {}

    fn upload(&self, _: u64, bytes: &[u8]) -> Result<()> {
        self.recorder.uploaded(bytes.len());
        Ok(())
    }

    fn download(&self, _: u64, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        self.recorder.downloaded(bytes.len());
        Ok(())
    }

    fn fetch(&self, _: u64, bytes: usize) -> Result<Fetch> {
        let fetch = Fetch(self.handle() as u64);
        self.recorder.fetched(&fetch, bytes);
        Ok(fetch)
    }

    fn collect(&self, fetch: Fetch, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        self.recorder.collected(&fetch);
        Ok(())
    }

    fn copy(&self, _: u64, _: u64, _: usize) -> Result<()> {
        self.recorder.copied();
        Ok(())
    }

    fn fill(&self, _: u64, _: u8, _: usize) -> Result<()> {
        self.recorder.copied();
        Ok(())
    }

    fn function(&self, _: &'static Program, _: &'static str) -> Result<Function> {
        Ok(Function(self.handle()))
    }

    fn launch(&self, _: Function, launch: &Launch<'_>) -> Result<()> {
        self.recorder.launched(launch.kernel);
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        self.recorder.waited();
        Ok(())
    }

    fn unwritten(&self, _: u64, _: usize) -> Option<usize> {
        None
    }

    fn mark(&self) -> Result<Mark> {
        Ok(Mark(self.handle() as u64))
    }

    fn seconds(&self, _: Mark, _: Mark) -> Result<f64> {
        self.synchronize()?;
        Ok(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Device;

    #[test]
    fn what_is_asked_for_is_counted() -> Result<()> {
        let counting = Counting::default();
        let device = Device::counting(&counting);
        let block = device.upload(&[1.0f32; 100])?;
        let before = counting.counts();
        device.accumulate(block.pointer(), block.pointer(), 100)?;
        device.accumulate(block.pointer(), block.pointer(), 100)?;
        let mut numbers = [7.0f32; 100];
        device.download(block.pointer(), &mut numbers)?;
        let counts = counting.counts() - &before;
        assert_eq!((before.uploads, before.uploaded, before.fresh), (1, 400, 1));
        assert_eq!((counts.launches(), counts.kernels["accumulate"]), (2, 2));
        assert_eq!((counts.downloads, counts.downloaded, counts.waits), (1, 400, 1));
        assert_eq!((counts.uploads, counts.fresh, numbers[99]), (0, 0, 0.0));

        let before = counting.counts();
        let late = device.read(block.pointer(), 8)?;
        device.accumulate(block.pointer(), block.pointer(), 100)?;
        assert_eq!(late.wait()?, [0; 8]);
        assert_eq!((counting.counts() - &before).waits, 0);
        device.read(block.pointer(), 8)?.wait()?;
        let counts = counting.counts() - &before;
        assert_eq!((counts.downloads, counts.downloaded, counts.waits), (2, 16, 1));
        Ok(())
    }
}
