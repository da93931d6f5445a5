//! A device's memory: free lists by size, so that a repeated training step allocates nothing.
//!
//! The lowest free address of a size is used first, whatever the order in which blocks were freed. A repeated step
//! then gets the same addresses, and tables of addresses need no new upload.

use super::{Device, Driver, Pointer, Result};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The use of a device's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes in use by blocks.
    pub in_use: usize,
    /// The most bytes in use at once so far.
    pub peak: usize,
    /// Bytes on the free lists.
    pub cached: usize,
    /// Blocks that the driver allocated so far.
    pub fresh: u64,
}

/// The free lists. A simulated device has none: each block is one allocation of the requested size, so that the
/// simulator finds every access out of bounds.
#[derive(Debug, Default)]
pub(super) struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: HashMap<usize, BTreeSet<u64>>,
    statistics: Statistics,
}

/// A block of a device's memory, freed when dropped. It may be dropped while launched work still uses it, since the
/// device reuses it only for later work.
#[derive(Debug)]
pub struct Block {
    device: Device,
    address: u64,
    size: usize,
}

impl Block {
    /// The address of the first byte.
    pub fn pointer(&self) -> Pointer {
        Pointer(self.address)
    }

    /// The block's device.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.device.memory().give_back(self.device.driver(), self.address, self.size);
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn statistics(&self) -> Statistics {
        self.lock().statistics
    }

    pub(super) fn reset_peak(&self) {
        let statistics = &mut self.lock().statistics;
        statistics.peak = statistics.in_use;
    }

    pub(super) fn take(&self, device: &Device, bytes: usize) -> Result<Block> {
        let driver = device.driver();
        let exact = driver.description().simulated;
        let size = if exact { bytes.max(1) } else { class(bytes) };
        let mut state = self.lock();
        let recycled = state.free.get_mut(&size).and_then(BTreeSet::pop_first);
        let address = match recycled {
            Some(address) => {
                state.statistics.cached -= size;
                address
            }
            None => {
                state.statistics.fresh += 1;
                driver
                    .allocate(size)
                    .or_else(|_| {
                        // What launched work still uses is free after it, and then goes to blocks of every size.
                        state.give_up(driver);
                        driver.trim()?;
                        driver.allocate(size)
                    })
                    .map_err(|error| state.explain(driver, size, error))?
            }
        };
        state.statistics.in_use += size;
        state.statistics.peak = state.statistics.peak.max(state.statistics.in_use);
        Ok(Block { device: device.clone(), address, size })
    }

    fn give_back(&self, driver: &dyn Driver, address: u64, size: usize) {
        let mut state = self.lock();
        state.statistics.in_use -= size;
        if driver.description().simulated {
            driver.free(address);
        } else {
            state.statistics.cached += size;
            state.free.entry(size).or_default().insert(address);
        }
    }

    /// Waits for all work, and returns all cached memory to the device.
    ///
    /// # Errors
    /// When earlier work failed.
    pub(super) fn trim(&self, driver: &dyn Driver) -> Result<()> {
        self.lock().give_up(driver);
        driver.trim()
    }
}

impl State {
    /// Frees the cached blocks.
    fn give_up(&mut self, driver: &dyn Driver) {
        self.free
            .drain()
            .flat_map(|(_, addresses)| addresses)
            .for_each(|address| driver.free(address));
        self.statistics.cached = 0;
    }

    /// Adds the bytes in use to an error that memory is out.
    fn explain(&self, driver: &dyn Driver, asked: usize, error: super::Error) -> super::Error {
        match error {
            super::Error::Driver { code: 2, .. } => super::Error::Memory {
                device: driver.description().name.clone(),
                asked,
                in_use: self.statistics.in_use,
            },
            other => other,
        }
    }
}

