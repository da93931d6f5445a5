//! What the instructions of a kernel say about how its threads work together.

use crate::instruction::{Instruction, Operation, Semantics};

/// Whether a loop reads what another thread may write for it: a strong load or an atomic lies between a branch and its
/// earlier target.
pub(super) fn may_wait(instructions: &[Instruction]) -> bool {
    let observes = |instruction: &Instruction| match &instruction.operation {
        Operation::Load { semantics, .. } => {
            matches!(semantics, Semantics::Relaxed(_) | Semantics::Ordered(_))
        }
        operation => matches!(operation, Operation::Atomic(_)),
    };
    instructions.iter().enumerate().any(|(pc, instruction)| match instruction.operation {
        Operation::Branch(target) if target as usize <= pc => {
            instructions[target as usize..=pc].iter().any(observes)
        }
        _ => false,
    })
}

/// Whether threads may synchronise by more than barriers of whole blocks and warps: by strong loads, fences, releases and
/// acquires, or barriers of a part of the block.
pub(super) fn are_precise(instructions: &[Instruction]) -> bool {
    instructions.iter().any(|instruction| match &instruction.operation {
        Operation::Fence(_) => true,
        Operation::Load { semantics, .. } => {
            matches!(semantics, Semantics::Relaxed(_) | Semantics::Ordered(_))
        }
        Operation::Store { semantics, .. } => matches!(semantics, Semantics::Ordered(_)),
        Operation::Atomic(atomic) => atomic.acquires || atomic.releases,
        Operation::Barrier { count, arrive, .. } => count.is_some() || *arrive,
        _ => false,
    })
}
