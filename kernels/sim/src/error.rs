//! Errors: a module that cannot be parsed, a launch or an address that is not valid.

use std::fmt;

/// A module that cannot be parsed, or a launch or an address that is not valid.
///
/// A mistake of a running kernel is a [`crate::Finding`], not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The text is not PTX as NVRTC writes it.
    Parse {
        /// Line of the PTX text, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// Instructions that the simulator does not support.
    Unsupported {
        /// The kernel that uses them first.
        kernel: String,
        /// Line of the PTX text of the first one, from 1.
        line: usize,
        /// Every unknown instruction of the kernel, as written, one of each opcode.
        instructions: Vec<String>,
    },
    /// The module has no kernel of this name.
    NoKernel {
        /// The name.
        name: String,
        /// The names of the module's kernels.
        kernels: Vec<String>,
    },
    /// A grid, block, parameter space or shared memory that does not fit the kernel.
    Launch(String),
    /// A host access outside a live allocation.
    Address(String),
    /// The kernel ran longer than its step limit.
    StepLimit {
        /// The kernel.
        kernel: String,
        /// The limit, in warp instructions.
        limit: u64,
        /// The next instruction of a warp of the block.
        instruction: String,
        /// The block that was running.
        block: [u32; 3],
        /// The warp that was running.
        warp: u32,
        /// Where the other warps of the block stand, and how many other blocks wait.
        others: Vec<String>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Parse { line, what } => write!(f, "PTX line {line}: {what}"),
            Error::Unsupported { kernel, line, instructions } => {
                write!(
                    f,
                    "kernel {kernel}, PTX line {line}: ptx-sim does not support `{}`; \
                     change the kernel or add the instruction to ptx-sim",
                    instructions.join("`, `")
                )
            }
            Error::NoKernel { name, kernels } => no_kernel(f, name, kernels),
            Error::Launch(what) | Error::Address(what) => f.write_str(what),
            Error::StepLimit { kernel, limit, instruction, block, warp, others } => {
                write!(
                    f,
                    "kernel {kernel}: warp {warp} of block {block:?} was still at `{instruction}` \
                     after {limit} warp instructions"
                )?;
                others.iter().try_for_each(|place| write!(f, "; {place}"))?;
                f.write_str(
                    "; look for a loop that waits for another thread, or raise the step limit",
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// The message of [`Error::NoKernel`].
fn no_kernel(f: &mut fmt::Formatter<'_>, name: &str, kernels: &[String]) -> fmt::Result {
    write!(f, "the module has no kernel `{name}`")?;
    let near = kernels.iter().min_by_key(|kernel| distance(name, kernel));
    let Some(near) = near else { return f.write_str(", and no other: the PTX has no .entry") };
    write!(f, "; its kernels are `{}`", kernels.join("`, `"))?;
    match 3 * distance(name, near) <= name.len().max(near.len()) || near.contains(name) {
        true => write!(f, "; did you mean `{near}`?"),
        false => f.write_str("; use one of these, as the PTX writes it"),
    }
}

/// Letters to insert, delete or replace to turn one name into another (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to = to.as_bytes();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.iter().enumerate() {
            let cost = (diagonal + usize::from(a != *b)).min(row[j].min(row[j + 1]) + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[to.len()]
}
