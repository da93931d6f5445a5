//! Arithmetic, comparisons, conversions and moves.

use super::{Decoded, Decoder, Failure, expect};
use crate::alu::{self, Opcode, Type};
use crate::instruction::{Logic, Operation};
use crate::kernel::{Bank, Register};
use crate::lanes::{Operands, combine, lanes, unary};
use crate::parse::Operand;

impl Decoder<'_> {
    /// Decodes an instruction that uses registers only.
    pub(super) fn arithmetic(
        &mut self,
        opcode: Opcode<'_>,
        operands: &[Operand],
    ) -> Decoded<Operation> {
        match opcode.root {
            "setp" => self.comparison(&opcode, operands),
            "selp" => self.selection(&opcode, operands),
            "cvt" => self.conversion(&opcode, operands),
            "cvta" => self.address_conversion(opcode, operands),
            "mov" => self.movement(opcode, operands),
            "and" | "or" | "xor" | "not" if opcode.clone().kind() == Some(Type::Predicate) => {
                self.logic(opcode, operands)
            }
            "lop3" => {
                let [d, a, b, c, table] = expect(operands)?;
                let operands = [d, a, b, c].map(Clone::clone);
                let Operand::Literal(table) = table else {
                    return Err(Failure::Unknown);
                };
                self.general(&opcode, &operands, Some(table.integer_bits() as u32))
            }
            _ => self.general(&opcode, operands, None),
        }
    }

    /// An instruction that its form fully defines.
    fn general(
        &mut self,
        opcode: &Opcode<'_>,
        operands: &[Operand],
        immediate: Option<u32>,
    ) -> Decoded<Operation> {
        let form = alu::form(opcode).ok_or(Failure::Unknown)?;
        let count = form.sources.len() + 1;
        if operands.len() != count {
            return Err(format!("got {} operands, expected {count}", operands.len()).into());
        }
        let mut slots = Operands {
            d: self.destination(&operands[0], form.d)?,
            immediate: immediate.unwrap_or(form.immediate),
            ..Operands::default()
        };
        let places = [&mut slots.a, &mut slots.b, &mut slots.c, &mut slots.e];
        for ((place, operand), kind) in places.into_iter().zip(&operands[1..]).zip(&form.sources) {
            *place = self.source(operand, *kind)?;
        }
        Ok(Operation::Lanes(form.lanes, slots))
    }

    /// `setp`.
    fn comparison(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let (lanes, kind, joined) = alu::comparison(opcode).ok_or(Failure::Unknown)?;
        let expected = if joined & combine::JOINS == combine::NONE { 3 } else { 4 };
        if operands.len() != expected {
            return Err(format!("got {} operands, expected {expected}", operands.len()).into());
        }
        let mut slots = Operands { immediate: joined, ..Operands::default() };
        let halves = matches!(kind, Type::F16x2 | Type::Bf16x2);
        if halves && !matches!(operands[0], Operand::Pair(..)) {
            return Err("expected `p|q`, a predicate for each half".to_owned().into());
        }
        if let Operand::Pair(first, second) = &operands[0] {
            slots.d = self.destination(first, Type::Predicate)?;
            slots.e = self.destination(second, Type::Predicate)?;
            slots.immediate |= combine::SECOND;
        } else {
            slots.d = self.destination(&operands[0], Type::Predicate)?;
        }
        slots.a = self.source(&operands[1], kind)?;
        slots.b = self.source(&operands[2], kind)?;
        let (c, negated) = match operands.get(3) {
            Some(operand) => self.predicate(operand)?,
            None => (slots.d, false),
        };
        slots.c = c;
        slots.immediate |= if negated { combine::NEGATED } else { 0 };
        Ok(Operation::Lanes(lanes, slots))
    }

    /// `selp`.
    fn selection(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let (lanes, kind) = alu::selection(opcode).ok_or(Failure::Unknown)?;
        let [d, a, b, c] = expect(operands)?;
        let (c, negated) = self.predicate(c)?;
        let (a, b) = if negated { (b, a) } else { (a, b) };
        let slots = Operands {
            d: self.destination(d, kind)?,
            a: self.source(a, kind)?,
            b: self.source(b, kind)?,
            c,
            ..Operands::default()
        };
        Ok(Operation::Lanes(lanes, slots))
    }

    /// `cvt`, by the banks of its registers.
    fn conversion(&mut self, opcode: &Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let d = operands.first().ok_or_else(|| "no operands".to_owned())?;
        let a = operands.get(1).ok_or_else(|| "no source".to_owned())?;
        let bank = |operand: &Operand| match operand {
            Operand::Register(register) => Some(register.bank),
            _ => None,
        };
        let mut types = opcode.clone();
        let from = types.kind().ok_or(Failure::Unknown)?;
        let d_bank = bank(d).ok_or_else(|| format!("{d:?} cannot take a result"))?;
        let a_bank = bank(a).unwrap_or(super::bank_of(from));
        let form = alu::conversion(opcode, d_bank, a_bank).ok_or(Failure::Unknown)?;
        let count = if form.two_sources { 3 } else { 2 };
        if operands.len() != count {
            return Err(format!("got {} operands, expected {count}", operands.len()).into());
        }
        // Integers may be in wider registers; floats are in registers of their own size.
        let read = |bank: Bank, kind: Type| match bank {
            Bank::Long if kind.is_integer() => Type::U64,
            Bank::Word | Bank::Half if kind.is_integer() => Type::U32,
            _ => kind,
        };
        let source = read(a_bank, form.from);
        let target = if form.from.is_integer() { read(d_bank, form.to) } else { form.to };
        let mut slots = Operands {
            d: self.destination(d, target)?,
            a: self.source(a, source)?,
            immediate: form.immediate,
            ..Operands::default()
        };
        if form.two_sources {
            slots.b = self.source(&operands[2], form.from)?;
        }
        Ok(Operation::Lanes(form.lanes, slots))
    }

    /// `cvta`: global addresses are generic; shared and local ones are offset by a window.
    fn address_conversion(
        &mut self,
        mut opcode: Opcode<'_>,
        operands: &[Operand],
    ) -> Decoded<Operation> {
        let [d, a] = expect(operands)?;
        let to = opcode.take("to");
        let space = opcode.one_of(&["global", "shared", "local", "const", "param"]);
        let kind = opcode.kind().ok_or(Failure::Unknown)?;
        if !opcode.done() || kind != Type::U64 || space == Some("param") {
            return Err(Failure::Unknown);
        }
        use crate::memory::{LOCAL_WINDOW, SHARED_WINDOW};
        let lanes = match (space, to) {
            (Some("shared"), false) => lanes!(unary, |a: u64| a.wrapping_add(SHARED_WINDOW)),
            (Some("shared"), true) => lanes!(unary, |a: u64| a.wrapping_sub(SHARED_WINDOW)),
            (Some("local"), false) => lanes!(unary, |a: u64| a.wrapping_add(LOCAL_WINDOW)),
            (Some("local"), true) => lanes!(unary, |a: u64| a.wrapping_sub(LOCAL_WINDOW)),
            _ => lanes!(unary, |a: u64| a),
        };
        let slots = Operands {
            d: self.destination(d, kind)?,
            a: self.source(a, kind)?,
            ..Operands::default()
        };
        Ok(Operation::Lanes(lanes, slots))
    }

    /// `mov`: of registers, of predicates, and between a register and its parts.
    fn movement(&mut self, opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        let [d, a] = expect(operands)?;
        let mut types = opcode.clone();
        let kind = types.kind().ok_or(Failure::Unknown)?;
        match (d, a) {
            (_, Operand::Vector(parts)) => {
                let (lanes, part) = alu::pack(kind.bytes(), parts.len()).ok_or(Failure::Unknown)?;
                let mut slots = Operands { d: self.destination(d, kind)?, ..Operands::default() };
                let places = [&mut slots.a, &mut slots.b, &mut slots.c, &mut slots.e];
                for (place, operand) in places.into_iter().zip(parts) {
                    *place = self.source(operand, part)?;
                }
                Ok(Operation::Lanes(lanes, slots))
            }
            (Operand::Vector(parts), _) => {
                let [first, second] = expect(parts).map_err(|_| Failure::Unknown)?;
                let (lanes, part) = alu::unpack(kind.bytes()).ok_or(Failure::Unknown)?;
                let slots = Operands {
                    d: self.destination(first, part)?,
                    e: self.destination(second, part)?,
                    a: self.source(a, kind)?,
                    ..Operands::default()
                };
                Ok(Operation::Lanes(lanes, slots))
            }
            (Operand::Register(Register { bank: Bank::Predicate, .. }), _) => {
                let (a, negated) = self.predicate(a)?;
                let d = self.destination(d, Type::Predicate)?;
                Ok(Operation::Predicate { operator: Logic::Copy, d, a, b: a, negated })
            }
            (_, Operand::Address(Some(base), offset)) => {
                // `mov.u64 %rd, symbol+4` is written without brackets; this is not PTX.
                let _ = (base, offset);
                Err(Failure::Unknown)
            }
            _ => self.general(&opcode, operands, None),
        }
    }

    /// Logic on predicates.
    fn logic(&mut self, mut opcode: Opcode<'_>, operands: &[Operand]) -> Decoded<Operation> {
        opcode.last();
        if !opcode.done() {
            return Err(Failure::Unknown);
        }
        let operator = match opcode.root {
            "and" => Logic::And,
            "or" => Logic::Or,
            "xor" => Logic::Xor,
            _ => Logic::Not,
        };
        let [d, a] = expect(&operands[..operands.len().min(2)])?;
        let d = self.destination(d, Type::Predicate)?;
        let (a, a_negated) = self.predicate(a)?;
        let (b, negated) = match operands.get(2) {
            Some(b) => self.predicate(b)?,
            None => (a, false),
        };
        if a_negated {
            return Err(Failure::Unknown);
        }
        Ok(Operation::Predicate { operator, d, a, b, negated })
    }

    /// A register with the operand's value, which may be a register or a literal.
    pub(super) fn number(&mut self, operand: &Operand) -> Decoded<u16> {
        self.source(operand, Type::U32)
    }
}
