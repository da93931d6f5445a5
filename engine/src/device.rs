//! Devices: where tensors are stored and ops run.

use crate::{Error, Result};
use kernels::gpu;
use std::fmt;

pub use kernels::gpu::{Counting, Counts, Simulation};

/// The CPU, a GPU, or a simulated GPU.
#[derive(Debug, Clone, Default)]
pub enum Device {
    /// The CPU: f32 and f64.
    #[default]
    Cpu,
    /// A GPU, real or simulated: f32.
    Gpu(gpu::Device),
}

impl Device {
    /// The NVIDIA GPU with this index.
    ///
    /// # Errors
    /// When there is none, or its driver is missing or too old; the message says what to do.
    pub fn cuda(ordinal: usize) -> Result<Device> {
        gpu::Device::cuda(ordinal).map(Device::Gpu).map_err(gpu_error)
    }

    /// A GPU simulated on the CPU: it runs the CUDA kernels, and can check every access.
    pub fn simulated(simulation: Simulation) -> Device {
        Device::Gpu(gpu::Device::simulated(simulation))
    }

    /// A GPU that executes nothing and counts launches, transfers and waits.
    pub fn counting(counting: &Counting) -> Device {
        Device::Gpu(gpu::Device::counting(counting))
    }

    /// Whether `other` is the same device.
    pub fn is(&self, other: &Device) -> bool {
        match (self, other) {
            (Device::Cpu, Device::Cpu) => true,
            (Device::Gpu(gpu), Device::Gpu(other)) => gpu.is(other),
            _ => false,
        }
    }

    /// Whether the backward pass recomputes cheap tensors instead of keeping them. On the CPU recomputation takes less
    /// time than page faults of the memory; on a GPU keeping is faster.
    pub(crate) fn recomputes(&self) -> bool {
        self.gpu().is_none_or(|gpu| gpu.description().recompute)
    }

    /// The GPU; `None` for the CPU.
    pub fn gpu(&self) -> Option<&gpu::Device> {
        match self {
            Device::Cpu => None,
            Device::Gpu(gpu) => Some(gpu),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("CPU"),
            Device::Gpu(gpu) => f.write_str(&gpu.description().name),
        }
    }
}

pub(crate) fn gpu_error(error: gpu::Error) -> Error {
    Error::Op(error.into())
}
