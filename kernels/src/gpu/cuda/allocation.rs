//! Where a GPU's memory comes from: the stream's pool, or plain allocations on a GPU without pools (some vGPUs, MIG and
//! WSL).

use super::failed;
use crate::gpu::Result;
use cudarc::driver::{result, sys};

/// The source of a GPU's memory.
#[derive(Debug)]
pub(super) enum Source {
    /// The pool of the stream: memory is allocated and freed in the order of the stream's work.
    Pool(sys::CUmemoryPool),
    /// `cuMemAlloc` and `cuMemFree`, for this reason. Memory is freed after a wait for all work.
    Plain(String),
}

impl Source {
    /// The device's pool if it has one that works.
    pub(super) fn of(device: sys::CUdevice) -> Source {
        let supported = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
        // SAFETY: the device is valid.
        match unsafe { result::device::get_attribute(device, supported) } {
            Ok(0) => return Source::Plain("the GPU does not support them".into()),
            Ok(_) => {}
            Err(error) => return Source::Plain(failed("cuDeviceGetAttribute")(error).to_string()),
        }
        keeping(device).map_or_else(|error| Source::Plain(error.to_string()), Source::Pool)
    }

    /// Why the memory does not come from a pool.
    pub(super) fn without_pool(&self) -> Option<&str> {
        match self {
            Source::Pool(_) => None,
            Source::Plain(reason) => Some(reason),
        }
    }

    /// Allocates memory. Needs a current context.
    pub(super) fn allocate(&self, bytes: usize, stream: sys::CUstream) -> Result<u64> {
        match self {
            Source::Pool(_) => {
                // SAFETY: the caller owns the stream.
                let made = unsafe { result::malloc_async(stream, bytes) };
                made.map_err(failed("cuMemAllocAsync"))
            }
            Source::Plain(_) => {
                // SAFETY: a context is current.
                let made = unsafe { result::malloc_sync(bytes) };
                made.map_err(failed("cuMemAlloc"))
            }
        }
    }

    /// Frees memory after the stream's work so far. A failure is reported by a later call.
    pub(super) fn free(&self, address: u64, stream: sys::CUstream) {
        match self {
            Source::Pool(_) => {
                // SAFETY: allocated by `malloc_async` and freed once.
                let _ = unsafe { result::free_async(address, stream) };
            }
            Source::Plain(_) => {
                // SAFETY: the caller owns the stream. `cuMemFree` need not wait for other streams than the default one.
                if unsafe { result::stream::synchronize(stream) }.is_ok() {
                    // SAFETY: allocated by `malloc_sync`, freed once, and no work uses it now.
                    let _ = unsafe { result::free_sync(address) };
                }
            }
        }
    }

    /// Returns freed memory to the GPU, for other processes and for blocks of another size. All work must be done.
    pub(super) fn trim(&self) -> Result<()> {
        match self {
            Source::Pool(pool) => {
                // SAFETY: the device's own pool, which lives as long as the process.
                let trimmed = unsafe { result::mem_pool::trim_to(*pool, 0) };
                trimmed.map_err(failed("cuMemPoolTrimTo"))
            }
            Source::Plain(_) => Ok(()),
        }
    }
}

/// The device's pool, set to keep freed memory instead of releasing it at every synchronisation.
fn keeping(device: sys::CUdevice) -> Result<sys::CUmemoryPool> {
    // SAFETY: the device is valid.
    let pool = unsafe { result::device::get_default_mem_pool(device) }
        .map_err(failed("cuDeviceGetDefaultMemPool"))?;
    let mut all = u64::MAX;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a u64, which the driver copies.
    unsafe { result::mem_pool::set_attribute(pool, threshold, (&raw mut all).cast()) }
        .map_err(failed("cuMemPoolSetAttribute"))?;
    Ok(pool)
}
