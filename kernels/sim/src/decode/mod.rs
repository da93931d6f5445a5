//! Decodes statements to instructions: opcodes to functions and operands to register slots.

mod arithmetic;
mod collective;
mod memory;
mod provenance;
mod registers;
mod synchronisation;
mod timing;
mod unwritten;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::alu::{Opcode, Type};
use crate::error::Error;
use crate::instruction::{Address, Base, Instruction, Operation, Slot, Space, Timing};
use crate::kernel::{Bank, Constant, Kernel, Register, Shared, Source, Special};
use crate::parse::{Body, Operand, RawInstruction};
use provenance::Origins;

/// Decodes one kernel.
pub(crate) fn kernel(body: Body, shared: &Arc<Shared>) -> Result<Kernel, Error> {
    let mut decoder = Decoder::new(&body);
    let mut instructions = Vec::with_capacity(body.instructions.len() + 1);
    let mut unknown: Option<(usize, Vec<(String, String)>)> = None;
    let (watches, watched) = unwritten::watches(&body);
    let of_each = body.instructions.iter().zip(watches).zip(timing::timings(&body));
    for (index, ((raw, watch), timing)) in of_each.enumerate() {
        decoder.index = index;
        match decoder.operation(raw) {
            Ok(operation) => instructions.push(Instruction {
                operation,
                guard: raw.guard.map(|(register, negated)| (register.slot, negated)),
                text: format!("{};", raw.text),
                location: raw.location,
                watch,
                timing,
            }),
            Err(Failure::Unknown) => {
                let (_, list) = unknown.get_or_insert((raw.line, Vec::new()));
                let call = raw.opcode.starts_with("call");
                let same = |(opcode, text): &(String, String)| match call {
                    true => *text == raw.text,
                    false => *opcode == raw.opcode,
                };
                if !list.iter().any(same) {
                    list.push((raw.opcode.clone(), raw.text.clone()));
                }
            }
            Err(Failure::Operand(what)) => {
                let what = format!("`{}` in kernel {}: {what}", raw.text, body.name);
                return Err(Error::Parse { line: raw.line, what });
            }
        }
    }
    if let Some((line, list)) = unknown {
        let instructions = list.into_iter().map(|(_, text)| text).collect();
        return Err(Error::Unsupported { kernel: body.name, line, instructions });
    }
    // A thread that reaches the end of the code exits.
    instructions.push(Instruction {
        operation: Operation::Exit,
        guard: None,
        text: "}".to_owned(),
        location: None,
        watch: None,
        timing: Timing::default(),
    });
    let banks = decoder.banks;
    if banks.iter().any(|&count| count > usize::from(u16::MAX)) {
        let what = format!("kernel {} has more than 65535 registers of one size", body.name);
        return Err(Error::Parse { line: 0, what });
    }
    let constants = decoder.constants;
    Ok(Kernel {
        name: body.name,
        shared: Arc::clone(shared),
        locations: body.locations.into_list(),
        banks,
        watched,
        constants,
        parameters: body.parameters,
        parameter_bytes: body.parameter_bytes,
        shared_bytes: body.shared_bytes,
        arrays: body.arrays,
        local_bytes: body.local_bytes,
        required_block: body.required_block,
        most_threads: body.most_threads,
        may_wait: synchronisation::may_wait(&instructions),
        precise: synchronisation::are_precise(&instructions),
        instructions,
    })
}

/// Why an instruction cannot be decoded.
pub(crate) enum Failure {
    /// The form is not known.
    Unknown,
    /// The form is known, but its operands do not fit it.
    Operand(String),
}

impl From<String> for Failure {
    fn from(what: String) -> Failure {
        Failure::Operand(what)
    }
}

/// A result of decoding.
pub(crate) type Decoded<T> = Result<T, Failure>;

/// The register slots allocated so far.
struct Decoder<'a> {
    body: &'a Body,
    origins: Origins,
    /// Loads whose value a compare-and-swap checks, by the index of their instruction.
    guesses: HashSet<usize>,
    /// The index of the instruction that is decoded.
    index: usize,
    banks: [usize; 3],
    constants: Vec<Constant>,
    known: HashMap<(Bank, u64), Register>,
    /// A register of each bank that is never read.
    sinks: [Option<u16>; 3],
}

