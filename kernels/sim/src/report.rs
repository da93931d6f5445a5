//! What a run hands back: findings and counters.

use std::collections::HashSet;

use crate::kernel::Kernel;

/// What sort of mistake a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An access outside every allocation, or across the end of one.
    OutOfBounds,
    /// An access to an allocation that was freed.
    Freed,
    /// An address that is no multiple of the access's size.
    Misaligned,
    /// A read of bytes that nobody has written.
    Uninitialised,
    /// A read of bytes that an unwaited `cp.async` is still to write.
    AsyncPending,
    /// Two threads of a block use a shared byte, one writes, and nothing orders them.
    SharedRace,
    /// Two threads use a global byte, one writes, and nothing orders them.
    GlobalRace,
    /// A warp collective whose mask leaves out a lane that executes it or names one that does not come.
    CollectiveMask,
    /// A shuffle that reads a lane which does not take part.
    InactiveLane,
    /// A block barrier that not all threads of the block reach, or reach at different places.
    Barrier,
}

/// One mistake of a kernel, reported once per instruction and kind.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The sort of mistake.
    pub kind: Kind,
    /// What happened and what to do about it.
    pub message: String,
    /// The instruction, as the PTX has it.
    pub instruction: String,
    /// Source file and line, when the PTX has line information.
    pub line: Option<(String, u32)>,
    /// The block's index in the grid.
    pub block: [u32; 3],
    /// The thread's index in the block.
    pub thread: [u32; 3],
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}: `{}`", self.kind, self.message, self.instruction)?;
        if let Some((file, line)) = &self.line {
            write!(f, " at {file}:{line}")?;
        }
        write!(f, ", block {:?}, thread {:?}", self.block, self.thread)
    }
}

/// What a set of instructions did. These are model figures, never time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Instructions executed by warps.
    pub warp_instructions: u64,
    /// Instructions executed by threads: over 32 per warp instruction, less is divergence.
    pub thread_instructions: u64,
    /// Sectors of 32 bytes that global accesses touched, summed over warp instructions.
    pub global_sectors: u64,
    /// Passes that shared-memory accesses needed, bank conflicts included.
    pub shared_wavefronts: u64,
}

impl Tally {
    /// The mean share of active lanes, from 0 to 1; 1 when nothing ran.
    pub fn active_share(&self) -> f64 {
        if self.warp_instructions == 0 {
            return 1.0;
        }
        self.thread_instructions as f64 / (32.0 * self.warp_instructions as f64)
    }

    /// Adds another tally to this one.
    pub fn add(&mut self, other: &Tally) {
        self.warp_instructions += other.warp_instructions;
        self.thread_instructions += other.thread_instructions;
        self.global_sectors += other.global_sectors;
        self.shared_wavefronts += other.shared_wavefronts;
    }
}

/// The tally of one source line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineTally {
    /// Source file; empty for instructions without line information.
    pub file: String,
    /// Line from 1; 0 for instructions without line information.
    pub line: u32,
    /// What the line's instructions did.
    pub tally: Tally,
}

/// What a launch executed. Sectors and wavefronts are counted in checked mode only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Over the whole launch.
    pub total: Tally,
    /// By source line, in the order of file and line.
    pub lines: Vec<LineTally>,
}

impl Counters {
    /// Adds the counts of another launch.
    pub fn add(&mut self, other: &Counters) {
        self.total.add(&other.total);
        for line in &other.lines {
            let key = |l: &LineTally| (l.file.as_str(), l.line).cmp(&(line.file.as_str(), line.line));
            match self.lines.binary_search_by(key) {
                Ok(at) => self.lines[at].tally.add(&line.tally),
                Err(at) => self.lines.insert(at, line.clone()),
            }
        }
    }

    /// Sums tallies per instruction over source lines.
    pub(crate) fn by_line(kernel: &Kernel, tallies: &[Tally]) -> Counters {
        let mut lines = std::collections::BTreeMap::<(&str, u32), Tally>::new();
        let mut total = Tally::default();
        for (instruction, tally) in kernel.instructions.iter().zip(tallies) {
            total.add(tally);
            if tally.warp_instructions > 0 {
                let (file, line) = kernel.place(instruction).unwrap_or(("", 0));
                lines.entry((file, line)).or_default().add(tally);
            }
        }
        let lines = lines
            .into_iter()
            .map(|((file, line), tally)| LineTally { file: file.to_owned(), line, tally })
            .collect();
        Counters { total, lines }
    }
}

/// What a run found and counted.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Mistakes, in the order in which they came up.
    pub findings: Vec<Finding>,
    /// What was executed.
    pub counters: Counters,
}

/// Findings as they come in: one per instruction and kind.
#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<(u32, Finding)>,
    seen: HashSet<(u32, Kind)>,
}

impl Findings {
    /// Whether a finding of this kind at this instruction is still to be reported.
    pub fn is_new(&self, pc: u32, kind: Kind) -> bool {
        !self.seen.contains(&(pc, kind))
    }

    /// Keeps the finding unless its instruction has one of the kind.
    pub fn push(&mut self, pc: u32, finding: Finding) {
        if self.seen.insert((pc, finding.kind)) {
            self.list.push((pc, finding));
        }
    }

    /// Takes over what another collector has, still one per instruction and kind.
    pub fn merge(&mut self, other: Findings) {
        for (pc, finding) in other.list {
            self.push(pc, finding);
        }
    }

    /// The findings in the order in which they came.
    pub fn into_list(self) -> Vec<Finding> {
        self.list.into_iter().map(|(_, finding)| finding).collect()
    }
}
