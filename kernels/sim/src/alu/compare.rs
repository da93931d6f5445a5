//! `setp` and `selp`.

use super::{Opcode, Type};
use crate::lanes::{Lanes, combine, compare, lanes, select};

/// A comparison's function, the type it compares and its immediate: how its result combines, in
/// the bits of [`combine`].
pub(crate) fn comparison(opcode: &Opcode<'_>) -> Option<(Lanes, Type, u32)> {
    let mut opcode = opcode.clone();
    let kind = opcode.kind()?;
    let ftz = opcode.take("ftz");
    let joined = match opcode.one_of(&["and", "or", "xor"]) {
        Some("and") => combine::AND,
        Some("or") => combine::OR,
        Some("xor") => combine::XOR,
        _ => combine::NONE,
    };
    let operator = opcode.last()?;
    if !opcode.done() {
        return None;
    }
    if let Some((lanes, bits)) = super::packed::comparison(kind, operator, ftz) {
        return Some((lanes, kind, joined | bits));
    }
    if ftz && kind != Type::F32 {
        return None;
    }
    let lanes = match kind {
        Type::F32 => float(operator, ftz)?,
        Type::F64 => double(operator)?,
        _ => integer(operator, kind)?,
    };
    Some((lanes, kind, joined))
}

/// Comparisons of integers; `lo`, `ls`, `hi` and `hs` are the unsigned words for the order.
fn integer(operator: &str, kind: Type) -> Option<Lanes> {
    macro_rules! operators {
        ($t:ty) => {
            match operator {
                "eq" => lanes!(compare, |a: $t, b: $t| a == b),
                "ne" => lanes!(compare, |a: $t, b: $t| a != b),
                "lt" | "lo" => lanes!(compare, |a: $t, b: $t| a < b),
                "le" | "ls" => lanes!(compare, |a: $t, b: $t| a <= b),
                "gt" | "hi" => lanes!(compare, |a: $t, b: $t| a > b),
                "ge" | "hs" => lanes!(compare, |a: $t, b: $t| a >= b),
                _ => return None,
            }
        };
    }
    Some(match kind {
        Type::U16 => operators!(u16),
        Type::S16 => operators!(i16),
        Type::U32 => operators!(u32),
        Type::S32 => operators!(i32),
        Type::U64 => operators!(u64),
        Type::S64 => operators!(i64),
        _ => return None,
    })
}

/// Comparisons of floats: with a final `u` they are true for NaN, without it false.
macro_rules! float_operators {
    ($operator:expr, $t:ty, |$x:ident| $prepare:expr) => {{
        #[inline(always)]
        fn p($x: $t) -> $t {
            $prepare
        }
        #[inline(always)]
        fn unordered(a: $t, b: $t) -> bool {
            a.is_nan() || b.is_nan()
        }
        match $operator {
            "eq" => lanes!(compare, |a: $t, b: $t| p(a) == p(b)),
            "ne" => lanes!(compare, |a: $t, b: $t| p(a) < p(b) || p(a) > p(b)),
            "lt" => lanes!(compare, |a: $t, b: $t| p(a) < p(b)),
            "le" => lanes!(compare, |a: $t, b: $t| p(a) <= p(b)),
            "gt" => lanes!(compare, |a: $t, b: $t| p(a) > p(b)),
            "ge" => lanes!(compare, |a: $t, b: $t| p(a) >= p(b)),
            "equ" => lanes!(compare, |a: $t, b: $t| !(p(a) < p(b) || p(a) > p(b))),
            "neu" => lanes!(compare, |a: $t, b: $t| p(a) != p(b)),
            "ltu" => lanes!(compare, |a: $t, b: $t| p(a) < p(b) || unordered(a, b)),
            "leu" => lanes!(compare, |a: $t, b: $t| p(a) <= p(b) || unordered(a, b)),
            "gtu" => lanes!(compare, |a: $t, b: $t| p(a) > p(b) || unordered(a, b)),
            "geu" => lanes!(compare, |a: $t, b: $t| p(a) >= p(b) || unordered(a, b)),
            "num" => lanes!(compare, |a: $t, b: $t| !a.is_nan() && !b.is_nan()),
            "nan" => lanes!(compare, |a: $t, b: $t| a.is_nan() || b.is_nan()),
            _ => return None,
        }
    }};
}

/// Comparisons of f32.
fn float(operator: &str, ftz: bool) -> Option<Lanes> {
    Some(if ftz {
        float_operators!(operator, f32, |x| super::round::flush(x))
    } else {
        float_operators!(operator, f32, |x| x)
    })
}

/// Comparisons of f64.
fn double(operator: &str) -> Option<Lanes> {
    Some(float_operators!(operator, f64, |x| x))
}

/// `selp`'s function and type.
pub(crate) fn selection(opcode: &Opcode<'_>) -> Option<(Lanes, Type)> {
    let mut opcode = opcode.clone();
    let kind = opcode.kind().filter(|_| opcode.done())?;
    let lanes = match kind.bytes() {
        2 => lanes!(select, |a: u16, b, c| if c { a } else { b }),
        4 => lanes!(select, |a: u32, b, c| if c { a } else { b }),
        8 => lanes!(select, |a: u64, b, c| if c { a } else { b }),
        _ => return None,
    };
    Some((lanes, kind))
}
