//! The CUDA driver, through cudarc: one stream, memory from the stream's pool, cubins for the GPU's own architecture.

use super::driver::{Description, Driver, Fetch, Function, Launch, Mark};
use super::{Error, Program, ProgramId, Result, libraries, nvrtc};
use cudarc::driver::{DriverError, result, sys};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The oldest driver version that has every function used here: CUDA 12.8, driver 570.
const OLDEST_DRIVER: i32 = 12_080;
/// The oldest compute capability the kernels are written for.
const OLDEST_CAPABILITY: (u32, u32) = (8, 0);

/// Sizes of pinned memory are multiples of this number of bytes.
const PAGE: usize = 4096;

/// A GPU of NVIDIA's driver.
#[derive(Debug)]
pub(super) struct Cuda {
    description: Description,
    context: sys::CUcontext,
    stream: sys::CUstream,
    /// See [`SYNC_VARIABLE`].
    sync: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    modules: HashMap<ProgramId, sys::CUmodule>,
    functions: Vec<sys::CUfunction>,
    marks: HashMap<u64, sys::CUevent>,
    fetches: HashMap<u64, (sys::CUevent, Pinned)>,
    /// Pinned memory that no fetch uses.
    pinned: Vec<Pinned>,
    next_handle: u64,
}

/// Pinned host memory, to which the GPU copies while the host continues.
#[derive(Debug)]
struct Pinned {
    start: *mut c_void,
    bytes: usize,
}

impl Pinned {
    fn new(bytes: usize) -> Result<Self> {
        // SAFETY: the caller has made a context current. Another context may use the memory too.
        let start = unsafe { result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_PORTABLE) }
            .map_err(failed("cuMemHostAlloc"))?;
        Ok(Pinned { start, bytes })
    }
}

impl State {
    /// A new unique number for a mark or fetch.
    fn handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }
}

// SAFETY: the driver's handles may be used from any thread; each call makes the context current first.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}

/// An error of the driver, from its code. Asks the driver for no text: the driver may be missing.
/// The environment variable that makes every launch wait for its end if it is 1: a failure then names its kernel.
const SYNC_VARIABLE: &str = "MPUC_CUDA_SYNC";

