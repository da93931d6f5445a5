//! Ranges for NVIDIA's profilers (NVTX 3): Nsight Systems shows them above the kernels.
//!
//! A profiler names its library in `NVTX_INJECTION64_PATH`. The library's `InitializeInjectionNvtx2` gets a function that
//! returns tables of slots, and writes its own functions into them (`nvtxInit.h` and `nvtxTypes.h` of NVTX 3). Without the
//! variable a range costs one check.

use libloading::Library;
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The variable that names the profiler's library.
const VARIABLE: &str = "NVTX_INJECTION64_PATH";
/// Slots of each module's table: none, core, CUDA, OpenCL, CUDA runtime, core 2, synchronisation.
const SIZES: [usize; 7] = [0, 16, 9, 15, 7, 16, 7];
/// The module of [`PUSH`] and [`POP`].
const CORE: usize = 1;
/// `nvtxRangePushA`.
const PUSH: usize = 9;
/// `nvtxRangePop`.
const POP: usize = 11;
/// The numbers of the tables that a library may ask for.
const CALLBACKS: u32 = 1;
const VERSION: u32 = 3;

type Slot = AtomicPtr<c_void>;
type GetTable = extern "C" fn(u32) -> *const c_void;
type Initialise = unsafe extern "C" fn(GetTable) -> c_int;
type Push = unsafe extern "C" fn(*const c_char) -> c_int;
type Pop = unsafe extern "C" fn() -> c_int;

/// The slots of a module, and the table of their addresses: the first is null.
struct Module {
    slots: Box<[Slot]>,
    table: Box<[AtomicPtr<Slot>]>,
}

/// The slots of all modules.
fn modules() -> &'static [Module; SIZES.len()] {
    static MODULES: OnceLock<[Module; SIZES.len()]> = OnceLock::new();
    MODULES.get_or_init(|| {
        SIZES.map(|size| {
            let slots: Box<[Slot]> = (0..size).map(|_| Slot::default()).collect();
            let address = |(at, slot): (usize, &Slot)| {
                AtomicPtr::new(if at == 0 {
                    std::ptr::null_mut()
                } else {
                    std::ptr::from_ref(slot).cast_mut()
                })
            };
            // The end of a table is null too.
            let table =
                slots.iter().enumerate().map(address).chain([AtomicPtr::default()]).collect();
            Module { slots, table }
        })
    })
}

/// `NvtxExportTableCallbacks`.
#[repr(C)]
struct Callbacks {
    size: usize,
    get: extern "C" fn(c_int, *mut *const c_void, *mut c_uint) -> c_int,
}

/// `NvtxExportTableVersionInfo`.
#[repr(C)]
struct Version {
    size: usize,
    version: u32,
    reserved: u32,
    set: extern "C" fn(u32),
}

extern "C" fn get_module(module: c_int, table: *mut *const c_void, size: *mut c_uint) -> c_int {
    let found = usize::try_from(module).ok().and_then(|module| modules().get(module));
    let Some(found) = found.filter(|module| !module.slots.is_empty()) else { return 0 };
    // SAFETY: the library passes null, or an address that it owns.
    unsafe {
        if !table.is_null() {
            *table = found.table.as_ptr().cast();
        }
        if !size.is_null() {
            *size = found.slots.len() as c_uint;
        }
    }
    1
}

extern "C" fn set_version(_: u32) {}

extern "C" fn get_table(table: u32) -> *const c_void {
    static CALLBACKS_TABLE: Callbacks = Callbacks { size: size_of::<Callbacks>(), get: get_module };
    static VERSION_TABLE: Version =
        Version { size: size_of::<Version>(), version: 3, reserved: 0, set: set_version };
    match table {
        CALLBACKS => std::ptr::from_ref(&CALLBACKS_TABLE).cast(),
        VERSION => std::ptr::from_ref(&VERSION_TABLE).cast(),
        _ => std::ptr::null(),
    }
}

/// The functions of a profiler.
#[derive(Clone, Copy)]
struct Attached {
    push: Push,
    pop: Pop,
}

/// Calls a profiler's initialisation, and takes its functions. None when it has no ranges, or refuses.
///
/// # Safety
/// `initialise` must be `InitializeInjectionNvtx2` of a library that stays loaded.
unsafe fn attach(initialise: Initialise) -> Option<Attached> {
    // SAFETY: by the contract of this function.
    if unsafe { initialise(get_table) } == 0 {
        return None;
    }
    let slot = |number: usize| {
        let function = modules()[CORE].slots[number].load(Ordering::Acquire);
        (!function.is_null()).then_some(function)
    };
    let (push, pop) = (slot(PUSH)?, slot(POP)?);
    // SAFETY: the library has written functions of these types into these slots.
    unsafe {
        Some(Attached {
            push: std::mem::transmute::<*mut c_void, Push>(push),
            pop: std::mem::transmute::<*mut c_void, Pop>(pop),
        })
    }
}

