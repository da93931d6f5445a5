//! `cvt`: conversions between types.
//!
//! A register may be wider than the type it is read or written as. So a conversion depends on the
//! register banks; shift counts in the immediate truncate and extend the values.

use super::round::{self, Rounding, flush, saturate};
use super::{Opcode, Type, half};
use crate::kernel::Bank;
use crate::lanes::{Lanes, binary, lanes, unary, unary_immediate};

/// A conversion: its function, its immediate, and whether it takes two sources.
pub(crate) struct Conversion {
    pub lanes: Lanes,
    pub immediate: u32,
    pub two_sources: bool,
    /// The source's type.
    pub from: Type,
    /// The result's type.
    pub to: Type,
}

/// The conversion of this opcode between registers of these banks.
pub(crate) fn conversion(opcode: &Opcode<'_>, d: Bank, a: Bank) -> Option<Conversion> {
    let mut opcode = opcode.clone();
    let (from, to) = (opcode.kind()?, opcode.kind()?);
    let (ftz, sat, relu) = (opcode.take("ftz"), opcode.take("sat"), opcode.take("relu"));
    let rounding = opcode.one_of(&["rni", "rzi", "rmi", "rpi", "rna", "rn", "rz", "rm", "rp"]);
    if !opcode.done() {
        return None;
    }
    let immediate = from.bytes()
        | u32::from(from.is_signed()) << 8
        | to.bytes() << 16
        | u32::from(to.is_signed()) << 24;
    let two_sources = matches!(to, Type::F16x2 | Type::Bf16x2);
    let lanes = match (from.is_integer(), to.is_integer()) {
        _ if relu && (ftz || sat) => return None,
        _ if relu => clamped_halves(from, to, rounding?)?,
        (true, true) if rounding.is_none() => between_integers(d, a, sat)?,
        (true, false) if !sat => from_integer(from, to, a, rounding?)?,
        (false, true) => to_integer(from, to, ftz, rounding?)?,
        (false, false) => between_floats(from, to, rounding, ftz, sat)?,
        _ => return None,
    };
    Some(Conversion { lanes, immediate, two_sources, from, to })
}

/// Interprets a register's value as the source type.
#[inline(always)]
fn source(bits: u64, immediate: u32) -> i64 {
    let cut = 64 - 8 * (immediate & 0xff);
    if immediate >> 8 & 1 == 1 { (bits << cut) as i64 >> cut } else { (bits << cut >> cut) as i64 }
}

/// Truncates a value to the destination type and extends it to 64 bits.
#[inline(always)]
fn destination(value: i64, immediate: u32) -> u64 {
    source(value as u64, immediate >> 16) as u64
}

/// Clamps a value to the range of the destination type.
#[inline(always)]
fn clamped(value: i64, immediate: u32) -> u64 {
    let value = if immediate >> 8 & 1 == 1 { i128::from(value) } else { i128::from(value as u64) };
    let bits = 8 * (immediate >> 16 & 0xff);
    let (low, high) = if immediate >> 24 & 1 == 1 {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    } else {
        (0, (1i128 << bits) - 1)
    };
    value.clamp(low, high) as u64
}

/// Integers to integers: truncated and extended; clamped with `.sat`.
fn between_integers(d: Bank, a: Bank, sat: bool) -> Option<Lanes> {
    macro_rules! banks {
        ($from:ty, $to:ty) => {
            if sat {
                lanes!(unary_immediate, |a: $from, i: u32| clamped(source(u64::from(a), i), i)
                    as $to)
            } else {
                lanes!(unary_immediate, |a: $from, i: u32| destination(source(u64::from(a), i), i)
                    as $to)
            }
        };
    }
    Some(match (a, d) {
        (Bank::Long, Bank::Long) => banks!(u64, u64),
        (Bank::Long, Bank::Word) => banks!(u64, u32),
        (Bank::Long, Bank::Half) => banks!(u64, u16),
        (Bank::Word | Bank::Half, Bank::Long) => banks!(u32, u64),
        (Bank::Word | Bank::Half, Bank::Word) => banks!(u32, u32),
        (Bank::Word | Bank::Half, Bank::Half) => banks!(u32, u16),
        _ => return None,
    })
}

