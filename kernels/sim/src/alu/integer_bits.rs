//! Bitwise logic, shifts and bit fields.

use super::{Form, Opcode, Type};
use crate::lanes::{binary, lanes, quaternary, ternary, ternary_immediate, unary};

/// Makes lanes of one closure for the unsigned type of the right size.
macro_rules! by_size {
    ($kind:expr, $shape:path, |$($x:ident),+| $body:expr) => {
        match $kind.bytes() {
            2 => lanes!($shape, |$($x: u16),+| $body),
            4 => lanes!($shape, |$($x: u32),+| $body),
            _ => lanes!($shape, |$($x: u64),+| $body),
        }
    };
}

/// Bitwise forms.
pub(super) fn form(opcode: &mut Opcode<'_>) -> Option<Form> {
    if opcode.root == "prmt" {
        return permute(opcode);
    }
    let kind = opcode.kind().filter(|kind| kind.is_integer() && kind.bytes() > 1)?;
    let word = kind.bytes() == 4;
    match opcode.root {
        "and" => Some(Form::same(by_size!(kind, binary, |a, b| a & b), kind, 2)),
        "or" => Some(Form::same(by_size!(kind, binary, |a, b| a | b), kind, 2)),
        "xor" => Some(Form::same(by_size!(kind, binary, |a, b| a ^ b), kind, 2)),
        "not" => Some(Form::same(by_size!(kind, unary, |a| !a), kind, 1)),
        "cnot" => {
            let lanes = match kind.bytes() {
                2 => lanes!(unary, |a: u16| u16::from(a == 0)),
                4 => lanes!(unary, |a: u32| u32::from(a == 0)),
                _ => lanes!(unary, |a: u64| u64::from(a == 0)),
            };
            Some(Form::same(lanes, kind, 1))
        }
        "shl" | "shr" => Some(Form::mixed(shift(opcode.root, kind)?, kind, &[kind, Type::U32])),
        "shf" if word => funnel(opcode),
        "lop3" if word => Some(Form::same(
            lanes!(ternary_immediate, |a: u32, b, c, table| lop3(a, b, c, table)),
            kind,
            3,
        )),
        "popc" | "clz" | "bfind" => count(opcode, kind),
        "brev" if word => Some(Form::same(lanes!(unary, |a: u32| a.reverse_bits()), kind, 1)),
        "brev" => Some(Form::same(lanes!(unary, |a: u64| a.reverse_bits()), kind, 1)),
        "bfe" => {
            let lanes = match kind {
                Type::U32 => lanes!(ternary, |a: u32, b: u32, c: u32| {
                    extract_unsigned(u64::from(a), b, c) as u32
                }),
                Type::S32 => lanes!(ternary, |a: i32, b: u32, c: u32| {
                    extract_signed(i64::from(a), b, c, 32) as i32
                }),
                Type::U64 => lanes!(ternary, |a: u64, b: u32, c: u32| extract_unsigned(a, b, c)),
                Type::S64 => lanes!(ternary, |a: i64, b: u32, c: u32| extract_signed(a, b, c, 64)),
                _ => return None,
            };
            Some(Form::mixed(lanes, kind, &[kind, Type::U32, Type::U32]))
        }
        "bfi" => {
            let lanes = match kind {
                Type::U32 => lanes!(quaternary, |a: u32, b: u32, c: u32, e: u32| {
                    insert(u64::from(a), u64::from(b), c, e, 32) as u32
                }),
                Type::U64 => {
                    lanes!(quaternary, |a: u64, b: u64, c: u32, e: u32| { insert(a, b, c, e, 64) })
                }
                _ => return None,
            };
            Some(Form::mixed(lanes, kind, &[kind, kind, Type::U32, Type::U32]))
        }
        _ => None,
    }
}

/// Shifts clamp their count to the width.
fn shift(root: &str, kind: Type) -> Option<crate::lanes::Lanes> {
    Some(match (root, kind) {
        ("shl", Type::U16) => lanes!(binary, |a: u16, b: u32| if b < 16 { a << b } else { 0 }),
        ("shl", Type::U32) => lanes!(binary, |a: u32, b: u32| if b < 32 { a << b } else { 0 }),
        ("shl", Type::U64) => lanes!(binary, |a: u64, b: u32| if b < 64 { a << b } else { 0 }),
        ("shr", Type::U16) => lanes!(binary, |a: u16, b: u32| if b < 16 { a >> b } else { 0 }),
        ("shr", Type::U32) => lanes!(binary, |a: u32, b: u32| if b < 32 { a >> b } else { 0 }),
        ("shr", Type::U64) => lanes!(binary, |a: u64, b: u32| if b < 64 { a >> b } else { 0 }),
        ("shr", Type::S16) => lanes!(binary, |a: i16, b: u32| a >> b.min(15)),
        ("shr", Type::S32) => lanes!(binary, |a: i32, b: u32| a >> b.min(31)),
        ("shr", Type::S64) => lanes!(binary, |a: i64, b: u32| a >> b.min(63)),
        _ => return None,
    })
}