/// Loads the library at a path. None when it has no ranges.
fn load(path: &Path) -> Result<Option<Attached>, String> {
    let wrong = |what: String| {
        format!("{VARIABLE}: {}: {what}; the profiler gets no ranges", path.display())
    };
    // SAFETY: the user names a profiler's library; its initialisers need nothing of the caller.
    let library = unsafe { Library::new(path) }.map_err(|error| wrong(error.to_string()))?;
    // Its functions are called until the end.
    let library = Box::leak(Box::new(library));
    // SAFETY: the profiler's library has this function, with this type.
    let found = unsafe { library.get::<Initialise>(b"InitializeInjectionNvtx2\0") };
    let initialise = found.map_err(|_| wrong("it has no InitializeInjectionNvtx2".into()))?;
    // SAFETY: the library stays loaded.
    Ok(unsafe { attach(*initialise) })
}

fn state() -> &'static Result<Option<Attached>, String> {
    static STATE: OnceLock<Result<Option<Attached>, String>> = OnceLock::new();
    STATE.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(path) if !path.is_empty() => load(Path::new(&path)),
        _ => Ok(None),
    })
}

/// What is wrong with the profiler that the environment names, if something is.
pub fn problem() -> Option<&'static str> {
    state().as_ref().err().map(String::as_str)
}

/// A range of this thread, which ends when it is dropped.
pub struct Range {
    pop: Pop,
    /// A range belongs to its thread.
    _thread: PhantomData<*const ()>,
}

/// Begins a range, if a profiler is attached. `name` is called only then.
pub fn range<N: AsRef<str>>(name: impl FnOnce() -> N) -> Option<Range> {
    state().as_ref().ok()?.map(|attached| attached.begin(name().as_ref()))
}

impl Attached {
    fn begin(&self, name: &str) -> Range {
        let name: Vec<u8> = name.bytes().filter(|&byte| byte != 0).collect();
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: the function takes a string that ends with 0, and copies it.
        unsafe { (self.push)(name.as_ptr()) };
        Range { pop: self.pop, _thread: PhantomData }
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: the function takes nothing; this thread has begun a range that has not ended.
        unsafe { (self.pop)() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::sync::Mutex;

    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

    unsafe extern "C" fn push(name: *const c_char) -> c_int {
        // SAFETY: the caller passes a string that ends with 0.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        SEEN.lock().unwrap().push(name);
        0
    }

    unsafe extern "C" fn pop() -> c_int {
        SEEN.lock().unwrap().push("end".into());
        0
    }

    /// What a profiler's library does: writes into every slot that it has a function for.
    unsafe extern "C" fn initialise(get: GetTable) -> c_int {
        let callbacks = get(CALLBACKS).cast::<Callbacks>();
        let (mut table, mut size) = (std::ptr::null(), 0);
        // SAFETY: the tables are those of this module.
        unsafe {
            assert_eq!((*callbacks).size, 16);
            assert_eq!((*get(VERSION).cast::<Version>()).version, 3);
            assert!(get(2).is_null() && ((*callbacks).get)(0, &mut table, &mut size) == 0);
            assert_eq!(((*callbacks).get)(99, &mut table, &mut size), 0);
            for module in 1..7 {
                assert_eq!(((*callbacks).get)(module, &mut table, &mut size), 1);
                let slots = table.cast::<*mut *mut c_void>();
                assert!((*slots).is_null() && (*slots.add(size as usize)).is_null());
                assert!((1..size as usize).all(|at| !(*slots.add(at)).is_null()));
            }
            assert_eq!(((*callbacks).get)(1, &mut table, &mut size), 1);
            let slots = table.cast::<*mut *mut c_void>();
            **slots.add(PUSH) = push as Push as *mut c_void;
            **slots.add(POP) = pop as Pop as *mut c_void;
        }
        1
    }

    unsafe extern "C" fn refuse(_: GetTable) -> c_int {
        0
    }

    #[test]
    fn ranges_reach_the_profiler_and_end_in_order() {
        // SAFETY: both stay loaded.
        let (attached, refused) = unsafe { (attach(initialise), attach(refuse)) };
        assert!(refused.is_none());
        let attached = attached.unwrap();
        {
            let _outer = attached.begin("voice.first");
            let _inner = attached.begin("lin\0ear");
        }
        assert_eq!(*SEEN.lock().unwrap(), ["voice.first", "linear", "end", "end"]);
    }

    #[test]
    fn a_library_that_is_none_is_named() {
        let error = load(Path::new("/nowhere/libprofiler.so")).err().unwrap();
        assert!(error.contains("NVTX_INJECTION64_PATH: /nowhere/libprofiler.so"), "{error}");
        assert!(range(|| -> String { unreachable!("no profiler is attached") }).is_none());
    }
}
