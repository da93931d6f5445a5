//! Semantics of the arithmetic opcodes: one scalar closure for each form and type.

mod compare;
mod convert;
mod double;
pub(crate) mod half;
mod integer;
mod integer_bits;
mod moves;
mod packed;
mod round;
mod single;

use crate::lanes::Lanes;

/// An opcode split at its dots. A decoder removes each part that it handles.
#[derive(Clone)]
pub(crate) struct Opcode<'a> {
    pub root: &'a str,
    rest: Vec<&'a str>,
}

impl<'a> Opcode<'a> {
    /// Splits `text` at its dots.
    pub fn new(text: &'a str) -> Opcode<'a> {
        let mut parts = text.split('.');
        Opcode { root: parts.next().unwrap_or(""), rest: parts.collect() }
    }

    /// Removes a part; false when it is absent.
    pub fn take(&mut self, part: &str) -> bool {
        match self.rest.iter().position(|&p| p == part) {
            Some(at) => {
                self.rest.remove(at);
                true
            }
            None => false,
        }
    }

    /// Removes and returns the first of `parts` that is present.
    pub fn one_of(&mut self, parts: &[&'static str]) -> Option<&'static str> {
        parts.iter().copied().find(|part| self.take(part))
    }

    /// Removes and returns the last part, which must be a type.
    pub fn kind(&mut self) -> Option<Type> {
        let kind = Type::named(self.rest.last()?)?;
        self.rest.pop();
        Some(kind)
    }

    /// Removes and returns the last part.
    pub fn last(&mut self) -> Option<&'a str> {
        self.rest.pop()
    }

    /// Whether every part has been removed.
    pub fn done(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Instruction types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F16,
    Bf16,
    F16x2,
    Bf16x2,
    Tf32,
    F32,
    F64,
    Predicate,
}

impl Type {
    /// Finds a type by its PTX name; bit types are unsigned.
    pub fn named(name: &str) -> Option<Type> {
        Some(match name {
            "u8" | "b8" => Type::U8,
            "s8" => Type::S8,
            "u16" | "b16" => Type::U16,
            "s16" => Type::S16,
            "u32" | "b32" => Type::U32,
            "s32" => Type::S32,
            "u64" | "b64" => Type::U64,
            "s64" => Type::S64,
            "f16" => Type::F16,
            "bf16" => Type::Bf16,
            "f16x2" => Type::F16x2,
            "bf16x2" => Type::Bf16x2,
            "tf32" => Type::Tf32,
            "f32" => Type::F32,
            "f64" => Type::F64,
            "pred" => Type::Predicate,
            _ => return None,
        })
    }

    /// Bytes of a value; 0 for a predicate.
    pub fn bytes(self) -> u32 {
        match self {
            Type::U8 | Type::S8 => 1,
            Type::U16 | Type::S16 | Type::F16 | Type::Bf16 => 2,
            Type::U64 | Type::S64 | Type::F64 => 8,
            Type::Predicate => 0,
            _ => 4,
        }
    }

    /// Whether narrower values are sign-extended.
    pub fn is_signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    /// Whether this is an integer type.
    pub fn is_integer(self) -> bool {
        self.is_signed() || matches!(self, Type::U8 | Type::U16 | Type::U32 | Type::U64)
    }
}

/// The function of an opcode and the types of its registers.
pub(crate) struct Form {
    pub lanes: Lanes,
    pub d: Type,
    pub sources: Vec<Type>,
    /// The value of [`crate::lanes::Operands::immediate`].
    pub immediate: u32,
}

impl Form {
    /// All operands of one type.
    pub fn same(lanes: Lanes, kind: Type, sources: usize) -> Form {
        Form { lanes, d: kind, sources: vec![kind; sources], immediate: 0 }
    }

    /// Operands of different types.
    pub fn mixed(lanes: Lanes, d: Type, sources: &[Type]) -> Form {
        Form { lanes, d, sources: sources.to_vec(), immediate: 0 }
    }
}

/// The function of an arithmetic opcode; `None` when the form is unknown.
pub(crate) fn form(opcode: &Opcode<'_>) -> Option<Form> {
    let attempt = |f: fn(&mut Opcode<'_>) -> Option<Form>| {
        let mut opcode = opcode.clone();
        f(&mut opcode).filter(|_| opcode.done())
    };
    attempt(integer::form)
        .or_else(|| attempt(integer_bits::form))
        .or_else(|| attempt(single::form))
        .or_else(|| attempt(double::form))
        .or_else(|| attempt(packed::form))
        .or_else(|| attempt(integer_bits::dot_product))
        .or_else(|| attempt(moves::form))
}

pub(crate) use compare::{comparison, selection};
pub(crate) use convert::conversion;
pub(crate) use moves::{pack, unpack};
