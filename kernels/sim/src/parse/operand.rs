//! Operands and literals.

use crate::kernel::{Register, Special};

/// An operand with its registers resolved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Register(Register),
    /// `!%p`.
    Negated(Register),
    Literal(Literal),
    Special(Special),
    /// The name of a variable, or of a label that is not defined.
    Symbol(String),
    /// A label: the index of the instruction after it.
    Target(usize),
    /// `[base+offset]`; no base means an absolute address.
    Address(Option<Box<Operand>>, i64),
    Vector(Vec<Operand>),
    /// `d|p`.
    Pair(Box<Operand>, Box<Operand>),
    /// `_`.
    Sink,
}

/// A number as written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Literal {
    Integer(u64),
    Single(u32),
    Double(u64),
}

impl Literal {
    /// The bits as an integer of any width.
    pub fn integer_bits(self) -> u64 {
        match self {
            Literal::Integer(bits) | Literal::Double(bits) => bits,
            Literal::Single(bits) => u64::from(bits),
        }
    }

    /// The bits of the value as a float of 4 or 8 bytes.
    pub fn float_bits(self, bytes: usize) -> u64 {
        match (self, bytes) {
            (Literal::Double(bits), 4) => u64::from((f64::from_bits(bits) as f32).to_bits()),
            (Literal::Single(bits), 8) => f64::from(f32::from_bits(bits)).to_bits(),
            _ => self.integer_bits(),
        }
    }
}

/// Parses a number.
pub(crate) fn literal(text: &str) -> Option<Literal> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    if let Some(bits) = lower.strip_prefix("0f") {
        return u32::from_str_radix(bits, 16).ok().map(Literal::Single);
    }
    if let Some(bits) = lower.strip_prefix("0d") {
        return u64::from_str_radix(bits, 16).ok().map(Literal::Double);
    }
    let whole = lower.trim_end_matches('u');
    let value = if let Some(hex) = whole.strip_prefix("0x") {
        u64::from_str_radix(hex, 16).ok()
    } else if let Some(binary) = whole.strip_prefix("0b") {
        u64::from_str_radix(binary, 2).ok()
    } else if whole.len() > 1 && whole.starts_with('0') && !whole.contains('.') {
        u64::from_str_radix(&whole[1..], 8).ok()
    } else {
        whole.parse().ok()
    };
    match value {
        Some(value) if negative => Some(Literal::Integer(value.wrapping_neg())),
        Some(value) => Some(Literal::Integer(value)),
        None => text.parse::<f64>().ok().map(|value| Literal::Double(value.to_bits())),
    }
}

/// Parses an operand; `find` returns the registers in scope.
pub(crate) fn operand(
    text: &str,
    find: &impl Fn(&str) -> Option<Register>,
) -> Result<Operand, String> {
    let text = text.trim();
    if text == "_" {
        return Ok(Operand::Sink);
    }
    if let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
        return inner
            .split(',')
            .map(|t| operand(t, find))
            .collect::<Result<_, _>>()
            .map(Operand::Vector);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return address(inner, find);
    }
    if let Some((left, right)) = text.split_once('|') {
        let (left, right) = (operand(left, find)?, operand(right, find)?);
        return Ok(Operand::Pair(Box::new(left), Box::new(right)));
    }
    if let Some(register) = find(text) {
        return Ok(Operand::Register(register));
    }
    if let Some(register) = text.strip_prefix('!').and_then(find) {
        return Ok(Operand::Negated(register));
    }
    if let Some(literal) = literal(text) {
        return Ok(Operand::Literal(literal));
    }
    if text == "WARP_SZ" {
        return Ok(Operand::Literal(Literal::Integer(32)));
    }
    if let Some(special) = special(text) {
        return Ok(Operand::Special(special));
    }
    if text.starts_with('%') && !text.contains(['+', '-', ' ']) {
        return Err(format!(
            "`{text}` is neither a declared register nor a supported special register"
        ));
    }
    let plain = |c: char| c.is_alphanumeric() || "_$%.".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(Operand::Symbol(text.to_owned()));
    }
    Err(format!("operand `{text}` is not valid"))
}

/// Parses the inside of `[base+offset]`.
fn address(text: &str, find: &impl Fn(&str) -> Option<Register>) -> Result<Operand, String> {
    let text = text.trim();
    if let Some(literal) = literal(text) {
        return Ok(Operand::Address(None, literal.integer_bits() as i64));
    }
    let (base, offset) = match text.find(['+', '-']) {
        Some(at) => {
            let offset = text[at..].strip_prefix('+').unwrap_or(&text[at..]).trim();
            let offset = literal(offset)
                .ok_or_else(|| format!("`[{text}]` has an offset that is not a number"))?;
            (&text[..at], offset.integer_bits() as i64)
        }
        None => (text, 0),
    };
    Ok(Operand::Address(Some(Box::new(operand(base, find)?)), offset))
}

/// Finds a special register by name.
fn special(name: &str) -> Option<Special> {
    let axis = |letter: Option<char>| match letter {
        Some('x') => Some(0),
        Some('y') => Some(1),
        Some('z') => Some(2),
        _ => None,
    };
    if let Some((register, letter)) = name.split_once('.') {
        let axis = axis(letter.chars().next().filter(|_| letter.len() == 1))?;
        return match register {
            "%tid" => Some(Special::Thread(axis)),
            "%ntid" => Some(Special::BlockSize(axis)),
            "%ctaid" => Some(Special::Block(axis)),
            "%nctaid" => Some(Special::GridSize(axis)),
            _ => None,
        };
    }
    Some(match name {
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%nwarpid" => Special::Warps,
        "%lanemask_eq" => Special::LaneMaskEqual,
        "%lanemask_lt" => Special::LaneMaskLess,
        "%lanemask_le" => Special::LaneMaskLessEqual,
        "%lanemask_gt" => Special::LaneMaskGreater,
        "%lanemask_ge" => Special::LaneMaskGreaterEqual,
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" => Special::TotalShared,
        "%clock" | "%clock64" | "%globaltimer" | "%globaltimer_lo" => Special::Clock,
        "%clock_hi" | "%globaltimer_hi" | "%smid" | "%gridid" => Special::Zero,
        _ => return None,
    })
}
