//! Loads, stores, atomics, fences and asynchronous copies.

use super::{Decoded, Decoder, Failure, expect};
use crate::alu::{Opcode, Type};
use crate::instruction::{
    Address, Atomic, AtomicOperator, Base, Element, Fencing, Operation, Scope, Semantics, Slot,
    Space,
};
use crate::parse::{Operand, Symbol};

/// Opcode parts that are cache hints and change no value.
const CACHE_HINTS: [&str; 15] = [
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L2::64B",
    "L2::128B",
    "L2::256B",
];

/// Opcode parts that are scopes.
const SCOPES: [&str; 4] = ["cta", "cluster", "gpu", "sys"];

/// The scope of an opcode part.
fn scope(part: &str) -> Scope {
    if part == "cta" { Scope::Block } else { Scope::Device }
}

impl Decoder<'_> {
    /// Decodes an instruction that touches memory.
    pub(super) fn memory(
        &mut self,
        opcode: Opcode<'_>,
        operands: &[Operand],
    ) -> Decoded<Operation> {
        match opcode.root {
            "ld" | "ldu" | "st" => self.access(opcode, operands),
            "atom" | "red" => self.atomic(opcode, operands),
            "cp" => self.copy(opcode, operands),
            "ldmatrix" => self.load_matrix(opcode, operands),
            _ => self.fence(opcode),
        }
    }

    /// `fence` and `membar`, which is a sequentially consistent fence.
    fn fence(&mut self, mut opcode: Opcode<'_>) -> Decoded<Operation> {
        let total = opcode.root == "membar";
        let kind = opcode.one_of(&["sc", "acq_rel", "acquire", "release"]);
        let scope = opcode.one_of(&["gl", "cta", "gpu", "sys", "cluster"]).map(scope);
        let (Some(scope), true) = (scope, opcode.done()) else { return Err(Failure::Unknown) };
        Ok(Operation::Fence(Fencing {
            scope,
            acquires: kind != Some("release"),
            releases: kind != Some("acquire"),
            total: total || kind == Some("sc"),
        }))
    }

    /// The state space of a load or store; constant memory is read-only global memory.
    fn space(opcode: &mut Opcode<'_>) -> Space {
        match opcode.one_of(&["global", "shared", "shared::cta", "local", "const"]) {
            Some("global" | "const") => Space::Global,
            Some("shared" | "shared::cta") => Space::Shared,
            Some(_) => Space::Local,
            None => Space::Generic,
        }
    }

    /// `ld` and `st`.
    fn access(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let load = opcode.root != "st";
        let kind = opcode.kind().filter(|kind| kind.bytes() > 0).ok_or(Failure::Unknown)?;
        let count = match opcode.one_of(&["v2", "v4"]) {
            Some("v2") => 2,
            Some(_) => 4,
            None => 1,
        };
        let strength =
            opcode.one_of(&["weak", "volatile", "relaxed", "mmio", "acquire", "release"]);
        let scope = opcode.one_of(&SCOPES).map_or(Scope::Device, scope);
        let parameter = opcode.take("param") || opcode.take("param::func");
        let space = Self::space(&mut opcode);
        let stable = opcode.take("nc");
        while opcode.one_of(&CACHE_HINTS).is_some() {}
        if !opcode.done() {
            return Err(Failure::Unknown);
        }
        let semantics = match strength {
            Some("volatile" | "relaxed" | "mmio") => Semantics::Relaxed(scope),
            Some("acquire" | "release") => Semantics::Ordered(scope),
            _ if stable => Semantics::Stable,
            _ if self.guesses.contains(&self.index) => Semantics::Guess,
            _ => Semantics::Weak,
        };
        let [first, second] = expect(operands)?;
        let (place, values) = if load { (second, first) } else { (first, second) };
        let values = match values {
            Operand::Vector(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        if values.len() != count {
            return Err(format!("expected {count} registers, got {}", values.len()).into());
        }
        let values =
            values.iter().map(|value| self.slot(value, kind)).collect::<Decoded<Vec<_>>>()?;
        let element = Element { bytes: kind.bytes(), signed: kind.is_signed() };
        if let Some(address) = self.argument(place).filter(|_| parameter) {
            return Ok(match load {
                true => Operation::Load { address, element, values, semantics: Semantics::Weak },
                false => Operation::Store { address, element, values, semantics: Semantics::Weak },
            });
        }
        if parameter {
            if !load {
                return Err("parameters cannot be written".to_owned().into());
            }
            let (base, offset) = self.parameter(place)?;
            let end = offset + (count * kind.bytes() as usize) as i64;
            if base == Base::None && (offset < 0 || end > self.body.parameter_bytes as i64) {
                return Err("the address is outside the kernel's parameters".to_owned().into());
            }
            return Ok(Operation::Parameter { base, offset, element, values });
        }
        let address = self.address(place, space)?;
        Ok(if load {
            Operation::Load { address, element, values, semantics }
        } else {
            Operation::Store { address, element, values, semantics }
        })
    }

    /// The address of a parameter of an expanded call, which is in local memory.
    fn argument(&self, operand: &Operand) -> Option<Address> {
        if let Operand::Address(Some(base), offset) = operand
            && let Operand::Symbol(name) = base.as_ref()
            && let Some(Symbol::Local(at)) = self.body.symbols.get(name)
        {
            let offset = *at as i64 + offset;
            return Some(Address { space: Space::Local, base: Base::None, offset, array: None });
        }
        None
    }

    /// An address in the parameter space: `[parameter+offset]` or a register with such an address.
    fn parameter(&mut self, operand: &Operand) -> Decoded<(Base, i64)> {
        if let Operand::Address(Some(base), offset) = operand
            && let Operand::Symbol(name) = base.as_ref()
            && let Some(Symbol::Parameter(at)) = self.body.symbols.get(name)
        {
            return Ok((Base::None, *at as i64 + offset));
        }
        let Address { base, offset, .. } = self.address(operand, Space::Generic)?;
        Ok((base, offset))
    }

    /// `atom` and `red`.
    fn atomic(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let returns = opcode.root == "atom";
        let kind = opcode.kind().ok_or(Failure::Unknown)?;
        let semantics = opcode.one_of(&["relaxed", "acquire", "release", "acq_rel"]);
        let scope = opcode.one_of(&SCOPES).map_or(Scope::Device, scope);
        opcode.take("noftz");
        let space = Self::space(&mut opcode);
        let name = opcode.last().ok_or(Failure::Unknown)?;
        if !opcode.done() || space == Space::Local {
            return Err(Failure::Unknown);
        }
        let operator = operator(name, kind).ok_or(Failure::Unknown)?;
        let (d, rest) = match operands {
            [d, rest @ ..] if returns => (self.slot(d, kind)?, rest),
            rest => (Slot::Sink, rest),
        };
        let (place, b, c) = match (rest, name) {
            ([place, b, c], "cas") => (place, b, c),
            ([place, b], _) if name != "cas" => (place, b, b),
            _ => return Err(format!("got {} operands, which do not fit", operands.len()).into()),
        };
        Ok(Operation::Atomic(Box::new(Atomic {
            address: self.address(place, space)?,
            element: Element { bytes: kind.bytes(), signed: kind.is_signed() },
            operator: AtomicOperator(operator),
            d,
            b: self.slot(b, kind)?,
            c: self.slot(c, kind)?,
            scope,
            acquires: matches!(semantics, Some("acquire" | "acq_rel")),
            releases: matches!(semantics, Some("release" | "acq_rel")),
        })))
    }

    /// `cp.async` and its commit and wait instructions.
    fn copy(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        if !opcode.take("async") {
            return Err(Failure::Unknown);
        }
        if opcode.take("commit_group") && opcode.done() {
            return Ok(Operation::CommitCopies);
        }
        if opcode.take("wait_all") && opcode.done() {
            return Ok(Operation::WaitCopies(None));
        }
        if opcode.take("wait_group") && opcode.done() {
            return match operands {
                [Operand::Literal(count)] => {
                    Ok(Operation::WaitCopies(Some(count.integer_bits() as u32)))
                }
                _ => Err("expected a number of groups".to_owned().into()),
            };
        }
        let all_levels = opcode.one_of(&["ca", "cg"]) == Some("ca");
        let shared = opcode.take("shared") || opcode.take("shared::cta");
        let from_global = opcode.take("global");
        while opcode.one_of(&CACHE_HINTS).is_some() {}
        if !opcode.done() || !shared || !from_global || !(3..=4).contains(&operands.len()) {
            return Err(Failure::Unknown);
        }
        let Operand::Literal(bytes) = &operands[2] else {
            return Err("the size is not a literal number".to_owned().into());
        };
        let bytes = bytes.integer_bits() as u32;
        if !matches!(bytes, 4 | 8 | 16) || !all_levels && bytes != 16 {
            return Err(format!("got a copy of {bytes} bytes, expected 4, 8 or 16").into());
        }
        Ok(Operation::CopyAsync {
            to: self.address(&operands[0], Space::Shared)?,
            from: self.address(&operands[1], Space::Global)?,
            bytes,
            source: operands.get(3).map(|operand| self.number(operand)).transpose()?,
        })
    }

    /// `ldmatrix`.
    fn load_matrix(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let fixed = ["sync", "aligned", "m8n8", "b16"].map(|part| opcode.take(part));
        let count = match opcode.one_of(&["x1", "x2", "x4"]) {
            Some("x1") => 1,
            Some("x2") => 2,
            Some(_) => 4,
            None => return Err(Failure::Unknown),
        };
        let transposed = opcode.take("trans");
        let shared = opcode.take("shared") || opcode.take("shared::cta");
        if !opcode.done() || fixed.contains(&false) || !shared {
            return Err(Failure::Unknown);
        }
        let [values, place] = expect(operands)?;
        let values = match values {
            Operand::Vector(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        if values.len() != count {
            return Err(format!("expected {count} registers, got {}", values.len()).into());
        }
        let values = values
            .iter()
            .map(|value| self.destination(value, Type::U32))
            .collect::<Decoded<Vec<_>>>()?;
        let address: Address = self.address(place, Space::Shared)?;
        Ok(Operation::LoadMatrix { address, transposed, values })
    }
}

/// The function of an atomic, on bits.
fn operator(name: &str, kind: Type) -> Option<fn(u64, u64, u64) -> u64> {
    Some(match (name, kind) {
        ("add", Type::F32) => {
            |old, b, _| u64::from((f32::from_bits(old as u32) + f32::from_bits(b as u32)).to_bits())
        }
        ("add", Type::F64) => |old, b, _| (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        ("add", Type::U32 | Type::S32) => {
            |old, b, _| u64::from((old as u32).wrapping_add(b as u32))
        }
        ("add", Type::U64 | Type::S64) => |old, b, _| old.wrapping_add(b),
        ("min", Type::U32 | Type::U64) => |old, b, _| old.min(b),
        ("max", Type::U32 | Type::U64) => |old, b, _| old.max(b),
        ("min", Type::S32) => |old, b, _| u64::from((old as i32).min(b as i32) as u32),
        ("max", Type::S32) => |old, b, _| u64::from((old as i32).max(b as i32) as u32),
        ("min", Type::S64) => |old, b, _| (old as i64).min(b as i64) as u64,
        ("max", Type::S64) => |old, b, _| (old as i64).max(b as i64) as u64,
        ("and", Type::U32 | Type::U64) => |old, b, _| old & b,
        ("or", Type::U32 | Type::U64) => |old, b, _| old | b,
        ("xor", Type::U32 | Type::U64) => |old, b, _| old ^ b,
        ("exch", Type::U32 | Type::U64) => |_, b, _| b,
        ("cas", Type::U32 | Type::U64) => |old, b, c| if old == b { c } else { old },
        ("inc", Type::U32) => |old, b, _| if old >= b { 0 } else { old + 1 },
        ("dec", Type::U32) => |old, b, _| if old == 0 || old > b { b } else { old - 1 },
        _ => return None,
    })
}
