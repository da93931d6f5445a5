//! The driver, the GPUs and NVRTC of this machine.

use super::{Cuda, failed};
use crate::gpu::{Description, Driver, Error, Result, libraries, nvrtc};
use cudarc::driver::{DriverError, result, sys};

/// The oldest driver version that has every function used here: CUDA 12.8, driver 570.
const OLDEST_DRIVER: i32 = 12_080;

/// Initialises the driver; returns its CUDA version, major and minor.
fn start() -> Result<(i32, i32)> {
    libraries::driver()?;
    let mut version = 0;
    // SAFETY: the library is loaded; the address is valid.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(failed("cuDriverGetVersion"))?;
    let (major, minor) = (version / 1000, version % 1000 / 10);
    if version < OLDEST_DRIVER {
        return Err(Error::Unavailable {
            what: format!("the CUDA driver has version {major}.{minor}, expected 12.8 or newer"),
            hint: "update NVIDIA's driver to 570 or newer, or use the CPU".into(),
        });
    }
    match result::init() {
        // The driver works, but the machine has no GPU: `devices` is 0.
        Ok(()) | Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => Ok((major, minor)),
        Err(error) => Err(failed("cuInit")(error)),
    }
}

/// The number of GPUs of the driver.
pub(super) fn devices() -> Result<i32> {
    start()?;
    match result::device::get_count() {
        Err(DriverError(
            sys::CUresult::CUDA_ERROR_NO_DEVICE | sys::CUresult::CUDA_ERROR_NOT_INITIALIZED,
        )) => Ok(0),
        count => count.map_err(failed("cuDeviceGetCount")),
    }
}

pub(super) fn describe(device: sys::CUdevice) -> Result<Description> {
    use sys::CUdevice_attribute as Attribute;
    let attribute = |attribute: Attribute| {
        // SAFETY: the device is valid.
        let value = unsafe { result::device::get_attribute(device, attribute) };
        value.map(|value| value as u32).map_err(failed("cuDeviceGetAttribute"))
    };
    Ok(Description {
        name: result::device::get_name(device).map_err(failed("cuDeviceGetName"))?,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        // SAFETY: the device is valid.
        memory: unsafe { result::device::total_mem(device) }.map_err(failed("cuDeviceTotalMem"))?,
        shared_memory: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK)?
            as usize,
        simulated: false,
        recompute: false,
        without_pool: None,
    })
}

/// The CUDA software and the GPUs of this machine.
#[derive(Debug, Clone)]
pub struct Doctor {
    /// The driver's CUDA version, major and minor, or why it cannot be used.
    pub driver: Result<(i32, i32)>,
    /// Every GPU, or why it cannot be used.
    pub devices: Vec<Result<Description>>,
    /// NVRTC's version and path, or why there is no NVRTC.
    pub nvrtc: Result<((i32, i32), std::path::PathBuf)>,
}

/// Looks for the CUDA driver, GPUs and NVRTC. Never panics and never fails.
pub fn doctor() -> Doctor {
    let driver = start();
    let devices = match (&driver, devices()) {
        (Err(_), _) => Vec::new(),
        (Ok(_), Err(error)) => vec![Err(error)],
        (Ok(_), Ok(count)) => (0..count as usize)
            .map(|number| Cuda::new(number).map(|cuda| cuda.description().clone()))
            .collect(),
    };
    let nvrtc = nvrtc::version().map(|(version, path)| (version, path.to_owned()));
    Doctor { driver, devices, nvrtc }
}