/// The index of a bank in `banks`.
fn counter(bank: Bank) -> usize {
    match bank {
        Bank::Half | Bank::Word => 0,
        Bank::Long => 1,
        Bank::Predicate => 2,
    }
}

/// The bank of a type's registers.
fn bank_of(kind: Type) -> Bank {
    match kind.bytes() {
        0 => Bank::Predicate,
        1 | 2 => Bank::Half,
        4 => Bank::Word,
        _ => Bank::Long,
    }
}

impl<'a> Decoder<'a> {
    fn new(body: &'a Body) -> Decoder<'a> {
        Decoder {
            body,
            origins: Origins::of(body),
            guesses: provenance::guesses(body),
            index: 0,
            banks: body.banks,
            constants: Vec::new(),
            known: HashMap::new(),
            sinks: [None; 3],
        }
    }

    /// Decodes one instruction.
    fn operation(&mut self, raw: &RawInstruction) -> Decoded<Operation> {
        let opcode = Opcode::new(&raw.opcode);
        match opcode.root {
            "bra" => match raw.operands.as_slice() {
                [Operand::Target(target)] => Ok(Operation::Branch(*target as u32)),
                [Operand::Symbol(label)] => Err(format!("label `{label}` is not defined").into()),
                _ => Err(Failure::Unknown),
            },
            "trap" | "brkpt" => Ok(Operation::Trap { assertion: false }),
            "call" => match raw.operands.as_slice() {
                [Operand::Symbol(name)] if name == "__assertfail" => {
                    Ok(Operation::Trap { assertion: true })
                }
                _ => Err(Failure::Unknown),
            },
            "ret" | "exit" => Ok(Operation::Exit),
            "mov" if let [d, Operand::Special(Special::Clock)] = raw.operands.as_slice() => {
                Ok(Operation::Clock(self.slot(d, Type::U64)?))
            }
            "nanosleep" | "prefetch" | "prefetchu" | "discard" | "applypriority" | "pmevent" => {
                Ok(Operation::Nothing)
            }
            "ld" | "ldu" | "st" | "atom" | "red" | "fence" | "membar" | "cp" | "ldmatrix" => {
                self.memory(opcode, &raw.operands)
            }
            "shfl" | "vote" | "match" | "redux" | "activemask" | "bar" | "barrier" | "mma" => {
                self.collective(opcode, &raw.operands)
            }
            _ => self.arithmetic(opcode, &raw.operands),
        }
    }

    /// A new register.
    fn fresh(&mut self, bank: Bank) -> Register {
        let count = &mut self.banks[counter(bank)];
        // Too many registers are reported once the whole kernel is decoded.
        let slot = (*count).min(usize::from(u16::MAX)) as u16;
        *count += 1;
        Register { bank, slot }
    }

    /// A register that always holds `source`.
    fn constant(&mut self, bank: Bank, source: Source) -> u16 {
        let key = match source {
            Source::Bits(bits) => Some((bank, bits)),
            _ => None,
        };
        if let Some(register) = key.and_then(|key| self.known.get(&key)) {
            return register.slot;
        }
        let same = |c: &&Constant| c.source == source && c.register.bank == bank;
        if let Some(constant) = self.constants.iter().find(same).filter(|_| key.is_none()) {
            return constant.register.slot;
        }
        let register = self.fresh(bank);
        self.constants.push(Constant { register, source });
        if let Some(key) = key {
            self.known.insert(key, register);
        }
        register.slot
    }

    /// The slot of a destination of type `kind`.
    fn destination(&mut self, operand: &Operand, kind: Type) -> Decoded<u16> {
        let bank = bank_of(kind);
        match operand {
            Operand::Register(register) if counter(register.bank) == counter(bank) => {
                Ok(register.slot)
            }
            Operand::Sink => {
                let at = counter(bank);
                if self.sinks[at].is_none() {
                    self.sinks[at] = Some(self.fresh(bank).slot);
                }
                Ok(self.sinks[at].unwrap_or_default())
            }
            other => Err(format!("{other:?} cannot take a result of type {kind:?}").into()),
        }
    }

    /// The slot of a source of type `kind`.
    fn source(&mut self, operand: &Operand, kind: Type) -> Decoded<u16> {
        let bank = bank_of(kind);
        let source = match operand {
            Operand::Register(register) if counter(register.bank) == counter(bank) => {
                return Ok(register.slot);
            }
            Operand::Literal(literal) => {
                let bits = if matches!(kind, Type::F32 | Type::F64) {
                    literal.float_bits(kind.bytes() as usize)
                } else {
                    literal.integer_bits()
                };
                let width = 8 * kind.bytes();
                Source::Bits(if width == 0 || width == 64 {
                    bits
                } else {
                    bits & ((1 << width) - 1)
                })
            }
            Operand::Special(special) => Source::Special(*special),
            Operand::Symbol(name) => self.symbol(name)?,
            other => {
                return Err(format!("{other:?} cannot be read as type {kind:?}").into());
            }
        };
        Ok(self.constant(bank, source))
    }

    /// The address of a variable.
    fn symbol(&self, name: &str) -> Decoded<Source> {
        use crate::parse::Symbol;
        match self.body.symbols.get(name) {
            Some(Symbol::Shared(at) | Symbol::Local(at) | Symbol::Parameter(at)) => {
                Ok(Source::Bits(*at as u64))
            }
            Some(Symbol::Variable(index)) => Ok(Source::Variable(*index)),
            None => Err(format!("`{name}` is not defined").into()),
        }
    }

    /// A predicate source and whether it is negated.
    fn predicate(&mut self, operand: &Operand) -> Decoded<(u16, bool)> {
        match operand {
            Operand::Negated(register) => Ok((register.slot, true)),
            Operand::Literal(literal) => {
                let bits = if literal.integer_bits() == 0 { 0 } else { u64::from(u32::MAX) };
                Ok((self.constant(Bank::Predicate, Source::Bits(bits)), false))
            }
            other => Ok((self.source(other, Type::Predicate)?, false)),
        }
    }

    /// An address operand in a state space.
    fn address(&mut self, operand: &Operand, space: Space) -> Decoded<Address> {
        let Operand::Address(base, offset) = operand else {
            return Err(format!("{operand:?} is not an address").into());
        };
        let array = match space {
            Space::Shared | Space::Generic => {
                base.as_deref().and_then(|base| self.origins.array(base))
            }
            _ => None,
        };
        let base = match base.as_deref() {
            None => Base::None,
            Some(Operand::Register(Register { bank: Bank::Word, slot })) => Base::Word(*slot),
            Some(Operand::Register(Register { bank: Bank::Long, slot })) => Base::Long(*slot),
            Some(symbol @ Operand::Symbol(_)) => Base::Long(self.source(symbol, Type::U64)?),
            Some(other) => return Err(format!("{other:?} cannot be part of an address").into()),
        };
        Ok(Address { space, base, offset: *offset, array })
    }

    /// The register of a loaded or stored element; it may be wider than the element.
    fn slot(&mut self, operand: &Operand, kind: Type) -> Decoded<Slot> {
        Ok(match operand {
            Operand::Sink => Slot::Sink,
            Operand::Register(Register { bank: Bank::Half, slot }) => Slot::Half(*slot),
            Operand::Register(Register { bank: Bank::Word, slot }) => Slot::Word(*slot),
            Operand::Register(Register { bank: Bank::Long, slot }) => Slot::Long(*slot),
            other if kind.bytes() == 8 => Slot::Long(self.source(other, kind)?),
            other => Slot::Word(self.source(other, kind)?),
        })
    }
}

/// Checks the number of operands.
fn expect<const N: usize>(operands: &[Operand]) -> Decoded<&[Operand; N]> {
    operands
        .try_into()
        .map_err(|_| Failure::Operand(format!("expected {N} operands, got {}", operands.len())))
}