/// `shf`: a shift of the 64 bits `b:a`.
fn funnel(opcode: &mut Opcode<'_>) -> Option<Form> {
    let left = opcode.one_of(&["l", "r"])? == "l";
    let wrap = opcode.one_of(&["wrap", "clamp"])? == "wrap";
    let lanes = match (left, wrap) {
        (true, true) => {
            lanes!(ternary, |a: u32, b: u32, c: u32| (join(a, b) << (c & 31) >> 32) as u32)
        }
        (true, false) => {
            lanes!(ternary, |a: u32, b: u32, c: u32| { (join(a, b) << c.min(32) >> 32) as u32 })
        }
        (false, true) => lanes!(ternary, |a: u32, b: u32, c: u32| (join(a, b) >> (c & 31)) as u32),
        (false, false) => {
            lanes!(ternary, |a: u32, b: u32, c: u32| (join(a, b) >> c.min(32)) as u32)
        }
    };
    Some(Form::same(lanes, Type::U32, 3))
}

/// 64 bits from their low and high half.
#[inline(always)]
fn join(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Any function of three bits: `table` holds its eight values.
#[inline(always)]
fn lop3(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let mut result = 0;
    for row in 0..8 {
        let take = |x: u32, bit: u32| if row >> bit & 1 == 1 { x } else { !x };
        let keep = if table >> row & 1 == 1 { u32::MAX } else { 0 };
        result |= take(a, 2) & take(b, 1) & take(c, 0) & keep;
    }
    result
}

/// `prmt`: picks four of eight bytes.
fn permute(opcode: &mut Opcode<'_>) -> Option<Form> {
    if !opcode.take("b32") {
        return None;
    }
    let lanes = match opcode.one_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]) {
        None => lanes!(ternary, |a: u32, b: u32, c: u32| pick(a, b, c)),
        Some("f4e") => lanes!(ternary, |a: u32, b: u32, c: u32| {
            let n = c & 3;
            pick(a, b, n | (n + 1) << 4 | (n + 2) << 8 | (n + 3) << 12)
        }),
        Some("b4e") => lanes!(ternary, |a: u32, b: u32, c: u32| {
            let n = c & 3;
            pick(a, b, n | ((n + 7) & 7) << 4 | ((n + 6) & 7) << 8 | ((n + 5) & 7) << 12)
        }),
        Some("rc8") => lanes!(ternary, |a: u32, b: u32, c: u32| pick(a, b, (c & 3) * 0x1111)),
        Some("ecl") => lanes!(ternary, |a: u32, b: u32, c: u32| {
            let n = c & 3;
            pick(a, b, n | n.max(1) << 4 | n.max(2) << 8 | 3 << 12)
        }),
        Some("ecr") => lanes!(ternary, |a: u32, b: u32, c: u32| {
            let n = c & 3;
            pick(a, b, n.min(1) << 4 | n.min(2) << 8 | n << 12)
        }),
        Some(_) => {
            lanes!(ternary, |a: u32, b: u32, c: u32| pick(
                a,
                b,
                if c & 1 == 0 { 0x1010 } else { 0x3232 }
            ))
        }
    };
    Some(Form::same(lanes, Type::U32, 3))
}

/// Picks four bytes of `b:a` by selectors of four bits; bit 3 of a selector repeats the byte's
/// sign.
#[inline(always)]
fn pick(a: u32, b: u32, selectors: u32) -> u32 {
    let bytes = join(a, b);
    let mut result = 0;
    for place in 0..4 {
        let selector = selectors >> (4 * place);
        let byte = (bytes >> (8 * (selector & 7))) as u8;
        let byte = if selector & 8 != 0 { (byte as i8 >> 7) as u8 } else { byte };
        result |= u32::from(byte) << (8 * place);
    }
    result
}

