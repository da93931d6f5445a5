//! Compiles programs with NVRTC: to PTX for the simulator, to a cubin for a GPU.

use super::program::OPTIONS;
use super::{Error, Program, Result, libraries};
use cudarc::nvrtc::{result, sys};
use std::ffi::CString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The target of a compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// PTX for compute capability 8.0, which the simulator runs.
    Ptx,
    /// A binary for GPUs of this compute capability.
    Cubin(u32, u32),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Ptx => f.write_str("compute_80"),
            Target::Cubin(major, minor) => write!(f, "sm_{major}{minor}"),
        }
    }
}

/// NVRTC's version, major and minor, and where it was found.
pub fn version() -> Result<((i32, i32), &'static Path)> {
    let path = libraries::nvrtc()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is loaded; both addresses are valid.
    let code = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    match code {
        sys::nvrtcResult::NVRTC_SUCCESS => Ok(((major, minor), path)),
        other => Err(Error::Unavailable {
            what: format!("NVRTC at {} reports no version ({other:?})", path.display()),
            hint: "install it again".into(),
        }),
    }
}

/// Compiles a program to PTX text or to the bytes of a cubin.
///
/// # Errors
/// When NVRTC is missing or rejects the source; the message has file and line.
pub fn compile(program: &Program, target: Target) -> Result<Vec<u8>> {
    compile_saying(program, target, &[]).map(|(image, _)| image)
}

/// Compiles a program with more options; returns the image and the compiler's log.
pub(super) fn compile_saying(
    program: &Program,
    target: Target,
    more: &[&str],
) -> Result<(Vec<u8>, String)> {
    libraries::nvrtc()?;
    let refused =
        |log: String| Error::Compile { program: program.name, target: target.to_string(), log };
    let text =
        |text: String| CString::new(text).map_err(|_| refused("a zero byte in the source".into()));
    let (source, name) = (text(program.source())?, text(format!("{}.cu", program.name))?);
    let handle =
        result::create_program(&source, Some(&name)).map_err(|e| refused(format!("{:?}", e.0)))?;
    let compilation = Compilation(handle);
    let mut options: Vec<String> =
        OPTIONS.iter().chain(more).map(|&option| option.to_owned()).collect();
    options.push(format!("--gpu-architecture={target}"));
    // SAFETY: the program was just made and is destroyed when `compilation` is dropped.
    if let Err(error) = unsafe { result::compile_program(compilation.0, &options) } {
        return Err(refused(compilation.log().unwrap_or_else(|| format!("{:?}", error.0))));
    }
    let image = match target {
        Target::Ptx => compilation.get(sys::nvrtcGetPTXSize, sys::nvrtcGetPTX),
        Target::Cubin(..) => compilation.get(sys::nvrtcGetCUBINSize, sys::nvrtcGetCUBIN),
    };
    match image {
        Some(mut image) if !image.is_empty() => {
            if target == Target::Ptx {
                image.retain(|&byte| byte != 0);
                image = for_old_drivers(&image);
            }
            Ok((image, compilation.log().unwrap_or_default()))
        }
        _ => Err(refused("the image is empty".into())),
    }
}

/// The PTX version of the oldest driver: 570, of CUDA 12.8.
const PTX_VERSION: &[u8] = b".version 8.7";

/// PTX that says the version of the oldest driver. NVRTC says its own, which older drivers refuse, but uses nothing newer
/// than 8.3: CI runs the assembler of CUDA 12.8 on the committed PTX.
fn for_old_drivers(ptx: &[u8]) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = ptx.split(|&byte| byte == b'\n').collect();
    if let Some(version) = lines.iter_mut().find(|line| line.starts_with(b".version ")) {
        *version = PTX_VERSION;
    }
    lines.join(&b'\n')
}

/// A program's cubin from the cache on disk, or compiled and written to it.
pub(super) fn cubin(program: &Program, capability: (u32, u32)) -> Result<Vec<u8>> {
    let ((major, minor), _) = version()?;
    let target = Target::Cubin(capability.0, capability.1);
    let file = cache().map(|folder| {
        folder.join(format!(
            "{}-{}-{target}-nvrtc{major}.{minor}.cubin",
            program.name,
            program.key()
        ))
    });
    if let Some(image) = file
        .as_ref()
        .and_then(|file| std::fs::read(file).ok())
        .filter(|image| image.starts_with(b"\x7fELF"))
    {
        return Ok(image);
    }
    let image = compile(program, target)?;
    if let Some(file) = file {
        // Without the cache the next process compiles again; that is no error.
        let _ = keep(&file, &image);
    }
    Ok(image)
}

/// Deletes a cached image that the driver rejected.
pub(super) fn forget(program: &Program) {
    let entries =
        cache().and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let start = format!("{}-{}-", program.name, program.key());
    for entry in entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&start)))
    {
        let _ = std::fs::remove_file(entry.path());
    }
}

fn keep(file: &Path, image: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Threads and processes may write the same image.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let aside = file.with_extension(format!("{}-{number}.aside", std::process::id()));
    std::fs::write(&aside, image)?;
    std::fs::rename(aside, file)
}

fn cache() -> Option<PathBuf> {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("mpuc").join("kernels"))
}

/// NVRTC's handle of a program, destroyed when dropped.
struct Compilation(sys::nvrtcProgram);

type Size = unsafe fn(sys::nvrtcProgram, *mut usize) -> sys::nvrtcResult;
type Get = unsafe fn(sys::nvrtcProgram, *mut std::ffi::c_char) -> sys::nvrtcResult;

impl Compilation {
    fn get(&self, size: Size, get: Get) -> Option<Vec<u8>> {
        let mut bytes = 0;
        // SAFETY: the program is not destroyed yet; the address is valid.
        unsafe { size(self.0, &mut bytes) }.result().ok()?;
        let mut image = vec![0u8; bytes];
        // SAFETY: the program is not destroyed yet; the buffer has the length from the call above.
        unsafe { get(self.0, image.as_mut_ptr().cast()) }.result().ok()?;
        Some(image)
    }

    fn log(&self) -> Option<String> {
        let log = self.get(sys::nvrtcGetProgramLogSize, sys::nvrtcGetProgramLog)?;
        let text = String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

impl Drop for Compilation {
    fn drop(&mut self) {
        // SAFETY: created by `create_program` and destroyed once. A failure changes nothing.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}