/// Integers to floats.
fn from_integer(from: Type, to: Type, a: Bank, rounding: &str) -> Option<Lanes> {
    macro_rules! float {
        ($bank:ty, $f:expr) => {
            lanes!(unary_immediate, |a: $bank, i: u32| $f(source(u64::from(a), i)))
        };
    }
    macro_rules! both_banks {
        ($f:expr) => {
            if a == Bank::Long { float!(u64, $f) } else { float!(u32, $f) }
        };
    }
    // A value of at most 32 bits fits i64; only u64 needs its own conversion.
    let unsigned = from == Type::U64;
    Some(match (to, rounding, unsigned) {
        (Type::F32, "rn", false) if from.bytes() == 4 && a == Bank::Word => match from {
            Type::S32 => lanes!(unary, |a: i32| a as f32),
            _ => lanes!(unary, |a: u32| a as f32),
        },
        (Type::F32, "rn", false) => both_banks!(|v: i64| v as f32),
        (Type::F32, "rn", true) => both_banks!(|v: i64| v as u64 as f32),
        (Type::F32, "rz", false) => {
            both_banks!(|v: i64| round::from_integer(v.into(), Rounding::Zero))
        }
        (Type::F32, "rm", false) => {
            both_banks!(|v: i64| round::from_integer(v.into(), Rounding::Down))
        }
        (Type::F32, "rp", false) => {
            both_banks!(|v: i64| round::from_integer(v.into(), Rounding::Up))
        }
        (Type::F32, "rz" | "rm", true) => {
            both_banks!(|v: i64| round::from_integer((v as u64).into(), Rounding::Down))
        }
        (Type::F32, "rp", true) => {
            both_banks!(|v: i64| round::from_integer((v as u64).into(), Rounding::Up))
        }
        (Type::F64, "rn", false) => both_banks!(|v: i64| v as f64),
        (Type::F64, "rn", true) => both_banks!(|v: i64| v as u64 as f64),
        (Type::F16, "rn", false) if from.bytes() <= 2 => {
            both_banks!(|v: i64| half::f16_nearest(v as f32))
        }
        _ => return None,
    })
}

/// The converted value; `nan` if the input is NaN.
#[inline(always)]
fn unless_nan<T>(nan: bool, value: T, middle: T) -> T {
    if nan { middle } else { value }
}

/// Floats to integers: rounded and clamped. A NaN becomes 0; if source or result has 64 bits, it
/// becomes the value with only the top bit set.
fn to_integer(from: Type, to: Type, ftz: bool, rounding: &str) -> Option<Lanes> {
    macro_rules! integer {
        ($t:ty, $round:expr) => {{
            const LONG: bool = size_of::<$t>() == 8;
            match to {
                Type::U8 => lanes!(unary, |a: $t| {
                    u16::from(unless_nan(LONG && a.is_nan(), $round(a) as u8, 1 << 7))
                }),
                Type::S8 => lanes!(unary, |a: $t| {
                    i16::from(unless_nan(LONG && a.is_nan(), $round(a) as i8, i8::MIN))
                }),
                Type::U16 => lanes!(unary, |a: $t| {
                    unless_nan(LONG && a.is_nan(), $round(a) as u16, 1 << 15)
                }),
                Type::S16 => lanes!(unary, |a: $t| {
                    unless_nan(LONG && a.is_nan(), $round(a) as i16, i16::MIN)
                }),
                Type::U32 => lanes!(unary, |a: $t| {
                    unless_nan(LONG && a.is_nan(), $round(a) as u32, 1 << 31)
                }),
                Type::S32 => lanes!(unary, |a: $t| {
                    unless_nan(LONG && a.is_nan(), $round(a) as i32, i32::MIN)
                }),
                Type::U64 => {
                    lanes!(unary, |a: $t| unless_nan(a.is_nan(), $round(a) as u64, 1 << 63))
                }
                _ => lanes!(unary, |a: $t| unless_nan(a.is_nan(), $round(a) as i64, i64::MIN)),
            }
        }};
    }
    Some(match (from, rounding) {
        (Type::F32, "rzi") => integer!(f32, |a: f32| a),
        (Type::F32, "rni") => integer!(f32, |a: f32| a.round_ties_even()),
        (Type::F32, "rmi") if ftz => integer!(f32, |a: f32| flush(a).floor()),
        (Type::F32, "rmi") => integer!(f32, |a: f32| a.floor()),
        (Type::F32, "rpi") if ftz => integer!(f32, |a: f32| flush(a).ceil()),
        (Type::F32, "rpi") => integer!(f32, |a: f32| a.ceil()),
        (Type::F64, "rzi") => integer!(f64, |a: f64| a),
        (Type::F64, "rni") => integer!(f64, |a: f64| a.round_ties_even()),
        (Type::F64, "rmi") => integer!(f64, |a: f64| a.floor()),
        (Type::F64, "rpi") => integer!(f64, |a: f64| a.ceil()),
        _ => return None,
    })
}

