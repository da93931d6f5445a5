//! What can go wrong between an op and a GPU.

/// An error of a device, its driver or its compiler. Says what to do where anything can be done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no device to work on.
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
        /// The function.
        call: &'static str,
        /// Its answer, a `CUresult`.
        code: u32,
    },
    /// The compiler refused a program.
    #[error("{program}: NVRTC refused it for {target}:\n{log}")]
    Compile {
        /// The program's name.
        program: &'static str,
        /// What it was compiled for.
        target: String,
        /// The compiler's messages, with file and line.
        log: String,
    },
    /// No memory is left.
    #[error(
        "out of memory on {device}: {asked} bytes asked for, {in_use} in use by tensors; \
         use a smaller batch or another device"
    )]
    Memory {
        /// The device's name.
        device: String,
        /// Bytes that were asked for.
        asked: usize,
        /// Bytes that tensors hold.
        in_use: usize,
    },
    /// A launch that cannot be.
    #[error("{kernel}: {what}")]
    Launch {
        /// The kernel's name.
        kernel: String,
        /// What is wrong with it.
        what: String,
    },
    /// The simulator found mistakes in a kernel.
    #[error("{kernel}: {count} finding(s):\n{findings}")]
    Findings {
        /// The kernel's name.
        kernel: String,
        /// How many.
        count: usize,
        /// The first of them, a line each.
        findings: String,
    },
}

impl Error {
    /// A call on a GPU of an op that has no CUDA kernels.
    pub fn no_kernels(op: &str) -> Self {
        Error::Unavailable {
            what: format!("{op} has no CUDA kernels"),
            hint: "keep its inputs on the CPU".into(),
        }
    }
}

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, Error>;

/// The answers of the driver that a user meets, in words. The driver is not asked: it may be the one that is missing.
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
        700 => " (illegal address in a kernel)",
        701 => " (too many resources for a launch)",
        702 => " (a kernel ran into the time limit)",
        719 => " (a kernel failed)",
        802 => " (system not ready)",
        803 => " (driver and kernel module have different versions: restart)",
        804 => " (the driver is too old for this mode)",
        _ => "",
    }
}