/// The error of a launch that was waited for.
fn fault(launch: &Launch<'_>, error: &Error) -> Error {
    let ([bx, by, bz], [tx, ty, tz]) = (launch.grid.blocks, launch.grid.threads);
    // Extents and addresses, as the kernel's struct holds them.
    let words: Vec<String> = launch
        .arguments
        .chunks(4)
        .map(|word| word.iter().rev().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let what = format!(
        "{error}; launched with {bx} x {by} x {bz} blocks of {tx} x {ty} x {tz} threads, {} bytes of shared memory, \
         arguments {}",
        launch.grid.shared,
        words.join(" ")
    );
    Error::Launch { kernel: launch.kernel.into(), what }
}

fn failed(call: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| Error::Driver { call, code: error.0 as u32 }
}

impl Cuda {
    pub(super) fn new(ordinal: usize) -> Result<Self> {
        let count = devices()?;
        let unavailable = |what: String, hint: &str| Error::Unavailable { what, hint: hint.into() };
        let Some(number) = i32::try_from(ordinal).ok().filter(|&n| n < count) else {
            let what = format!("no GPU {ordinal}: the driver has {count} GPU(s), numbered from 0");
            return Err(unavailable(
                what,
                "choose another number, check CUDA_VISIBLE_DEVICES, or use the CPU",
            ));
        };
        let device = result::device::get(number).map_err(failed("cuDeviceGet"))?;
        let description = describe(device)?;
        if description.capability < OLDEST_CAPABILITY {
            let (major, minor) = description.capability;
            let what = format!(
                "{} has compute capability {major}.{minor}; the kernels need 8.0 or newer",
                description.name
            );
            return Err(unavailable(
                what,
                "use an Ampere GPU (A100, RTX 30) or a newer one, or use the CPU",
            ));
        }
        // SAFETY: the device is valid. The context is kept until the process ends.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(failed("cuDevicePrimaryCtxRetain"))?;
        // SAFETY: just retained.
        unsafe { result::ctx::set_current(context) }.map_err(failed("cuCtxSetCurrent"))?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(failed("cuStreamCreate"))?;
        keep_memory(device)?;
        let sync = std::env::var_os(SYNC_VARIABLE).is_some_and(|value| value == "1");
        Ok(Cuda { description, context, stream, sync, state: Mutex::default() })
    }

    /// Makes this GPU's context current on the calling thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context is kept until the process ends.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("cuCtxSetCurrent"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads a program: a cubin for this very GPU if NVRTC can make one, otherwise the committed PTX, which the driver
    /// compiles.
    fn load(&self, program: &'static Program) -> Result<sys::CUmodule> {
        let load = |image: &[u8]| {
            // SAFETY: the image is an ELF file or PTX that ends with a zero byte, and is valid until the call returns.
            unsafe { result::module::load_data(image.as_ptr().cast()) }
                .map_err(failed("cuModuleLoadData"))
        };
        let cubin = || load(&nvrtc::cubin(program, self.description.capability)?);
        let own = cubin().or_else(|error| match error {
            // A cubin that NVRTC cached may be damaged.
            Error::Driver { .. } => {
                nvrtc::forget(program);
                cubin()
            }
            error => Err(error),
        });
        // NVRTC may be missing, or older than the GPU.
        own.or_else(|error| load(format!("{}\0", program.committed().ok_or(error)?).as_bytes()))
    }
}

impl Driver for Cuda {
    fn description(&self) -> &Description {
        &self.description
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.enter()?;
        // SAFETY: this value owns the stream.
        unsafe { result::malloc_async(self.stream, bytes) }.map_err(failed("cuMemAllocAsync"))
    }

    fn free(&self, address: u64) {
        if self.enter().is_ok() {
            // SAFETY: allocated by `malloc_async`, freed once. A later call reports a failure again.
            let _ = unsafe { result::free_async(address, self.stream) };
        }
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        // SAFETY: pageable memory is copied before the call returns, so `bytes` may be freed afterwards.
        unsafe { result::memcpy_htod_async(to, bytes, self.stream) }
            .map_err(failed("cuMemcpyHtoDAsync"))
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        // SAFETY: `bytes` stays borrowed until the stream is synchronised.
        unsafe { result::memcpy_dtoh_async(bytes, from, self.stream) }
            .map_err(failed("cuMemcpyDtoHAsync"))?;
        self.synchronize()
    }

    fn fetch(&self, from: u64, bytes: usize) -> Result<Fetch> {
        self.enter()?;
        let mut state = self.state();
        let fits = state.pinned.iter().position(|pinned| pinned.bytes >= bytes);
        let pinned = match fits {
            Some(place) => state.pinned.swap_remove(place),
            None => Pinned::new(bytes.next_multiple_of(PAGE))?,
        };
        // SAFETY: at least `bytes` long, owned by this value, and not read before the event below is reached.
        let to = unsafe { std::slice::from_raw_parts_mut(pinned.start.cast::<u8>(), bytes) };
        // SAFETY: the driver rejects a `from` that is no device address; the memory is kept until the event is reached.
        unsafe { result::memcpy_dtoh_async(to, from, self.stream) }
            .map_err(failed("cuMemcpyDtoHAsync"))?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
            .map_err(failed("cuEventCreate"))?;
        // SAFETY: this value owns both.
        unsafe { result::event::record(event, self.stream) }.map_err(failed("cuEventRecord"))?;
        let number = state.handle();
        state.fetches.insert(number, (event, pinned));
        Ok(Fetch(number))
    }

    fn collect(&self, fetch: Fetch, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        let taken = self.state().fetches.remove(&fetch.0);
        let Some((event, pinned)) = taken else { return Ok(()) };
        // SAFETY: created by `fetch`, and destroyed below.
        let waited =
            unsafe { result::event::synchronize(event) }.map_err(failed("cuEventSynchronize"));
        // SAFETY: taken out of the state, so destroyed once; a failure changes nothing.
        let _ = unsafe { result::event::destroy(event) };
        // After a failure the copy may still be running: the memory is never reused.
        waited?;
        let length = bytes.len().min(pinned.bytes);
        // SAFETY: `length` bytes are initialised: the event follows the copy that wrote them.
        let from = unsafe { std::slice::from_raw_parts(pinned.start.cast::<u8>(), length) };
        bytes[..length].copy_from_slice(from);
        self.state().pinned.push(pinned);
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: both are device addresses; the driver rejects others.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(failed("cuMemcpyDtoDAsync"))
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: as in `copy`.
        unsafe { result::memset_d8_async(to, byte, bytes, self.stream) }
            .map_err(failed("cuMemsetD8Async"))
    }

    fn function(&self, program: &'static Program, kernel: &'static str) -> Result<Function> {
        self.enter()?;
        let mut state = self.state();
        let module = match state.modules.get(&program.id()) {
            Some(&module) => module,
            None => {
                let module = self.load(program)?;
                state.modules.insert(program.id(), module);
                module
            }
        };
        let name = CString::new(kernel).unwrap_or_default();
        // SAFETY: the module stays loaded until the process ends.
        let function = unsafe { result::module::get_function(module, name) }
            .map_err(failed("cuModuleGetFunction"))?;
        state.functions.push(function);
        Ok(Function(state.functions.len() - 1))
    }

    fn launch(&self, function: Function, launch: &Launch<'_>) -> Result<()> {
        self.enter()?;
        let handle = self.state().functions[function.0];
        let ([bx, by, bz], [tx, ty, tz]) = (launch.grid.blocks, launch.grid.threads);
        let mut parameters = [launch.arguments.as_ptr().cast_mut().cast::<c_void>()];
        let shared = launch.grid.shared;
        // SAFETY: the kernel takes one struct by value, which the driver copies before the call returns. The simulator
        // checks on every case that its size is the kernel's.
        unsafe {
            result::launch_kernel(
                handle,
                (bx, by, bz),
                (tx, ty, tz),
                shared,
                self.stream,
                &mut parameters,
            )
        }
        .map_err(failed("cuLaunchKernel"))?;
        if self.sync { self.synchronize().map_err(|error| fault(launch, &error)) } else { Ok(()) }
    }

    fn synchronize(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: this value owns the stream.
        unsafe { result::stream::synchronize(self.stream) }.map_err(failed("cuStreamSynchronize"))
    }

    fn unwritten(&self, _: u64, _: usize) -> Option<usize> {
        None
    }

    fn mark(&self) -> Result<Mark> {
        self.enter()?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)
            .map_err(failed("cuEventCreate"))?;
        // SAFETY: this value owns both.
        unsafe { result::event::record(event, self.stream) }.map_err(failed("cuEventRecord"))?;
        let mut state = self.state();
        let number = state.handle();
        state.marks.insert(number, event);
        Ok(Mark(number))
    }

    fn seconds(&self, from: Mark, to: Mark) -> Result<f64> {
        self.enter()?;
        // cudarc panics at a call of a function that the library lacks; only this one is not needed by tensors.
        if !libraries::driver_has("cuEventElapsedTime_v2") {
            return Err(Error::Unavailable {
                what: "the driver has no cuEventElapsedTime_v2, so it cannot measure time".into(),
                hint: "update NVIDIA's driver".into(),
            });
        }
        let taken = {
            let mut state = self.state();
            [from, to].map(|mark| state.marks.remove(&mark.0))
        };
        let [Some(from), Some(to)] = taken else { return Ok(f64::NAN) };
        // SAFETY: both were created by `mark` and are destroyed below.
        let waited =
            unsafe { result::event::synchronize(to) }.map_err(failed("cuEventSynchronize"));
        // SAFETY: as above.
        let elapsed =
            unsafe { result::event::elapsed(from, to) }.map_err(failed("cuEventElapsedTime"));
        for event in [from, to] {
            // SAFETY: taken out of the state, so destroyed once; a failure changes nothing.
            let _ = unsafe { result::event::destroy(event) };
        }
        waited.and(elapsed).map(|milliseconds| f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // Running copies write to pinned memory: free it only after they are done.
        let done = self.synchronize().is_ok();
        if self.enter().is_ok() {
            let mut state = self.state();
            let fetches = std::mem::take(&mut state.fetches);
            let (events, pinned): (Vec<_>, Vec<_>) = fetches.into_values().unzip();
            for event in state.marks.drain().map(|(_, event)| event).chain(events) {
                // SAFETY: created by `mark` or `fetch` and destroyed once; a failure changes nothing.
                let _ = unsafe { result::event::destroy(event) };
            }
            for pinned in state.pinned.drain(..).chain(pinned).filter(|_| done) {
                // SAFETY: allocated by `malloc_host`, freed once, and no copy writes to it now.
                let _ = unsafe { result::free_host(pinned.start) };
            }
            drop(state);
            // SAFETY: as above.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
    }
}

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
fn devices() -> Result<i32> {
    start()?;
    match result::device::get_count() {
        Err(DriverError(
            sys::CUresult::CUDA_ERROR_NO_DEVICE | sys::CUresult::CUDA_ERROR_NOT_INITIALIZED,
        )) => Ok(0),
        count => count.map_err(failed("cuDeviceGetCount")),
    }
}

fn describe(device: sys::CUdevice) -> Result<Description> {
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
    })
}

/// Sets the memory pool to keep freed memory instead of releasing it at every synchronisation.
fn keep_memory(device: sys::CUdevice) -> Result<()> {
    // SAFETY: the device is valid.
    let pool = unsafe { result::device::get_default_mem_pool(device) }
        .map_err(failed("cuDeviceGetDefaultMemPool"))?;
    let mut all = u64::MAX;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a u64, which the driver copies.
    unsafe { result::mem_pool::set_attribute(pool, threshold, (&raw mut all).cast()) }
        .map_err(failed("cuMemPoolSetAttribute"))
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
            .map(|number| Cuda::new(number).map(|cuda| cuda.description.clone()))
            .collect(),
    };
    let nvrtc = nvrtc::version().map(|(version, path)| (version, path.to_owned()));
    Doctor { driver, devices, nvrtc }
}
