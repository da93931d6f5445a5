//! Errors of a GPU, its driver and its compiler.

/// An error of a device, its driver or its compiler. The message says what to do, if something can be done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The device, its driver or its compiler is missing.
    #[error("{what}; {hint}")]
    Unavailable {
        /// What is missing.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// A call of the driver failed.
    #[error("CUDA driver: {call} failed with code {code}{}", meaning(*code))]
    Driver {
        /// The driver function.
        call: &'static str,
        /// The `CUresult` that it returned.
        code: u32,
    },
    /// The compiler rejected a program.
    #[error("{program}: NVRTC cannot compile it for {target}:\n{log}")]
    Compile {
        /// The program's name.
        program: &'static str,
        /// The target architecture.
        target: String,
        /// The compiler's messages, with file and line.
        log: String,
    },
    /// The device is out of memory.
    #[error(
        "out of memory on {device}: {asked} bytes requested, {in_use} in use by tensors; \
         use a smaller batch or another device"
    )]
    Memory {
        /// The device's name.
        device: String,
        /// Bytes requested.
        asked: usize,
        /// Bytes in use by tensors.
        in_use: usize,
    },
    /// A launch that a GPU does not support.
    #[error("{kernel}: {what}")]
    Launch {
        /// The kernel's name.
        kernel: String,
        /// What is wrong with the launch.
        what: String,
    },
    /// The simulator found mistakes in a kernel.
    #[error("{kernel}: {count} finding(s):\n{findings}")]
    Findings {
        /// The kernel's name.
        kernel: String,
        /// The number of findings.
        count: usize,
        /// The first findings, one line each.
        findings: String,
    },
}

impl Error {
    /// The error of an op without CUDA kernels that was called on a GPU.
    pub fn no_kernels(op: &str) -> Self {
        Error::Unavailable {
            what: format!("{op} has no CUDA kernels"),
            hint: "keep its inputs on the CPU".into(),
        }
    }
}

/// The result of a call of a GPU.
pub type Result<T> = std::result::Result<T, Error>;

/// The driver's usual error codes in words. Asks the driver for no text, since the driver may be missing.
fn meaning(code: u32) -> &'static str {
    match code {
        1 => " (invalid value)",
        2 => " (out of memory)",
        3 => " (not initialised)",
        100 => " (no device)",
        200 => " (invalid image)",
        209 => " (no binary for this GPU)",
        218 => " (invalid PTX)",
        222 => " (the PTX is newer than the driver: update the driver, or install an older NVRTC)",
        304 => " (operating system error)",
        400 => " (invalid handle)",
        700 => " (illegal address in a kernel; with MPUC_CUDA_SYNC=1 the message names it)",
        701 => " (too many resources for a launch)",
        702 => " (a kernel ran into the time limit)",
        719 => " (a kernel failed; with MPUC_CUDA_SYNC=1 the message names it)",
        802 => " (system not ready)",
        803 => " (driver and kernel module have different versions: restart)",
        804 => " (the driver is too old for this mode)",
        _ => "",
    }
}
