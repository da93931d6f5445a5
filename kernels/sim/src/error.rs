//! What keeps a module from being read or a kernel from being run.

use std::fmt;

/// A module, launch or address that the simulator cannot work with.
///
/// What a kernel does wrong while it runs is not an error but a [`crate::Finding`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The text is not PTX as NVRTC writes it.
    Parse {
        /// Line of the PTX text, from 1.
        line: usize,
        /// What was found there.
        what: String,
    },
    /// Instructions that the simulator does not know.
    Unsupported {
        /// The kernel that uses them first.
        kernel: String,
        /// Line of the PTX text of the first one, from 1.
        line: usize,
        /// Every unknown instruction of the kernel, as written, one of each opcode.
        instructions: Vec<String>,
    },
    /// A grid, block, parameter block or shared memory that the kernel cannot be launched with.
    Launch(String),
    /// A host access outside the allocation it names.
    Address(String),
    /// The kernel ran longer than its step limit.
    StepLimit {
        /// The kernel.
        kernel: String,
        /// The limit, in warp instructions.
        limit: u64,
        /// Where a warp of the block was.
        instruction: String,
        /// The block that was running.
        block: [u32; 3],
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Parse { line, what } => write!(f, "PTX line {line}: {what}"),
            Error::Unsupported { kernel, line, instructions } => {
                write!(
                    f,
                    "kernel {kernel}, PTX line {line}: the simulator does not know `{}`; \
                     write it another way or add the form to ptx-sim",
                    instructions.join("`, `")
                )
            }
            Error::Launch(what) | Error::Address(what) => f.write_str(what),
            Error::StepLimit { kernel, limit, instruction, block } => write!(
                f,
                "kernel {kernel}: block {block:?} was still at `{instruction}` after {limit} warp \
                 instructions; look for a loop that waits for another thread, or raise step_limit"
            ),
        }
    }
}

impl std::error::Error for Error {}
