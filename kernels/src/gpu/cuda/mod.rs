//! The CUDA driver, through cudarc: one stream, memory from its pool, uploads through pinned memory, cubins for the GPU's
//! own architecture.

mod allocation;
mod find;
mod staging;

pub use find::{Doctor, doctor};

use super::driver::{Description, Driver, Fetch, Function, Launch, Mark};
use super::{Error, Program, ProgramId, Result, libraries, nvrtc};
use allocation::Source;
use cudarc::driver::{DriverError, result, sys};
use rayon::prelude::*;
use staging::{Engine as _, Event, Pinned, Ring, Stream};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    source: Source,
    /// See [`SYNC_VARIABLE`].
    sync: bool,
    ring: Mutex<Ring<Stream>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    modules: HashMap<ProgramId, sys::CUmodule>,
    functions: Vec<sys::CUfunction>,
    marks: HashMap<u64, sys::CUevent>,
    fetches: HashMap<u64, Fetched>,
    /// Pinned memory that no fetch uses.
    pinned: Vec<Pinned>,
    next_handle: u64,
}

/// The bytes of a fetch.
#[derive(Debug)]
enum Fetched {
    /// They are in pinned memory after the event.
    Later(Event, Pinned),
    /// They were copied at once, without pinned memory.
    Now(Vec<u8>),
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

/// An error of the driver, from its code. Asks the driver for no text: the driver may be missing.
fn failed(call: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| Error::Driver { call, code: error.0 as u32 }
}

impl Cuda {
    pub(super) fn new(ordinal: usize) -> Result<Self> {
        let count = find::devices()?;
        let unavailable = |what: String, hint: &str| Error::Unavailable { what, hint: hint.into() };
        let Some(number) = i32::try_from(ordinal).ok().filter(|&n| n < count) else {
            let what = format!("no GPU {ordinal}: the driver has {count} GPU(s), numbered from 0");
            return Err(unavailable(
                what,
                "choose another number, check CUDA_VISIBLE_DEVICES, or use the CPU",
            ));
        };
        let device = result::device::get(number).map_err(failed("cuDeviceGet"))?;
        let mut description = find::describe(device)?;
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
        let source = Source::of(device);
        description.without_pool = source.without_pool().map(str::to_owned);
        let sync = std::env::var_os(SYNC_VARIABLE).is_some_and(|value| value == "1");
        let (ring, state) = (Mutex::default(), Mutex::default());
        Ok(Cuda { description, context, stream, source, sync, ring, state })
    }

    /// Makes this GPU's context current on the calling thread.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context is kept until the process ends.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("cuCtxSetCurrent"))
    }

    fn ring(&self) -> MutexGuard<'_, Ring<Stream>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn prepare(&self, programs: &[&'static Program], done: &(dyn Fn(usize) + Sync)) -> Result<()> {
        let loaded = AtomicUsize::new(0);
        programs.par_iter().with_max_len(1).try_for_each(|program| {
            if !self.state().modules.contains_key(&program.id()) {
                self.enter()?;
                let module = self.load(program)?;
                self.state().modules.insert(program.id(), module);
            }
            done(1 + loaded.fetch_add(1, Ordering::Relaxed));
            Ok(())
        })
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.enter()?;
        self.source.allocate(bytes, self.stream)
    }

    fn free(&self, address: u64) {
        if self.enter().is_ok() {
            self.source.free(address, self.stream);
        }
    }

    fn trim(&self) -> Result<()> {
        self.synchronize()?;
        self.source.trim()
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        if self.ring().upload(&Stream(self.stream), to, bytes)? {
            return Ok(());
        }
        // SAFETY: `bytes` stays borrowed until the stream is synchronised.
        unsafe { result::memcpy_htod_async(to, bytes, self.stream) }
            .map_err(failed("cuMemcpyHtoDAsync"))?;
        self.synchronize()
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
        let fits = state.pinned.iter().position(|pinned| pinned.bytes() >= bytes);
        let pinned = match fits {
            Some(place) => Some(state.pinned.swap_remove(place)),
            None => Pinned::new(bytes.next_multiple_of(PAGE)).ok(),
        };
        let fetched = match pinned {
            Some(mut pinned) => {
                // SAFETY: no fetch uses it, and `collect` reads it after the event below.
                let to = unsafe { pinned.part(0, bytes) };
                // SAFETY: the driver rejects a `from` that is no device address; the memory is kept until the event is
                // reached.
                unsafe { result::memcpy_dtoh_async(to, from, self.stream) }
                    .map_err(failed("cuMemcpyDtoHAsync"))?;
                Fetched::Later(Stream(self.stream).event()?, pinned)
            }
            None => {
                let mut copied = vec![0; bytes];
                self.download(from, &mut copied)?;
                Fetched::Now(copied)
            }
        };
        let number = state.handle();
        state.fetches.insert(number, fetched);
        Ok(Fetch(number))
    }

    fn collect(&self, fetch: Fetch, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        let taken = self.state().fetches.remove(&fetch.0);
        let (event, mut pinned) = match taken {
            None => return Ok(()),
            Some(Fetched::Now(copied)) => {
                bytes.iter_mut().zip(copied).for_each(|(to, from)| *to = from);
                return Ok(());
            }
            Some(Fetched::Later(event, pinned)) => (event, pinned),
        };
        let stream = Stream(self.stream);
        let waited = stream.wait(&event);
        stream.forget(event);
        // After a failure the copy may still be running: the memory is never reused.
        waited?;
        // SAFETY: the copy that wrote the bytes is done, and no other uses them.
        let from = unsafe { pinned.part(0, bytes.len()) };
        bytes[..from.len()].copy_from_slice(from);
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
        let loaded = self.state().modules.get(&program.id()).copied();
        let module = match loaded {
            Some(module) => module,
            None => self.load(program)?,
        };
        let mut state = self.state();
        state.modules.insert(program.id(), module);
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
        let event = Stream(self.stream).record(sys::CUevent_flags::CU_EVENT_DEFAULT)?;
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
        // Running copies use pinned memory: free it only after they are done.
        let done = self.synchronize().is_ok();
        if self.enter().is_err() {
            return;
        }
        let stream = Stream(self.stream);
        let mut state = self.state();
        let mut pinned = std::mem::take(&mut state.pinned);
        for fetched in std::mem::take(&mut state.fetches).into_values() {
            if let Fetched::Later(event, memory) = fetched {
                stream.forget(event);
                pinned.push(memory);
            }
        }
        pinned.extend(self.ring().drain(&stream));
        for (_, event) in state.marks.drain() {
            // SAFETY: created by `mark` and destroyed once; a failure changes nothing.
            let _ = unsafe { result::event::destroy(event) };
        }
        for memory in pinned.into_iter().filter(|_| done) {
            // SAFETY: no copy uses it now.
            unsafe { memory.free() };
        }
        drop(state);
        // SAFETY: this value owns the stream; no work is left, or it is never waited for.
        let _ = unsafe { result::stream::destroy(self.stream) };
    }
}