/// Floats to floats.
fn between_floats(
    from: Type,
    to: Type,
    rounding: Option<&str>,
    ftz: bool,
    sat: bool,
) -> Option<Lanes> {
    if from == Type::F32 && to == Type::F32 {
        macro_rules! whole {
            ($f:expr) => {
                match (ftz, sat) {
                    (false, false) => lanes!(unary, |a: f32| $f(a)),
                    (true, false) => lanes!(unary, |a: f32| flush($f(flush(a)))),
                    (false, true) => lanes!(unary, |a: f32| saturate($f(a))),
                    (true, true) => lanes!(unary, |a: f32| saturate($f(flush(a)))),
                }
            };
        }
        return Some(match rounding {
            None => whole!(|a: f32| a),
            Some("rni") => whole!(|a: f32| a.round_ties_even()),
            Some("rzi") => whole!(|a: f32| a.trunc()),
            Some("rmi") => whole!(|a: f32| a.floor()),
            Some("rpi") => whole!(|a: f32| a.ceil()),
            _ => return None,
        });
    }
    if sat {
        return None;
    }
    Some(match (from, to, rounding) {
        (Type::F32, Type::F64, None) if ftz => lanes!(unary, |a: f32| f64::from(flush(a))),
        (Type::F32, Type::F64, None) => lanes!(unary, |a: f32| f64::from(a)),
        (Type::F64, Type::F32, Some("rn")) if ftz => lanes!(unary, |a: f64| flush(a as f32)),
        (Type::F64, Type::F32, Some("rn")) => lanes!(unary, |a: f64| a as f32),
        (Type::F64, Type::F32, Some("rz")) => {
            lanes!(unary, |a: f64| round::directed(a, 0.0, Rounding::Zero))
        }
        (Type::F64, Type::F32, Some("rm")) => {
            lanes!(unary, |a: f64| round::directed(a, 0.0, Rounding::Down))
        }
        (Type::F64, Type::F32, Some("rp")) => {
            lanes!(unary, |a: f64| round::directed(a, 0.0, Rounding::Up))
        }
        (Type::F64, Type::F64, Some("rni")) => lanes!(unary, |a: f64| a.round_ties_even()),
        (Type::F64, Type::F64, Some("rzi")) => lanes!(unary, |a: f64| a.trunc()),
        (Type::F64, Type::F64, Some("rmi")) => lanes!(unary, |a: f64| a.floor()),
        (Type::F64, Type::F64, Some("rpi")) => lanes!(unary, |a: f64| a.ceil()),
        (Type::F16, Type::F32, None) => lanes!(unary, |a: u16| half::f16_to_f32(a)),
        (Type::Bf16, Type::F32, None) => lanes!(unary, |a: u16| half::bf16_to_f32(a)),
        (Type::F32, Type::F16, Some("rn")) => lanes!(unary, |a: f32| half::f16_nearest(a)),
        (Type::F32, Type::F16, Some("rz")) => lanes!(unary, |a: f32| half::f16_toward_zero(a)),
        (Type::F32, Type::Bf16, Some("rn")) => lanes!(unary, |a: f32| half::bf16_nearest(a)),
        (Type::F32, Type::Bf16, Some("rz")) => lanes!(unary, |a: f32| half::bf16_toward_zero(a)),
        (Type::F32, Type::F16x2, Some("rn")) => lanes!(binary, |a: f32, b: f32| {
            u32::from(half::f16_nearest(a)) << 16 | u32::from(half::f16_nearest(b))
        }),
        (Type::F32, Type::Bf16x2, Some("rn")) => lanes!(binary, |a: f32, b: f32| {
            u32::from(half::bf16_nearest(a)) << 16 | u32::from(half::bf16_nearest(b))
        }),
        (Type::F32, Type::F16x2, Some("rz")) => lanes!(binary, |a: f32, b: f32| {
            u32::from(half::f16_toward_zero(a)) << 16 | u32::from(half::f16_toward_zero(b))
        }),
        (Type::F32, Type::Bf16x2, Some("rz")) => lanes!(binary, |a: f32, b: f32| {
            u32::from(half::bf16_toward_zero(a)) << 16 | u32::from(half::bf16_toward_zero(b))
        }),
        (Type::F32, Type::Tf32, Some("rna")) => lanes!(unary, |a: f32| half::tf32(a)),
        _ => return None,
    })
}

/// f32 to 16-bit floats with `.relu`: negative values become 0, and NaN stays NaN.
fn clamped_halves(from: Type, to: Type, rounding: &str) -> Option<Lanes> {
    #[inline(always)]
    fn relu(x: f32) -> f32 {
        if x.is_nan() || x > 0.0 { x } else { 0.0 }
    }
    macro_rules! to {
        ($narrow:path) => {
            match to {
                Type::F16 | Type::Bf16 => lanes!(unary, |a: f32| $narrow(relu(a))),
                _ => lanes!(binary, |a: f32, b: f32| {
                    u32::from($narrow(relu(a))) << 16 | u32::from($narrow(relu(b)))
                }),
            }
        };
    }
    Some(match (from, to, rounding) {
        (Type::F32, Type::F16 | Type::F16x2, "rn") => to!(half::f16_nearest),
        (Type::F32, Type::F16 | Type::F16x2, "rz") => to!(half::f16_toward_zero),
        (Type::F32, Type::Bf16 | Type::Bf16x2, "rn") => to!(half::bf16_nearest),
        (Type::F32, Type::Bf16 | Type::Bf16x2, "rz") => to!(half::bf16_toward_zero),
        _ => return None,
    })
}