/// The size of the block that holds `bytes`: 4, 5, 6 or 7 quarters of a power of two, 512 bytes or more.
fn class(bytes: usize) -> usize {
    let bytes = bytes.max(512);
    bytes.next_multiple_of(1 << (bytes.ilog2() - 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::driver::{Description, Fetch, Function, Launch, Mark};
    use crate::gpu::{Error, Program};
    use std::sync::Arc;

    /// A driver that allocates up to a number of bytes and does nothing else. Freed memory serves only after a trim.
    #[derive(Debug)]
    struct Room {
        description: Description,
        state: Arc<Mutex<Bytes>>,
    }

    #[derive(Debug, Default)]
    struct Bytes {
        free: usize,
        freed: usize,
        sizes: HashMap<u64, usize>,
    }

    fn device(room: usize) -> (Device, Arc<Mutex<Bytes>>) {
        let description = Description {
            name: "room".into(),
            capability: (8, 0),
            multiprocessors: 1,
            memory: room,
            shared_memory: 0,
            simulated: false,
            recompute: false,
            without_pool: None,
        };
        let state = Arc::new(Mutex::new(Bytes { free: room, ..Bytes::default() }));
        (Device::new(Box::new(Room { description, state: state.clone() })), state)
    }

    impl Driver for Room {
        fn description(&self) -> &Description {
            &self.description
        }
        fn allocate(&self, bytes: usize) -> Result<u64> {
            let mut state = self.state.lock().unwrap();
            if bytes > state.free {
                return Err(Error::Driver { call: "allocate", code: 2 });
            }
            state.free -= bytes;
            let address = 4096 * (state.sizes.len() as u64 + 1);
            state.sizes.insert(address, bytes);
            Ok(address)
        }
        fn free(&self, address: u64) {
            let mut state = self.state.lock().unwrap();
            state.freed += state.sizes[&address];
        }
        fn trim(&self) -> Result<()> {
            let mut state = self.state.lock().unwrap();
            state.free += std::mem::take(&mut state.freed);
            Ok(())
        }
        fn upload(&self, _: u64, _: &[u8]) -> Result<()> {
            Ok(())
        }
        fn download(&self, _: u64, _: &mut [u8]) -> Result<()> {
            Ok(())
        }
        fn fetch(&self, _: u64, _: usize) -> Result<Fetch> {
            Ok(Fetch(0))
        }
        fn collect(&self, _: Fetch, _: &mut [u8]) -> Result<()> {
            Ok(())
        }
        fn copy(&self, _: u64, _: u64, _: usize) -> Result<()> {
            Ok(())
        }
        fn fill(&self, _: u64, _: u8, _: usize) -> Result<()> {
            Ok(())
        }
        fn function(&self, _: &'static Program, _: &'static str) -> Result<Function> {
            Ok(Function(0))
        }
        fn launch(&self, _: Function, _: &Launch<'_>) -> Result<()> {
            Ok(())
        }
        fn synchronize(&self) -> Result<()> {
            Ok(())
        }
        fn unwritten(&self, _: u64, _: usize) -> Option<usize> {
            None
        }
        fn mark(&self) -> Result<Mark> {
            Ok(Mark(0))
        }
        fn seconds(&self, _: Mark, _: Mark) -> Result<f64> {
            Ok(0.0)
        }
    }

    #[test]
    fn classes_hold_what_they_are_for() {
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 12_345_678_901]) {
            let size = class(bytes);
            assert!(
                size >= bytes && (size <= bytes + bytes / 4 + 1 || size == 512),
                "{bytes} {size}"
            );
            assert_eq!(class(size), size);
        }
    }

    #[test]
    fn blocks_are_used_again_and_given_back_when_room_is_short() {
        let (device, _) = device(4096);
        let first = device.allocate(1000).unwrap();
        let address = first.pointer();
        drop(first);
        let again = device.allocate(900).unwrap();
        assert_eq!(again.pointer(), address, "1000 and 900 bytes have one size class");
        assert_eq!(device.statistics().fresh, 1);
        drop(again);
        // 1024 cached and 3072 free: enough after the cache is returned.
        let large = device.allocate(4000).unwrap();
        assert_eq!((device.statistics().cached, device.statistics().in_use), (0, 4096));
        let error = device.allocate(1).unwrap_err().to_string();
        assert!(error.contains("512 bytes requested, 4096 in use"), "{error}");
        drop(large);
        assert_eq!(device.statistics().peak, 4096);
        device.reset_peak();
        assert_eq!(device.statistics().peak, 0);
    }
    #[test]
    fn the_last_user_of_a_device_gives_its_memory_back() {
        let (device, bytes) = device(4096);
        let (kept, cached) = (device.allocate(1000).unwrap(), device.allocate(1000).unwrap());
        drop(cached);
        drop(device);
        assert_eq!(bytes.lock().unwrap().free, 2048, "a block keeps its device");
        drop(kept);
        assert_eq!(bytes.lock().unwrap().free, 4096);
    }
}
