//! A device: a driver, what it has loaded, and its memory.

use super::memory::Memory;
use super::{
    Block, Description, Driver, Error, Function, Grid, Launch, Pointer, Program, ProgramId, Result,
    Simulation, Statistics,
};
use bytemuck::NoUninit;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A GPU to run ops on; clones are the same device.
#[derive(Debug, Clone)]
pub struct Device(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    driver: Box<dyn Driver>,
    /// By program and kernel: two programs may have kernels of the same name.
    functions: Mutex<HashMap<(ProgramId, &'static str), Function>>,
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

    /// A GPU that executes nothing; `counting` says what it was asked for.
    pub fn counting(counting: &super::Counting) -> Device {
        Device::new(Box::new(counting.clone()))
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

    /// A program whose one kernel writes a number to the address it is given, by thread 0 alone.
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
