//! Decoded instructions.

use crate::lanes::{Lanes, Operands};
use crate::unit::Cost;

/// One instruction of a kernel.
#[derive(Debug)]
pub(crate) struct Instruction {
    pub operation: Operation,
    /// The guard predicate and whether it is negated.
    pub guard: Option<(u16, bool)>,
    /// The instruction as PTX text.
    pub text: String,
    /// Its place in the source: an index in [`crate::kernel::Kernel::locations`].
    pub location: Option<u32>,
    /// Its accesses of registers that may be read before they are written.
    pub watch: Option<Box<Watch>>,
    pub timing: Timing,
}

/// What an instruction costs, and the registers through which others wait for it, by their numbers over all banks.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    pub cost: Cost,
    /// Also the guard.
    pub reads: Box<[u32]>,
    pub writes: Box<[u32]>,
    /// Whether it ends the instructions among which the assembler chooses an order: a branch or a barrier.
    pub ends: bool,
}

/// Accesses of registers that may be read before they are written, by their numbers among these.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The guard, which every lane reads.
    pub guard: Option<u16>,
    pub reads: Vec<u16>,
    pub writes: Vec<u16>,
}

/// The operation of an instruction.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Arithmetic, a comparison, a conversion or a move, lane by lane.
    Lanes(Lanes, Operands),
    /// Logic on predicates.
    Predicate { operator: Logic, d: u16, a: u16, b: u16, negated: bool },
    /// A jump.
    Branch(u32),
    /// The end of a thread.
    Exit,
    /// A failed assertion, `trap` or `brkpt`: a finding, and the end of a thread.
    Trap { assertion: bool },
    /// A load from the parameter space; its first byte has address 0.
    Parameter { base: Base, offset: i64, element: Element, values: Vec<Slot> },
    /// A load.
    Load { address: Address, element: Element, values: Vec<Slot>, semantics: Semantics },
    /// A store.
    Store { address: Address, element: Element, values: Vec<Slot>, semantics: Semantics },
    /// A read-modify-write.
    Atomic(Box<Atomic>),
    /// `fence` and `membar`.
    Fence(Fencing),
    /// A shuffle.
    Shuffle { mode: Shuffle, d: u16, valid: Option<u16>, a: u16, b: u16, c: u16, members: u16 },
    /// A vote; the result is a predicate or, for a ballot, a register.
    Vote { mode: Vote, d: u16, a: u16, negated: bool, members: u16 },
    /// `match.any` and, with the second destination, `match.all`.
    Match { all: bool, long: bool, d: u16, valid: Option<u16>, a: u16, members: u16 },
    /// A reduction over the lanes of a warp.
    Reduce { operator: Reduction, d: u16, a: u16, members: u16 },
    /// `activemask`: the lanes that execute this instruction together.
    ActiveMask { d: u16 },
    /// `bar.warp.sync`.
    SyncWarp { members: u16 },
    /// `bar.sync` and `bar.red`; `arrive` does not wait.
    Barrier { id: u16, count: Option<u16>, arrive: bool, vote: Option<BarrierVote> },
    /// `ldmatrix` of 1, 2 or 4 tiles.
    LoadMatrix { address: Address, transposed: bool, values: Vec<u16> },
    /// `mma.sync`.
    Multiply { shape: Matrices, d: [u16; 4], a: Vec<u16>, b: Vec<u16>, c: [u16; 4] },
    /// `cp.async`: copies `bytes`, of which the first `source` (a register) come from memory.
    CopyAsync { to: Address, from: Address, bytes: u32, source: Option<u16> },
    /// `cp.async.commit_group`.
    CommitCopies,
    /// `cp.async.wait_group n`; with `None` `cp.async.wait_all`, which includes uncommitted copies.
    WaitCopies(Option<u32>),
    /// A read of the clock: the number of warp instructions so far.
    Clock(Slot),
    /// An instruction that changes no value.
    Nothing,
}

/// Logic on predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
    Copy,
    Not,
}

/// The threads that a strong access or a fence synchronises with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of its block.
    Block,
    /// Those of the device; also what PTX calls system and cluster.
    Device,
}

/// What a load or store orders: the `.sem` of PTX, and what is known of plain loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Semantics {
    /// A plain access: races are findings.
    Weak,
    /// A plain load of memory that no thread writes during the launch: `ld.global.nc`.
    Stable,
    /// A plain load whose value a compare-and-swap of the kernel checks.
    Guess,
    /// Volatile or relaxed.
    Relaxed(Scope),
    /// A load with acquire or a store with release semantics.
    Ordered(Scope),
}

/// What a fence orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fencing {
    pub scope: Scope,
    pub acquires: bool,
    pub releases: bool,
    /// Whether it is sequentially consistent: all such fences have one order.
    pub total: bool,
}

/// The address operand of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub space: Space,
    pub base: Base,
    pub offset: i64,
    /// The number of the array in shared memory from which the address was computed, where that is certain.
    pub array: Option<u16>,
}

/// The base of an address; the offset is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// No base: the offset is the address.
    None,
    /// A 32-bit register.
    Word(u16),
    /// A 64-bit register.
    Long(u16),
}

/// A state space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Shared,
    Local,
    Generic,
}

/// The type of one element of a load or store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    /// Size in bytes: 1, 2, 4 or 8.
    pub bytes: u32,
    pub signed: bool,
}

/// A register that an element is loaded to or stored from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// A 16-bit register.
    Half(u16),
    /// A 32-bit register.
    Word(u16),
    /// A 64-bit register.
    Long(u16),
    /// No register: the value is dropped.
    Sink,
}

/// A read-modify-write on 4 or 8 bytes.
#[derive(Debug)]
pub(crate) struct Atomic {
    pub address: Address,
    pub element: Element,
    pub operator: AtomicOperator,
    /// Destination of the old value.
    pub d: Slot,
    pub b: Slot,
    pub c: Slot,
    pub scope: Scope,
    pub acquires: bool,
    pub releases: bool,
}

/// Computes the new value from the old one and the operands, all as bits.
#[derive(Clone, Copy)]
pub(crate) struct AtomicOperator(pub fn(u64, u64, u64) -> u64);

impl std::fmt::Debug for AtomicOperator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AtomicOperator")
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lanes")
    }
}

/// Which lane a shuffle reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// The mode of a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// A reduction over a warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    Add,
    MinSigned,
    MaxSigned,
    MinUnsigned,
    MaxUnsigned,
    And,
    Or,
    Xor,
}

/// A barrier that also votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BarrierVote {
    pub mode: BarrierMode,
    /// Destination: a 32-bit register for a count, otherwise a predicate.
    pub d: u16,
    pub a: u16,
    pub negated: bool,
}

/// The reduction of a voting barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BarrierMode {
    Count,
    And,
    Or,
}

/// Operand types of `mma.sync`: m = 16, n = 8, f32 accumulators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matrices {
    /// k = 16 (or 8 with half the registers), bf16.
    Bf16,
    /// k = 16 (or 8 with half the registers), f16.
    F16,
    /// k = 8 (or 4 with half the registers), tf32.
    Tf32,
}
