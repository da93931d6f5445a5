//! Finds reads of registers that may come before every write: definite assignment over the control
//! flow. The machine checks these reads only, so that other kernels pay nothing.

use super::registers::{self, Accesses, root};
use crate::instruction::Watch;
use crate::parse::{Body, Operand, RawInstruction};

/// Instructions that run one after another: first and last plus one, and the blocks behind them.
struct Block {
    first: usize,
    end: usize,
    next: Vec<usize>,
}

/// For each instruction its reads that may come before every write of the register, with all writes
/// of such registers; and the number of such registers.
pub(super) fn watches(body: &Body) -> (Vec<Option<Box<Watch>>>, usize) {
    let all: Vec<Accesses> = body.instructions.iter().map(|raw| accesses(raw, body)).collect();
    let blocks = blocks(&body.instructions);
    let mut watches: Vec<Option<Box<Watch>>> = all.iter().map(|_| None).collect();
    let mut slots: Vec<Option<u16>> = vec![None; body.banks.iter().sum()];
    let mut used = 0;
    for (first, chunk) in exposed(&all, &blocks, slots.len()).chunks(64).map(|c| (c[0], c)) {
        let bit = |register: usize| match register < first {
            true => 0,
            false => chunk.binary_search(&register).map_or(0, |at| 1u64 << at),
        };
        let definite = |at: usize| match all[at].guard {
            None => all[at].writes.iter().fold(0, |bits, &register| bits | bit(register)),
            Some(_) => 0,
        };
        let written = entering(&blocks, definite);
        for (block, &written) in blocks.iter().zip(&written) {
            let mut written = written;
            for at in block.first..block.end {
                let mut slot = |register: usize| -> Option<u16> {
                    let bit = bit(register);
                    if bit == 0 || written & bit != 0 {
                        return None;
                    }
                    if slots[register].is_none() {
                        slots[register] = u16::try_from(used).ok();
                        used += 1;
                    }
                    slots[register]
                };
                let guard = all[at].guard.and_then(&mut slot);
                let reads: Vec<u16> = all[at].reads.iter().filter_map(|&r| slot(r)).collect();
                if guard.is_some() || !reads.is_empty() {
                    let watch = watches[at].get_or_insert_default();
                    watch.guard = guard.or(watch.guard);
                    watch.reads.extend(reads);
                }
                written |= definite(at);
            }
        }
    }
    for (accesses, watch) in all.iter().zip(&mut watches) {
        let writes: Vec<u16> = accesses.writes.iter().filter_map(|&r| slots[r]).collect();
        if !writes.is_empty() {
            watch.get_or_insert_default().writes = writes;
        }
    }
    (watches, used.min(usize::from(u16::MAX) + 1))
}

/// The registers that some block may read before it writes them, in ascending order.
fn exposed(all: &[Accesses], blocks: &[Block], registers: usize) -> Vec<usize> {
    let mut exposed = vec![false; registers];
    // The last block that has certainly written each register so far.
    let mut written = vec![usize::MAX; registers];
    for (number, block) in blocks.iter().enumerate() {
        for accesses in &all[block.first..block.end] {
            for &register in accesses.guard.iter().chain(&accesses.reads) {
                exposed[register] |= written[register] != number;
            }
            if accesses.guard.is_none() {
                accesses.writes.iter().for_each(|&register| written[register] = number);
            }
        }
    }
    (0..registers).filter(|&register| exposed[register]).collect()
}

/// The registers, a bit each, that are certainly written when each block starts.
fn entering(blocks: &[Block], definite: impl Fn(usize) -> u64) -> Vec<u64> {
    let own: Vec<u64> =
        blocks.iter().map(|b| (b.first..b.end).fold(0, |bits, at| bits | definite(at))).collect();
    let mut entering = vec![u64::MAX; blocks.len()];
    if let Some(first) = entering.first_mut() {
        *first = 0;
    }
    let mut changed = true;
    while changed {
        changed = false;
        for (number, block) in blocks.iter().enumerate() {
            let leaving = entering[number] | own[number];
            for &next in &block.next {
                changed |= entering[next] & !leaving != 0;
                entering[next] &= leaving;
            }
        }
    }
    entering
}

/// Splits instructions into blocks.
fn blocks(instructions: &[RawInstruction]) -> Vec<Block> {
    let target = |raw: &RawInstruction| match (root(raw), raw.operands.as_slice()) {
        ("bra", [Operand::Target(target)]) => Some(*target),
        _ => None,
    };
    let ends = |raw: &RawInstruction| matches!(root(raw), "bra" | "ret" | "exit" | "trap");
    let mut starts = vec![false; instructions.len() + 1];
    for (at, raw) in instructions.iter().enumerate() {
        if let Some(target) = target(raw) {
            starts[target] = true;
        }
        starts[at + 1] |= ends(raw);
    }
    starts[0] = true;
    let firsts: Vec<usize> = (0..instructions.len()).filter(|&at| starts[at]).collect();
    let number = |at: usize| firsts.binary_search(&at).ok();
    firsts
        .iter()
        .enumerate()
        .map(|(block, &first)| {
            let end = firsts.get(block + 1).copied().unwrap_or(instructions.len());
            let last = &instructions[end - 1];
            let falls = !ends(last) || last.guard.is_some();
            let next = [target(last).and_then(number), number(end).filter(|_| falls)];
            Block { first, end, next: next.into_iter().flatten().collect() }
        })
        .collect()
}

/// The registers of an instruction. Copies (`mov`, `selp`) do not count as reads: compilers copy
/// values that nothing uses.
fn accesses(raw: &RawInstruction, body: &Body) -> Accesses {
    let mut accesses = registers::accesses(raw, body);
    if matches!(root(raw), "mov" | "selp") {
        accesses.reads.clear();
    }
    accesses
}

#[cfg(test)]
mod tests {
    use crate::Module;

    #[test]
    fn compiled_kernels_need_no_checks() {
        for (text, count) in [
            (include_str!("../../tests/ptx/sgemm.ptx"), 1),
            (include_str!("../../tests/ptx/softmax.ptx"), 1),
            (include_str!("../../tests/ptx/mma.ptx"), 1),
        ] {
            let module = Module::parse(text).unwrap();
            assert_eq!(module.kernels().count(), count);
            for kernel in module.kernels() {
                assert_eq!(kernel.watched, 0, "{}", kernel.name());
                assert!(kernel.instructions.iter().all(|i| i.watch.is_none()));
            }
        }
    }
}
