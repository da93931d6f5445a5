//! The memory of a tensor.

use crate::Result;
use crate::device::gpu_error;
use crate::pool;
use kernels::gpu::{self, Pointer};

/// A block of CPU or GPU memory, which returns to its pool when dropped.
#[derive(Debug)]
pub(super) enum Storage {
    Cpu(pool::Block),
    Gpu(gpu::Block),
}

impl Storage {
    pub(super) fn on_cpu(bytes: usize) -> Self {
        Storage::Cpu(pool::take(bytes))
    }

    pub(super) fn on_gpu(gpu: &gpu::Device, bytes: usize) -> Result<Self> {
        gpu.allocate(bytes).map(Storage::Gpu).map_err(gpu_error)
    }

    pub(super) fn gpu(&self) -> Option<&gpu::Device> {
        match self {
            Storage::Cpu(_) => None,
            Storage::Gpu(block) => Some(block.device()),
        }
    }

    /// The address on its GPU; null on the CPU.
    pub(super) fn pointer(&self) -> Pointer {
        match self {
            Storage::Cpu(_) => Pointer::NULL,
            Storage::Gpu(block) => block.pointer(),
        }
    }

    /// The block's bytes, at least the requested number; empty on a GPU.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Storage::Cpu(block) => block.bytes(),
            Storage::Gpu(_) => &[],
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Storage::Cpu(block) => block.bytes_mut(),
            Storage::Gpu(_) => &mut [],
        }
    }
}
