//! The location of an instruction, for findings.

use crate::kernel::Kernel;
use crate::lanes::LANES;
use crate::report::{Finding, Findings, Kind};

/// An instruction of a warp of a block.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub kernel: &'a Kernel,
    pub block: [u32; 3],
    pub block_size: [u32; 3],
    pub grid: [u32; 3],
    pub warp: usize,
    pub pc: u32,
}

/// Index along x, y and z of a linear index, x fastest.
pub(super) fn coordinates(index: u32, size: [u32; 3]) -> [u32; 3] {
    [index % size[0], index / size[0] % size[1], index / size[0] / size[1]]
}

impl Site<'_> {
    /// Reports a finding of one lane. `message` is called for the first of its kind here only.
    #[cold]
    pub fn report(
        &self,
        findings: &mut Findings,
        lane: usize,
        kind: Kind,
        message: impl FnOnce() -> String,
    ) {
        if !findings.is_new(self.pc, kind) {
            return;
        }
        let instruction = &self.kernel.instructions[self.pc as usize];
        let owned = |(file, line): (&str, u32)| (file.to_owned(), line);
        let finding = Finding {
            kind,
            message: message(),
            instruction: instruction.text.clone(),
            line: self.kernel.place(instruction).map(owned),
            calls: self.kernel.calls(instruction).into_iter().map(owned).collect(),
            block: self.block,
            thread: coordinates((self.warp * LANES + lane) as u32, self.block_size),
        };
        findings.push(self.pc, finding);
    }
}
