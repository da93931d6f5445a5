//! Where the values of registers come from.

use std::collections::{HashMap, HashSet};

use crate::kernel::Register;
use crate::parse::{Body, Operand, RawInstruction, Symbol};

/// For each register, the array in shared memory from whose address it was computed.
pub(super) struct Origins {
    registers: HashMap<Register, Origin>,
    arrays: HashMap<String, u16>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It is not an address in shared memory.
    Number,
    /// The address of an array, with a number added.
    Array(u16),
    /// Not certain.
    Unclear,
}

/// The root of an opcode and its first operand, if the instruction writes it, and its other operands.
fn parts(raw: &RawInstruction) -> (&str, Option<&Operand>, &[Operand]) {
    let root = raw.opcode.split('.').next().unwrap_or_default();
    match (root, raw.operands.as_slice()) {
        ("st" | "red" | "bra" | "bar" | "barrier" | "cp" | "call", all) => (root, None, all),
        (_, [first, rest @ ..]) => (root, Some(first), rest),
        (_, []) => (root, None, &[]),
    }
}

impl Origins {
    /// Follows additions and copies of addresses through a kernel with several arrays, until nothing changes.
    pub fn of(body: &Body) -> Origins {
        let arrays =
            body.arrays.iter().enumerate().map(|(at, array)| (array.name.clone(), at as u16));
        let mut origins = Origins { registers: HashMap::new(), arrays: arrays.collect() };
        let mut changed = body.arrays.len() > 1;
        while changed {
            changed = false;
            for raw in &body.instructions {
                let (root, Some(Operand::Register(d)), sources) = parts(raw) else { continue };
                let Some(new) = origins.result(root, sources) else { continue };
                let merged = match origins.registers.get(d) {
                    Some(&old) if old != new => Origin::Unclear,
                    _ => new,
                };
                changed |= origins.registers.insert(*d, merged) != Some(merged);
            }
        }
        origins
    }

    /// The origin of a result. `None`: not known yet.
    fn result(&self, root: &str, sources: &[Operand]) -> Option<Origin> {
        if matches!(root, "ld" | "ldu" | "atom") {
            return Some(Origin::Number);
        }
        let sums = matches!(root, "add" | "sub" | "mad" | "mov" | "cvt" | "cvta" | "selp");
        let mut sum = Some(Origin::Number);
        for source in sources {
            sum = match (sum, self.origin(source)) {
                (_, None) => return None,
                (None, _) => None,
                (Some(Origin::Number), Some(Origin::Array(_))) if !sums => Some(Origin::Unclear),
                (Some(Origin::Number), Some(other)) => Some(other),
                (Some(array), Some(Origin::Number)) => Some(array),
                (Some(Origin::Array(a)), Some(Origin::Array(b))) if a == b && root == "selp" => sum,
                _ => Some(Origin::Unclear),
            };
        }
        sum
    }

    fn origin(&self, operand: &Operand) -> Option<Origin> {
        match operand {
            Operand::Register(register) => self.registers.get(register).copied(),
            Operand::Symbol(name) => {
                Some(self.arrays.get(name).map_or(Origin::Number, |&array| Origin::Array(array)))
            }
            Operand::Literal(_) | Operand::Special(_) | Operand::Negated(_) => Some(Origin::Number),
            _ => Some(Origin::Unclear),
        }
    }

    /// The number of the array from whose address an operand was computed, where that is certain.
    pub fn array(&self, operand: &Operand) -> Option<u16> {
        match self.origin(operand) {
            Some(Origin::Array(array)) => Some(array),
            _ => None,
        }
    }
}

/// Plain loads whose value a compare-and-swap of the same address checks, by the index of their instruction.
pub(super) fn guesses(body: &Body) -> HashSet<usize> {
    let mut writers: HashMap<Register, Vec<usize>> = HashMap::new();
    for (at, raw) in body.instructions.iter().enumerate() {
        if let (_, Some(Operand::Register(d)), _) = parts(raw) {
            writers.entry(*d).or_default().push(at);
        }
    }
    let mut found = HashSet::new();
    for raw in &body.instructions {
        let ("atom", _, [place, compared, _]) = parts(raw) else { continue };
        if !raw.opcode.contains(".cas") {
            continue;
        }
        let place = address(place, &writers, body);
        let (mut open, mut seen) = (vec![compared], HashSet::new());
        while let Some(operand) = open.pop() {
            let Operand::Register(register) = operand else { continue };
            for &at in writers.get(register).into_iter().flatten().filter(|&&at| seen.insert(at)) {
                match parts(&body.instructions[at]) {
                    ("mov" | "cvt", _, [source]) => open.push(source),
                    ("ld", _, [source]) if address(source, &writers, body) == place => {
                        found.insert(at);
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

/// An address, with its base followed back through copies.
fn address(
    operand: &Operand,
    writers: &HashMap<Register, Vec<usize>>,
    body: &Body,
) -> Option<(Base, i64)> {
    let Operand::Address(Some(base), offset) = operand else { return None };
    let mut register = match base.as_ref() {
        Operand::Register(register) => *register,
        Operand::Symbol(name) => return Some((Base::Symbol(*body.symbols.get(name)?), *offset)),
        _ => return None,
    };
    while let Some([only]) = writers.get(&register).map(Vec::as_slice)
        && let ("mov" | "cvta", _, [Operand::Register(source)]) = parts(&body.instructions[*only])
    {
        register = *source;
    }
    Some((Base::Register(register), *offset))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Register(Register),
    Symbol(Symbol),
}
