//! A device: a driver, what it has loaded, and its memory.

use super::memory::Memory;
use super::{Block, Description, Driver, Error, Function, Grid, Launch, Pointer, Program, Result, Simulation, Statistics};
use bytemuck::NoUninit;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A GPU to run ops on; clones are the same device.
#[derive(Debug, Clone)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    driver: Box<dyn Driver>,
    functions: Mutex<HashMap<&'static str, Function>>,
    memory: Memory,
}

impl Device {
    /// The GPU of this number.
    ///
    /// # Errors
    /// When there is none, or its driver is missing or too old.
    pub fn cuda(ordinal: usize) -> Result<Device> {
        Ok(Device::new(Box::new(super::cuda::Cuda::new(ordinal)?)))
    }

    /// A simulated GPU.
    pub fn simulated(simulation: Simulation) -> Device {
        Device::new(Box::new(super::Simulator::new(simulation)))
    }

    /// A device with this driver.
    pub fn new(driver: Box<dyn Driver>) -> Device {
        Device(Arc::new(Inner { driver, functions: Mutex::default(), memory: Memory::default() }))
    }

    /// What it is.
    pub fn description(&self) -> &Description {
        self.0.driver.description()
    }

    /// Whether both are one device.
    pub fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Its driver.
    pub fn driver(&self) -> &dyn Driver {
        &*self.0.driver
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// What its memory holds.
    pub fn statistics(&self) -> Statistics {
        self.0.memory.statistics()
    }

    /// Gives cached memory back.
    pub fn trim(&self) {
        self.0.memory.trim(self.driver());
    }

    /// Memory of unspecified content.
    ///
    /// # Errors
    /// When there is not so much.
    pub fn allocate(&self, bytes: usize) -> Result<Block> {
        self.0.memory.take(self, bytes)
    }

    /// Memory with a copy of these numbers.
    ///
    /// # Errors
    /// When there is not so much.
    pub fn upload<T: NoUninit>(&self, numbers: &[T]) -> Result<Block> {
        let bytes: &[u8] = bytemuck::cast_slice(numbers);
        let block = self.allocate(bytes.len())?;
        if !bytes.is_empty() {
            self.driver().upload(block.pointer().0, bytes)?;
        }
        Ok(block)
    }

    /// Copies numbers from the device.
    ///
    /// # Errors
    /// When work on them failed.
    pub fn download<T: bytemuck::Pod>(&self, from: Pointer, numbers: &mut [T]) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        self.driver().download(from.0, bytemuck::cast_slice_mut(numbers))
    }

    /// Launches a kernel; nothing where the grid is empty.
    ///
    /// # Errors
    /// When the grid is beyond a GPU's limits, or the driver refuses. Failures while it runs come later.
    pub fn launch(
        &self,
        program: &'static Program,
        kernel: &'static str,
        grid: Grid,
        arguments: &impl NoUninit,
    ) -> Result<()> {
        if grid.blocks.contains(&0) {
            return Ok(());
        }
        if let Some(what) = grid.complaint(self.description().shared_memory) {
            return Err(Error::Launch { kernel: kernel.to_owned(), what });
        }
        let function = self.function(program, kernel)?;
        let launch = Launch { kernel, grid, arguments: bytemuck::bytes_of(arguments) };
        self.driver().launch(function, &launch)
    }

    /// Finds out whether programs can be compiled and loaded at all, by trying one.
    ///
    /// # Errors
    /// When they cannot; the message says what to do.
    pub fn prepare(&self) -> Result<()> {
        let program = super::common::program();
        self.function(program, "accumulate").map(|_| ())
    }

    fn function(&self, program: &'static Program, kernel: &'static str) -> Result<Function> {
        let mut functions = self.0.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&function) = functions.get(kernel) {
            return Ok(function);
        }
        let function = self.driver().function(program, kernel)?;
        functions.insert(kernel, function);
        Ok(function)
    }
}
