//! Parsed and decoded modules and kernels.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::instruction::Instruction;
use crate::parameter::Parameter;
use crate::parse::Array;
use crate::{decode, parse};

/// A PTX module: its kernels and the device variables they share.
#[derive(Debug)]
pub struct Module {
    kernels: Vec<Kernel>,
    unsupported: Vec<(String, Error)>,
    forms: BTreeSet<String>,
}

impl Module {
    /// Parses PTX text and decodes every kernel in it. A kernel that uses something unsupported
    /// does not affect the others: see [`Module::unsupported`].
    ///
    /// # Errors
    /// [`Error::Parse`] on text that is not PTX.
    pub fn parse(text: &str) -> Result<Module, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let raw = parse::module(text)?;
        let shared = Arc::new(Shared {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            variables: raw.variables,
            files: raw.files,
        });
        let mut module =
            Module { kernels: Vec::new(), unsupported: Vec::new(), forms: BTreeSet::new() };
        for (name, body) in raw.kernels {
            if let Ok(body) = &body {
                module.forms.extend(body.instructions.iter().map(|i| i.opcode.clone()));
            }
            match body.and_then(|body| decode::kernel(body, &shared)) {
                Ok(kernel) => module.kernels.push(kernel),
                Err(error) => module.unsupported.push((name, error)),
            }
        }
        Ok(module)
    }

    /// Finds a kernel by name.
    ///
    /// # Errors
    /// The kernel's own error if it uses something unsupported; [`Error::NoKernel`] if the module
    /// has no kernel of this name.
    pub fn kernel(&self, name: &str) -> Result<&Kernel, Error> {
        if let Some(kernel) = self.kernels.iter().find(|kernel| kernel.name == name) {
            return Ok(kernel);
        }
        if let Some((_, error)) = self.unsupported.iter().find(|(known, _)| known == name) {
            return Err(error.clone());
        }
        let names = self.kernels.iter().map(|kernel| &kernel.name);
        let names = names.chain(self.unsupported.iter().map(|(name, _)| name));
        Err(Error::NoKernel { name: name.to_owned(), kernels: names.cloned().collect() })
    }

    /// Name and error of every kernel that cannot run, in the order of the PTX text:
    /// [`Error::Unsupported`] names unknown instructions, [`Error::Parse`] other text.
    pub fn unsupported(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.unsupported.iter().map(|(name, error)| (name.as_str(), error))
    }

    /// The kernels that can run, in the order of the PTX text.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.kernels.iter()
    }

    /// The opcode forms that all kernels use, such as `ld.global.v4.f32`.
    pub fn forms(&self) -> BTreeSet<String> {
        self.forms.clone()
    }
}

/// Data that all kernels of a module share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Identifies this module's variables in a [`crate::Memory`].
    pub id: u64,
    /// `.global` and `.const` variables.
    pub variables: Vec<Variable>,
    /// Source files by their number in `.loc`.
    pub files: Vec<(u32, String)>,
}

/// A device variable with its initial bytes.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub name: String,
    pub bytes: usize,
    /// Initial value; shorter than `bytes` means zeros.
    pub initial: Vec<u8>,
}

/// One decoded kernel.
#[derive(Debug)]
pub struct Kernel {
    pub(crate) name: String,
    pub(crate) shared: Arc<Shared>,
    pub(crate) instructions: Vec<Instruction>,
    /// The places in the source that instructions refer to.
    pub(crate) locations: Vec<Location>,
    /// Registers of 16 and 32 bits, of 64 bits, and predicates, constants included.
    pub(crate) banks: [usize; 3],
    /// Registers that some path may read before it writes them.
    pub(crate) watched: usize,
    pub(crate) constants: Vec<Constant>,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) parameter_bytes: usize,
    pub(crate) shared_bytes: usize,
    pub(crate) arrays: Vec<Array>,
    pub(crate) local_bytes: usize,
    pub(crate) required_block: Option<[u32; 3]>,
    pub(crate) most_threads: Option<u64>,
    /// Whether a loop reads what another thread may write for it.
    pub(crate) may_wait: bool,
    /// Whether threads synchronise by more than barriers of whole blocks and warps.
    pub(crate) precise: bool,
}

/// A place in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Location {
    /// Number of the source file.
    pub file: u32,
    /// Line from 1; 0 for code of the compiler's own.
    pub line: u32,
    pub column: u32,
    /// The call site that this code was inlined at: an index of another location.
    pub caller: Option<u32>,
}

/// A register whose value is fixed before the kernel starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Constant {
    /// The register.
    pub register: Register,
    /// The source of its value.
    pub source: Source,
}

/// The source of a constant register's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Source {
    /// A literal.
    Bits(u64),
    /// A special register.
    Special(Special),
    /// The address of a module variable.
    Variable(u32),
}

/// A register: its bank and its slot in that bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Register {
    pub bank: Bank,
    pub slot: u16,
}

/// A register bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bank {
    /// 16 bits, in the word bank.
    Half,
    /// 32 bits.
    Word,
    /// 64 bits.
    Long,
    /// One bit.
    Predicate,
}

/// Special registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Thread(u8),
    BlockSize(u8),
    Block(u8),
    GridSize(u8),
    Lane,
    Warp,
    Warps,
    LaneMaskEqual,
    LaneMaskLess,
    LaneMaskLessEqual,
    LaneMaskGreater,
    LaneMaskGreaterEqual,
    DynamicShared,
    TotalShared,
    /// The clock, which [`crate::instruction::Operation::Clock`] reads.
    Clock,
    Zero,
}

impl Kernel {
    /// The kernel's name in the PTX.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The parameters, in their order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Bytes of the parameter space, alignment included.
    pub fn parameter_bytes(&self) -> usize {
        self.parameter_bytes
    }

    /// The block size for which it was compiled, if it demands one.
    pub fn required_block(&self) -> Option<[u32; 3]> {
        self.required_block
    }

    /// The most threads of a block that its launch bounds allow, if it has any.
    pub fn most_threads(&self) -> Option<u64> {
        self.most_threads
    }

    /// Bytes of static shared memory.
    pub fn shared_bytes(&self) -> usize {
        self.shared_bytes
    }

    /// Bytes of local memory of one thread.
    pub fn local_bytes(&self) -> usize {
        self.local_bytes
    }

    /// Source files and lines of the kernel's instructions, sorted, each once.
    pub fn lines(&self) -> Vec<(&str, u32)> {
        let mut lines: Vec<_> = self.instructions.iter().filter_map(|i| self.place(i)).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// Source file and line of an instruction.
    pub(crate) fn place(&self, instruction: &Instruction) -> Option<(&str, u32)> {
        self.file_and_line(self.locations.get(instruction.location? as usize)?)
    }

    /// Source file and line of the call sites that an instruction was inlined at, innermost first.
    pub(crate) fn calls(&self, instruction: &Instruction) -> Vec<(&str, u32)> {
        let find = |at: Option<u32>| self.locations.get(at? as usize);
        let chain = std::iter::successors(find(instruction.location), |at| find(at.caller));
        chain.skip(1).filter_map(|location| self.file_and_line(location)).collect()
    }

    fn file_and_line(&self, location: &Location) -> Option<(&str, u32)> {
        let name = self.shared.files.iter().find(|(number, _)| *number == location.file)?;
        (location.line > 0).then_some((name.1.as_str(), location.line))
    }
}