/// `popc`, `clz` and `bfind`; the result has 32 bits.
fn count(opcode: &mut Opcode<'_>, kind: Type) -> Option<Form> {
    let lanes = match (opcode.root, kind) {
        ("popc", Type::U32) => lanes!(unary, |a: u32| a.count_ones()),
        ("popc", Type::U64) => lanes!(unary, |a: u64| a.count_ones()),
        ("clz", Type::U32) => lanes!(unary, |a: u32| a.leading_zeros()),
        ("clz", Type::U64) => lanes!(unary, |a: u64| a.leading_zeros()),
        ("bfind", _) => {
            // The highest bit that differs from the sign: its position, or its shift to the top.
            if opcode.take("shiftamt") {
                match kind {
                    Type::U32 => lanes!(unary, |a: u32| shift_to_top(a.leading_zeros(), 32)),
                    Type::S32 => {
                        lanes!(unary, |a: i32| shift_to_top((a ^ a >> 31).leading_zeros(), 32))
                    }
                    Type::U64 => lanes!(unary, |a: u64| shift_to_top(a.leading_zeros(), 64)),
                    Type::S64 => {
                        lanes!(unary, |a: i64| shift_to_top((a ^ a >> 63).leading_zeros(), 64))
                    }
                    _ => return None,
                }
            } else {
                match kind {
                    Type::U32 => lanes!(unary, |a: u32| 31u32.wrapping_sub(a.leading_zeros())),
                    Type::S32 => {
                        lanes!(unary, |a: i32| 31u32.wrapping_sub((a ^ a >> 31).leading_zeros()))
                    }
                    Type::U64 => lanes!(unary, |a: u64| 63u32.wrapping_sub(a.leading_zeros())),
                    Type::S64 => {
                        lanes!(unary, |a: i64| 63u32.wrapping_sub((a ^ a >> 63).leading_zeros()))
                    }
                    _ => return None,
                }
            }
        }
        _ => return None,
    };
    Some(Form::mixed(lanes, Type::U32, &[kind]))
}

/// A count of leading zeros as a shift; all ones when no bit is set.
#[inline(always)]
fn shift_to_top(zeros: u32, width: u32) -> u32 {
    if zeros == width { u32::MAX } else { zeros }
}

/// A mask of `length` ones, at most 64.
#[inline(always)]
fn ones(length: u32) -> u64 {
    if length >= 64 { u64::MAX } else { (1 << length) - 1 }
}

/// `length` bits from `position` on; bits above the width are 0.
#[inline(always)]
fn extract_unsigned(value: u64, position: u32, length: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if position >= 64 { 0 } else { value >> position & ones(length) }
}

/// `length` bits from `position` on, sign-extended; bits above the width repeat the value's sign.
#[inline(always)]
fn extract_signed(value: i64, position: u32, length: u32, width: u32) -> i64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 {
        return 0;
    }
    let negative = value >> (position + length - 1).min(width - 1) & 1 == 1;
    let field = (value >> position.min(63)) as u64 & ones(length);
    (if negative { field | !ones(length) } else { field }) as i64
}

/// `b` with `length` bits of `a` inserted at `position`.
#[inline(always)]
fn insert(a: u64, b: u64, position: u32, length: u32, width: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 || position >= width {
        return b;
    }
    let field = ones(length) << position;
    b & !field | a << position & field
}

/// `dp4a` and `dp2a`: a sum of products of bytes with bytes or, of one half, with 16-bit numbers.
pub(super) fn dot_product(opcode: &mut Opcode<'_>) -> Option<Form> {
    let (b, a) = (opcode.kind()?, opcode.kind()?);
    macro_rules! dot {
        (four, $a:ty, $b:ty, $wide:ty) => {
            lanes!(ternary, |a: u32, b: u32, c: u32| {
                (0..32).step_by(8).fold(c, |sum, at| {
                    let product = i32::from((a >> at) as $a) * i32::from((b >> at) as $b);
                    sum.wrapping_add(product as u32)
                })
            })
        };
        ($first:expr, $a:ty, $b:ty, $wide:ty) => {
            lanes!(ternary, |a: u32, b: u32, c: u32| {
                (0..2).fold(c, |sum, at| {
                    let byte = (b >> ($first + 8 * at)) as $b;
                    let product = i32::from((a >> (16 * at)) as $wide) * i32::from(byte);
                    sum.wrapping_add(product as u32)
                })
            })
        };
    }
    macro_rules! lanes_of {
        ($f:tt) => {
            match (a, b) {
                (Type::U32, Type::U32) => dot!($f, u8, u8, u16),
                (Type::U32, Type::S32) => dot!($f, u8, i8, u16),
                (Type::S32, Type::U32) => dot!($f, i8, u8, i16),
                (Type::S32, Type::S32) => dot!($f, i8, i8, i16),
                _ => return None,
            }
        };
    }
    let lanes = match (opcode.root, opcode.one_of(&["lo", "hi"])) {
        ("dp4a", None) => lanes_of!(four),
        ("dp2a", Some("lo")) => lanes_of!(0),
        ("dp2a", Some("hi")) => lanes_of!(16),
        _ => return None,
    };
    Some(Form::same(lanes, Type::U32, 3))
}
