//! A device: a driver, its loaded kernels, and its memory.

use super::memory::Memory;
use super::trace::{Trace, Traced};
use super::{
    Block, Description, Driver, Error, Function, Grid, Launch, Pointer, Program, ProgramId, Result,
    Simulation, Statistics,
};
use bytemuck::NoUninit;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A GPU that runs ops. Clones are the same device.
#[derive(Debug, Clone)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    driver: Traced,
    /// By program and kernel, since kernels of two programs may have the same name.
    functions: Mutex<HashMap<(ProgramId, &'static str), Function>>,
    memory: Memory,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure of earlier work.
        let _ = self.memory.trim(&self.driver);
    }
}

impl Device {
    /// The GPU of this number, from 0.
    ///
    /// # Errors
    /// When there is no such GPU, or the driver is missing or too old.
    pub fn cuda(ordinal: usize) -> Result<Device> {
        Ok(Device::new(Box::new(super::cuda::Cuda::new(ordinal)?)))
    }

    /// A simulated GPU.
    pub fn simulated(simulation: Simulation) -> Device {
        Device::new(Box::new(super::Simulator::new(simulation)))
    }

    /// A GPU that executes nothing; `counting` counts its calls.
    pub fn counting(counting: &super::Counting) -> Device {
        Device::new(Box::new(counting.clone()))
    }

    /// A device with this driver.
    pub fn new(driver: Box<dyn Driver>) -> Device {
        let driver = Traced::new(driver);
        Device(Arc::new(Inner { driver, functions: Mutex::default(), memory: Memory::default() }))
    }

    /// The device's name and limits.
    pub fn description(&self) -> &Description {
        self.0.driver.description()
    }

    /// Whether `other` is the same device.
    pub fn is(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The device's driver.
    pub fn driver(&self) -> &dyn Driver {
        &self.0.driver
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// The use of the device's memory.
    pub fn statistics(&self) -> Statistics {
        self.0.memory.statistics()
    }

    /// Makes the bytes in use now the peak of [`statistics`](Self::statistics).
    pub fn reset_peak(&self) {
        self.0.memory.reset_peak();
    }

    /// Starts to record what the device is asked for; what was recorded before is dropped.
    pub fn trace(&self) {
        self.0.driver.start();
    }

    /// Ends the record that [`trace`](Self::trace) has started, and waits for the work in it.
    ///
    /// # Errors
    /// When that work failed.
    pub fn traced(&self) -> Result<Trace> {
        self.0.driver.end()
    }

    /// Runs `work` and waits for what it launches; returns its result and the seconds of device time.
    ///
    /// # Errors
    /// The error of `work`, or of what it launched.
    pub fn time<T, E: From<super::Error>>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<(T, f64), E> {
        let from = self.driver().mark()?;
        let result = work();
        // Both marks are read even after a failure: a mark that is not read stays in the driver.
        let seconds = self.driver().mark().and_then(|to| self.driver().seconds(from, to));
        Ok((result?, seconds?))
    }

    /// Waits for all work, and returns cached memory to the GPU, for other processes.
    ///
    /// # Errors
    /// When earlier work failed.
    pub fn trim(&self) -> Result<()> {
        self.0.memory.trim(self.driver())
    }

    /// Memory of `bytes` bytes, uninitialised.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn allocate(&self, bytes: usize) -> Result<Block> {
        self.0.memory.take(self, bytes)
    }

    /// Memory that holds a copy of these numbers.
    ///
    /// # Errors
    /// When the device is out of memory.
    pub fn upload<T: NoUninit>(&self, numbers: &[T]) -> Result<Block> {
        let bytes: &[u8] = bytemuck::cast_slice(numbers);
        let block = self.allocate(bytes.len())?;
        if !bytes.is_empty() {
            self.driver().upload(block.pointer().0, bytes)?;
        }
        Ok(block)
    }

    /// Copies numbers from the device, and waits for the copy.
    ///
    /// # Errors
    /// When earlier work on the device failed.
    pub fn download<T: bytemuck::Pod>(&self, from: Pointer, numbers: &mut [T]) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        self.driver().download(from.0, bytemuck::cast_slice_mut(numbers))
    }

    /// Launches a kernel. Does nothing if the grid is empty.
    ///
    /// # Errors
    /// When the grid exceeds a GPU's limits, or the driver rejects the launch. A later call reports failures of a run.
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

    /// Compiles and loads every program, on all cores: a step would load them one by one. Calls `done` with the number of
    /// programs loaded so far, out of [`programs`](super::programs).
    ///
    /// # Errors
    /// When a program cannot be loaded; the message says what to do.
    pub fn prepare(&self, done: &(dyn Fn(usize) + Sync)) -> Result<()> {
        self.driver().prepare(&super::programs(), done)?;
        let program = super::common::program();
        self.function(program, "accumulate").map(|_| ())
    }

    fn function(&self, program: &'static Program, kernel: &'static str) -> Result<Function> {
        let mut functions = self.0.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&function) = functions.get(&(program.id(), kernel)) {
            return Ok(function);
        }
        let function = self.driver().function(program, kernel)?;
        functions.insert((program.id(), kernel), function);
        Ok(function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::Part;

    /// A program with one kernel, whose thread 0 writes a number to an address.
    fn writing(variant: &'static str, part: &'static Part, number: u32) -> &'static Program {
        let parts = std::slice::from_ref(part);
        let key = Program::new("test", parts, "").key();
        let ptx = format!(
            "// source {key}\n.version 7.0\n.target sm_80\n.address_size 64\n\
             .visible .entry write(\n.param .u64 write_param_0\n)\n{{\n\
             .reg .pred %p<2>;\n.reg .b32 %r<3>;\n.reg .b64 %rd<3>;\n\
             mov.u32 %r2, %tid.x;\nsetp.ne.u32 %p1, %r2, 0;\n@%p1 ret;\n\
             ld.param.u64 %rd1, [write_param_0];\ncvta.to.global.u64 %rd2, %rd1;\n\
             mov.u32 %r1, {number};\nst.global.u32 [%rd2], %r1;\nret;\n}}\n"
        );
        Box::leak(Box::new(Program::new("test", parts, ptx.leak()).variant(variant)))
    }

    #[test]
    fn variants_of_a_program_have_their_own_kernels() {
        static PART: Part = Part { file: "test.cu", text: "" };
        let device = Device::simulated(Simulation::CHECKED);
        let block = device.allocate(4).unwrap();
        for (variant, number) in [("f32", 1), ("bf16", 2), ("f32", 1)] {
            let program = writing(variant, &PART, number);
            let mut found = [0u32];
            device.launch(program, "write", Grid::blocks(1), &block.pointer()).unwrap();
            device.download(block.pointer(), &mut found).unwrap();
            assert_eq!(found, [number], "{variant}");
        }
    }
}
