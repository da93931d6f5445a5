//! The registers that an instruction reads and writes.

use super::counter;
use crate::kernel::Register;
use crate::parse::{Body, Operand, RawInstruction};

/// The registers that an instruction reads and writes, as numbers over all banks of a body.
#[derive(Default)]
pub(super) struct Accesses {
    pub guard: Option<usize>,
    pub reads: Vec<usize>,
    pub writes: Vec<usize>,
}

/// The first part of an opcode.
pub(super) fn root(raw: &RawInstruction) -> &str {
    raw.opcode.split('.').next().unwrap_or("")
}

/// The registers of an instruction.
pub(super) fn accesses(raw: &RawInstruction, body: &Body) -> Accesses {
    let number = |register: Register| {
        let before: usize = body.banks[..counter(register.bank)].iter().sum();
        before + usize::from(register.slot)
    };
    let has_result = match root(raw) {
        "bar" | "barrier" => raw.opcode.contains(".red."),
        "st" | "red" | "cp" | "bra" | "nanosleep" | "prefetch" | "call" => false,
        _ => true,
    };
    let mut accesses = Accesses { guard: raw.guard.map(|(r, _)| number(r)), ..Accesses::default() };
    let (results, sources) = raw.operands.split_at(usize::from(has_result).min(raw.operands.len()));
    for operand in results {
        visit(operand, &mut |register| accesses.writes.push(number(register)));
    }
    for operand in sources {
        visit(operand, &mut |register| accesses.reads.push(number(register)));
    }
    accesses
}

/// Calls `f` with every register of an operand.
fn visit(operand: &Operand, f: &mut impl FnMut(Register)) {
    match operand {
        Operand::Register(register) | Operand::Negated(register) => f(*register),
        Operand::Address(Some(base), _) => visit(base, f),
        Operand::Vector(parts) => parts.iter().for_each(|part| visit(part, f)),
        Operand::Pair(left, right) => {
            visit(left, f);
            visit(right, f);
        }
        _ => {}
    }
}
