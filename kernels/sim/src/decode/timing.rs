//! What each instruction costs, and the registers through which others wait for it.

use super::registers::{Accesses, accesses, root};
use crate::instruction::Timing;
use crate::parse::{Body, RawInstruction};
use crate::unit::Cost;

/// Cost and registers of every instruction of a body.
pub(super) fn timings(body: &Body) -> Vec<Timing> {
    let all: Vec<Accesses> = body.instructions.iter().map(|raw| accesses(raw, body)).collect();
    let merged = merged(&body.instructions, &all, body.banks.iter().sum());
    let numbers = |registers: &[usize]| registers.iter().map(|&number| number as u32).collect();
    let timing = |((raw, accesses), merged): ((&RawInstruction, &Accesses), &bool)| Timing {
        cost: if *merged { Cost::default() } else { Cost::of(&raw.opcode) },
        reads: numbers(&[accesses.guard.as_slice(), &accesses.reads].concat()),
        writes: numbers(&accesses.writes),
        ends: matches!(
            root(raw),
            "bra" | "bar" | "barrier" | "call" | "ret" | "exit" | "fence" | "membar"
        ),
    };
    body.instructions.iter().zip(&all).zip(&merged).map(timing).collect()
}

/// How a register is used.
#[derive(Default, Clone, Copy)]
struct Use {
    writes: u32,
    reads: u32,
    /// The instruction that writes it last.
    writer: usize,
}

/// Instructions that the assembler merges with a neighbour: a product with the sum that alone reads it, a shift with
/// an addition, two additions, two logic operations, a comparison with the logic on its predicate.
fn merged(instructions: &[RawInstruction], all: &[Accesses], registers: usize) -> Vec<bool> {
    let mut uses = vec![Use::default(); registers];
    for (at, accesses) in all.iter().enumerate() {
        for &register in &accesses.writes {
            uses[register].writes += 1;
            uses[register].writer = at;
        }
        for &register in accesses.guard.iter().chain(&accesses.reads) {
            uses[register].reads += 1;
        }
    }
    let mut merged = vec![false; instructions.len()];
    for (at, accesses) in all.iter().enumerate() {
        for &register in &accesses.reads {
            let Use { writes: 1, reads: 1, writer } = uses[register] else { continue };
            if merged[at] || merged[writer] {
                continue;
            }
            match merge(&instructions[writer], &instructions[at]) {
                Some(Merged::First) => merged[writer] = true,
                Some(Merged::Second) => merged[at] = true,
                None => continue,
            }
            break;
        }
    }
    merged
}

/// Which of two dependent instructions becomes a part of the other.
enum Merged {
    First,
    Second,
}

fn merge(first: &RawInstruction, second: &RawInstruction) -> Option<Merged> {
    let kind = |raw: &RawInstruction| -> Option<(bool, bool)> {
        let kind = raw.opcode.rsplit('.').next()?;
        let integer = !matches!(kind, "f16" | "bf16" | "f32" | "f64" | "f16x2" | "bf16x2");
        integer.then_some((matches!(kind, "s64" | "u64" | "b64"), kind == "pred"))
    };
    let ((first_long, first_predicate), (second_long, second_predicate)) =
        (kind(first)?, kind(second)?);
    let same = first_long == second_long && first_predicate == second_predicate;
    let wide = first.opcode.contains(".wide.") && second_long;
    match (root(first), root(second)) {
        ("mul" | "mad", "add" | "sub") if same || wide => Some(Merged::Second),
        ("shl" | "add" | "sub", "add" | "sub") if same => Some(Merged::First),
        ("setp" | "and" | "or" | "xor" | "not", "and" | "or" | "xor" | "not")
            if second_predicate =>
        {
            Some(Merged::Second)
        }
        ("and" | "or" | "xor" | "not", "and" | "or" | "xor" | "not") if same => Some(Merged::First),
        _ => None,
    }
}
