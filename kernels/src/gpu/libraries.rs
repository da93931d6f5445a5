//! Finds and loads the CUDA driver and NVRTC at run time. A machine without them gives an error, not a panic: call
//! cudarc's functions only after [`driver`] or [`nvrtc`] returned `Ok`.

use super::{Error, Result};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The environment variable with NVRTC's path: the library or its folder. If set, no other place is searched.
pub const NVRTC_VARIABLE: &str = "MPUC_NVRTC";

/// File names of NVRTC, newest first.
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/// The driver's functions that this crate calls: cudarc panics at a call of one that the library lacks.
const DRIVER: [&str; 35] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGet",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDeviceGetDefaultMemPool",
    "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent",
    "cuMemPoolSetAttribute",
    "cuMemPoolTrimTo",
    "cuMemAllocAsync",
    "cuMemFreeAsync",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuLaunchKernel",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamDestroy_v2",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventQuery",
    "cuEventSynchronize",
    "cuEventDestroy_v2",
];

/// NVRTC's functions that this crate calls.
const NVRTC: [&str; 10] = [
    "nvrtcVersion",
    "nvrtcCreateProgram",
    "nvrtcCompileProgram",
    "nvrtcDestroyProgram",
    "nvrtcGetPTXSize",
    "nvrtcGetPTX",
    "nvrtcGetCUBINSize",
    "nvrtcGetCUBIN",
    "nvrtcGetProgramLogSize",
    "nvrtcGetProgramLog",
];

/// Loads the CUDA driver's library.
pub(super) fn driver() -> Result<()> {
    static STATE: OnceLock<Result<()>> = OnceLock::new();
    STATE.get_or_init(load_driver).clone()
}

/// Whether the driver's library, which must be present, has a function.
pub(super) fn driver_has(name: &str) -> bool {
    // SAFETY: the library is present; the function is only looked up here.
    unsafe { cudarc::driver::sys::culib().get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_ok()
}

fn load_driver() -> Result<()> {
    use cudarc::driver::sys::is_culib_present;
    let unavailable = |what: String, hint: &str| Error::Unavailable { what, hint: hint.into() };
    // SAFETY: loads the driver's library, if present; the vendor's initialisers need nothing of the caller.
    if !unsafe { is_culib_present() } {
        return Err(unavailable(
            "no CUDA driver: libcuda.so.1 is not in the library path".into(),
            "install NVIDIA's driver (570 or newer), or use the CPU (--device cpu)",
        ));
    }
    match DRIVER.iter().find(|name| !driver_has(name)) {
        None => Ok(()),
        Some(name) => Err(unavailable(
            format!("libcuda.so.1 has no function {name}: it is a stub, or older than driver 570"),
            "install NVIDIA's driver (570 or newer), remove the stub from LD_LIBRARY_PATH, or use the CPU",
        )),
    }
}

/// Loads NVRTC; returns its path, or the bare name if the system's loader found it.
pub(super) fn nvrtc() -> Result<&'static Path> {
    static FOUND: OnceLock<Result<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(load_nvrtc).as_deref().map_err(Clone::clone)
}

fn load_nvrtc() -> Result<PathBuf> {
    let asked =
        std::env::var_os(NVRTC_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = match &asked {
        Some(path) if path.is_dir() => in_folder(path),
        Some(path) => load(path),
        None => NAMES
            .iter()
            .find_map(|name| load(Path::new(name)))
            .or_else(|| folders().iter().find_map(|f| in_folder(f))),
    };
    // SAFETY: as in `driver`; the library is loaded already and found by its name.
    let known = |_: &PathBuf| unsafe { cudarc::nvrtc::sys::is_culib_present() };
    if let Some(path) = found.filter(known) {
        return Ok(path);
    }
    let (what, hint) = match asked {
        Some(path) => (
            format!("no NVRTC at {}, the value of {NVRTC_VARIABLE}", path.display()),
            format!("set {NVRTC_VARIABLE} to libnvrtc.so.13 or its folder, or unset it"),
        ),
        None => (
            "no NVRTC: libnvrtc.so.13 is neither in the library path nor in a Python or CUDA folder".to_owned(),
            format!("run `pip install nvidia-cuda-nvrtc`, or set {NVRTC_VARIABLE} to its folder"),
        ),
    };
    Err(Error::Unavailable { what, hint })
}

fn in_folder(folder: &Path) -> Option<PathBuf> {
    NAMES
        .iter()
        .map(|name| folder.join(name))
        .filter(|path| path.exists())
        .find_map(|path| load(&path))
}

/// Loads NVRTC, after the library of built-in functions in its folder. They are never unloaded.
fn load(path: &Path) -> Option<PathBuf> {
    let builtins = path
        .parent()
        .and_then(|folder| std::fs::read_dir(folder).ok())
        .into_iter()
        .flatten()
        .flatten();
    let wanted = |name: &str| name.starts_with("libnvrtc-builtins.so.") && !name.contains(".alt");
    for entry in builtins.filter(|entry| entry.file_name().to_str().is_some_and(wanted)) {
        if let Some(builtins) = open(&entry.path()) {
            keep(builtins);
        }
    }
    // SAFETY: its functions are only looked up here.
    let has = |library: &Library, name: &str| unsafe {
        library.get::<unsafe extern "C" fn()>(name.as_bytes()).is_ok()
    };
    // A library that lacks a function is not NVRTC: another folder may have it.
    let library = open(path).filter(|library| NVRTC.iter().all(|name| has(library, name)))?;
    keep(library);
    Some(path.to_owned())
}

fn open(path: &Path) -> Option<Library> {
    // SAFETY: the initialisers of NVRTC's libraries need nothing of the caller.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.ok()
}

/// Never closes a library, so that cudarc finds it by its name.
fn keep(library: Library) {
    std::mem::forget(library);
}

/// Folders into which wheels, conda and NVIDIA's installers put NVRTC.
fn folders() -> Vec<PathBuf> {
    let mut pythons: Vec<PathBuf> = Vec::new();
    let prefixes =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local"));
    for prefix in prefixes.chain(home).chain(["/usr/local".into(), "/usr".into()]) {
        pythons.extend(children(&prefix.join("lib"), "python"));
    }
    let mut folders: Vec<PathBuf> = std::env::var_os("CONDA_PREFIX")
        .map(|p| PathBuf::from(p).join("lib"))
        .into_iter()
        .collect();
    for python in pythons {
        for packages in ["site-packages", "dist-packages"] {
            for package in ["cu13/lib", "cuda_nvrtc/lib"] {
                folders.push(python.join(packages).join("nvidia").join(package));
            }
        }
    }
    folders.extend(
        children(Path::new("/usr/local"), "cuda").into_iter().map(|cuda| cuda.join("lib64")),
    );
    folders
}

/// The entries of a folder whose names begin with `start`, in descending order.
fn children(folder: &Path, start: &str) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let begins = |path: &PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(start))
    };
    let mut found: Vec<PathBuf> = entries.filter(begins).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}
