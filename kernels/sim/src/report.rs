//! The result of a run: findings and counters.

use std::collections::HashSet;

use crate::kernel::Kernel;

/// The kind of a [`Finding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// An access outside every allocation, or past the end of one.
    OutOfBounds,
    /// An access to a freed allocation.
    Freed,
    /// An address that is not a multiple of the access's size.
    Misaligned,
    /// A read of uninitialised bytes.
    Uninitialised,
    /// A read of bytes that a pending `cp.async` will write; the kernel must wait for it first.
    AsyncPending,
    /// A data race in shared memory: two threads of a block access a byte, one writes, unordered.
    SharedRace,
    /// A data race in global memory: two threads access a byte, one writes, unordered.
    GlobalRace,
    /// Lanes of one store write different values to one address: one of them stays, which one is not defined.
    LaneRace,
    /// A plain read whose value a compare-and-swap then checks is not ordered with another thread's atomic. A race by
    /// the memory model, and common: a wrong value costs the compare-and-swap one more turn.
    GuessRace,
    /// A non-coherent load (`ld.global.nc`, `__ldg`) of bytes that the same launch has written.
    StaleRead,
    /// A warp collective whose mask misses an executing lane or names one that never executes it.
    CollectiveMask,
    /// A shuffle that reads a lane outside the participating lanes.
    InactiveLane,
    /// A block barrier that some threads never reach, or that threads reach at different
    /// instructions.
    Barrier,
    /// A read of a register that the thread has not written.
    UnwrittenRegister,
    /// A failed `assert`, or a `trap`. The thread ends there.
    Assert,
}

/// One mistake of a kernel, reported once for each instruction and kind.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The kind of mistake.
    pub kind: Kind,
    /// What happened and what to do about it.
    pub message: String,
    /// The instruction as PTX text.
    pub instruction: String,
    /// Source file and line; `None` when the PTX has no line information.
    pub line: Option<(String, u32)>,
    /// Source file and line of each call site, innermost first, when the instruction is in a
    /// function that was inlined or called.
    pub calls: Vec<(String, u32)>,
    /// The block's index in the grid.
    pub block: [u32; 3],
    /// The thread's index in the block.
    pub thread: [u32; 3],
}

impl Kind {
    /// Whether kernels with such a finding usually give the intended result.
    pub fn is_mild(self) -> bool {
        matches!(self, Kind::LaneRace | Kind::GuessRace)
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}: `{}`", self.kind, self.message, self.instruction)?;
        if let Some((file, line)) = &self.line {
            write!(f, " at {file}:{line}")?;
        }
        for (file, line) in &self.calls {
            write!(f, ", called at {file}:{line}")?;
        }
        write!(f, ", block {:?}, thread {:?}", self.block, self.thread)
    }
}

/// Counters of a set of instructions. They come from a model of the hardware; they are not times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Instructions executed by warps.
    pub warp_instructions: u64,
    /// Instructions executed by threads: 32 for each warp instruction, fewer where lanes diverge.
    pub thread_instructions: u64,
    /// Sectors (32 bytes) of global accesses, summed over warp instructions.
    pub global_sectors: u64,
    /// Wavefronts (passes) of shared-memory accesses; bank conflicts add to them.
    pub shared_wavefronts: u64,
}

impl Tally {
    /// The mean fraction of active lanes, 0 to 1; 1 when nothing ran.
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
    /// The counters of the line's instructions.
    pub tally: Tally,
}

/// Counters of a launch. Sectors and wavefronts are 0 outside checked mode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Totals of the launch.
    pub total: Tally,
    /// Counters of each source line, sorted by file and line.
    pub lines: Vec<LineTally>,
}

impl Counters {
    /// Adds the counters of another launch.
    pub fn add(&mut self, other: &Counters) {
        self.total.add(&other.total);
        for line in &other.lines {
            let key =
                |l: &LineTally| (l.file.as_str(), l.line).cmp(&(line.file.as_str(), line.line));
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

/// The findings and counters of a run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Mistakes, in the order of their detection.
    pub findings: Vec<Finding>,
    /// Counters of the executed instructions.
    pub counters: Counters,
}

/// Collects findings: one for each instruction and kind.
#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<(u32, Finding)>,
    seen: HashSet<(u32, Kind)>,
}

impl Findings {
    /// Whether this instruction has no finding of this kind yet.
    pub fn is_new(&self, pc: u32, kind: Kind) -> bool {
        !self.seen.contains(&(pc, kind))
    }

    /// Adds the finding unless its instruction has one of its kind.
    pub fn push(&mut self, pc: u32, finding: Finding) {
        if self.seen.insert((pc, finding.kind)) {
            self.list.push((pc, finding));
        }
    }

    /// Adds another collector's findings, still one for each instruction and kind: that of the first block.
    pub fn merge(&mut self, other: Findings) {
        for (pc, finding) in other.list {
            let same = |known: &&mut (u32, Finding)| known.0 == pc && known.1.kind == finding.kind;
            match self.list.iter_mut().find(same) {
                Some((_, known)) if place(&finding) < place(known) => *known = finding,
                Some(_) => {}
                None => self.push(pc, finding),
            }
        }
    }

    /// Sorts by block; those of a block stay in the order in which they were added.
    pub fn sort_by_block(&mut self) {
        self.list.sort_by_key(|(_, finding)| place(finding));
    }

    /// The findings in the order in which they were added.
    pub fn into_list(self) -> Vec<Finding> {
        self.list.into_iter().map(|(_, finding)| finding).collect()
    }
}

/// A finding's block, for comparisons by index.
fn place(finding: &Finding) -> [u32; 3] {
    let [x, y, z] = finding.block;
    [z, y, x]
}
