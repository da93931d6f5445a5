//! Arithmetic on f16 and bf16, alone and in pairs (`.f16x2`, `.bf16x2`).
//!
//! A result is computed with more digits, rounded to odd, and then rounded to the nearest once, as
//! if from the exact value. Modifiers such as `.ftz` are bits of the immediate.

use super::half::{bf16_nearest, bf16_to_f32, f16_nearest, f16_to_f32};
use super::round::{Rounding, directed, two_sum};
use super::{Form, Opcode, Type};
use crate::lanes::{
    Bound, Lanes, Operands, Registers, Value, binary_immediate, compare_both, lanes, perturbed,
    ternary_immediate, unary_immediate,
};

/// Flush subnormal inputs and results to zero.
const FTZ: u32 = 1;
/// Clamp the result to 0..1; NaN becomes 0.
const SAT: u32 = 2;
/// A negative result becomes 0; NaN becomes the canonical NaN.
const RELU: u32 = 4;
/// `min` and `max` of a NaN are NaN.
const NAN: u32 = 8;
/// The canonical NaN of both formats.
const CANONICAL: u16 = 0x7fff;

/// A 16-bit float format.
trait Half {
    /// The bits of the exponent.
    const EXPONENT: u16;
    /// The bits of 1.
    const ONE: u16;
    /// The exact value.
    fn wide(bits: u16) -> f32;
    /// The nearest of this format, ties to even.
    fn nearest(x: f32) -> u16;
}

struct F16;
struct Bf16;

impl Half for F16 {
    const EXPONENT: u16 = 0x7c00;
    const ONE: u16 = 0x3c00;
    #[inline(always)]
    fn wide(bits: u16) -> f32 {
        f16_to_f32(bits)
    }
    #[inline(always)]
    fn nearest(x: f32) -> u16 {
        f16_nearest(x)
    }
}

impl Half for Bf16 {
    const EXPONENT: u16 = 0x7f80;
    const ONE: u16 = 0x3f80;
    #[inline(always)]
    fn wide(bits: u16) -> f32 {
        bf16_to_f32(bits)
    }
    #[inline(always)]
    fn nearest(x: f32) -> u16 {
        bf16_nearest(x)
    }
}

/// Flushes a subnormal number to zero of its sign when the modifier is on.
#[inline(always)]
fn flushed<H: Half>(bits: u16, modifiers: u32) -> u16 {
    if modifiers & FTZ != 0 && bits & H::EXPONENT == 0 { bits & 0x8000 } else { bits }
}

/// An input's value.
#[inline(always)]
fn read<H: Half>(bits: u16, modifiers: u32) -> f64 {
    f64::from(H::wide(flushed::<H>(bits, modifiers)))
}

/// `sum + error` as f32, rounded to odd: an inexact result has the last bit set. Rounding it to a
/// format with fewer digits then gives what rounding the exact value gives.
#[inline(always)]
fn odd(sum: f64, error: f64) -> f32 {
    if !sum.is_finite() {
        return sum as f32;
    }
    let cut = directed(sum, error, Rounding::Zero);
    let inexact = f64::from(cut) != sum || error != 0.0;
    f32::from_bits(cut.to_bits() | u32::from(inexact))
}

/// Rounds `sum + error` and applies the modifiers.
#[inline(always)]
fn rounded<H: Half>(sum: f64, error: f64, modifiers: u32) -> u16 {
    let bits = flushed::<H>(H::nearest(odd(sum, error)), modifiers);
    let negative = bits & 0x8000 != 0;
    let nan = bits & 0x7fff > H::EXPONENT;
    if modifiers & SAT != 0 {
        return if nan || negative { 0 } else { bits.min(H::ONE) };
    }
    match (nan, negative && modifiers & RELU != 0) {
        (true, _) => CANONICAL,
        (false, true) => 0,
        (false, false) => bits,
    }
}

/// `a + b`, rounded.
#[inline(always)]
fn sum<H: Half>(a: f64, b: f64, modifiers: u32) -> u16 {
    let (sum, error) = two_sum(a, b);
    rounded::<H>(sum, error, modifiers)
}

#[inline(always)]
fn add<H: Half>(a: u16, b: u16, modifiers: u32) -> u16 {
    sum::<H>(read::<H>(a, modifiers), read::<H>(b, modifiers), modifiers)
}

#[inline(always)]
fn sub<H: Half>(a: u16, b: u16, modifiers: u32) -> u16 {
    sum::<H>(read::<H>(a, modifiers), -read::<H>(b, modifiers), modifiers)
}

/// The product of two such numbers is exact in f64.
#[inline(always)]
fn mul<H: Half>(a: u16, b: u16, modifiers: u32) -> u16 {
    rounded::<H>(read::<H>(a, modifiers) * read::<H>(b, modifiers), 0.0, modifiers)
}

#[inline(always)]
fn fma<H: Half>(a: u16, b: u16, c: u16, modifiers: u32) -> u16 {
    let product = read::<H>(a, modifiers) * read::<H>(b, modifiers);
    sum::<H>(product, read::<H>(c, modifiers), modifiers)
}

#[inline(always)]
fn neg<H: Half>(a: u16, modifiers: u32) -> u16 {
    flushed::<H>(a, modifiers) ^ 0x8000
}

#[inline(always)]
fn abs<H: Half>(a: u16, modifiers: u32) -> u16 {
    flushed::<H>(a, modifiers) & 0x7fff
}

#[inline(always)]
fn min<H: Half>(a: u16, b: u16, modifiers: u32) -> u16 {
    extreme::<H>(a, b, modifiers, false)
}

#[inline(always)]
fn max<H: Half>(a: u16, b: u16, modifiers: u32) -> u16 {
    extreme::<H>(a, b, modifiers, true)
}

/// The smaller (the larger) number; -0 is below +0, and a NaN gives way unless the modifier is on.
#[inline(always)]
fn extreme<H: Half>(a: u16, b: u16, modifiers: u32, larger: bool) -> u16 {
    let (a, b) = (flushed::<H>(a, modifiers), flushed::<H>(b, modifiers));
    let (x, y) = (H::wide(a), H::wide(b));
    if x.is_nan() && y.is_nan() || modifiers & NAN != 0 && (x.is_nan() || y.is_nan()) {
        return CANONICAL;
    }
    let a_below = x < y || x == y && a > b;
    if y.is_nan() || !x.is_nan() && a_below != larger { a } else { b }
}

/// A pair from the halves at bits 0 and 16.
#[inline(always)]
fn both(half: impl Fn(u32) -> u16) -> u32 {
    u32::from(half(0)) | u32::from(half(16)) << 16
}

/// Makes lanes for the kind at hand of a function of 16-bit floats and the immediate.
macro_rules! halves {
    ($kind:expr, $shape:path, $f:ident, $($x:ident),+) => {
        match $kind {
            Type::F16 => lanes!($shape, |$($x: u16),+, i: u32| $f::<F16>($($x),+, i)),
            Type::Bf16 => lanes!($shape, |$($x: u16),+, i: u32| $f::<Bf16>($($x),+, i)),
            Type::F16x2 => lanes!($shape, |$($x: u32),+, i: u32| {
                both(|at| $f::<F16>($(($x >> at) as u16),+, i))
            }),
            Type::Bf16x2 => lanes!($shape, |$($x: u32),+, i: u32| {
                both(|at| $f::<Bf16>($(($x >> at) as u16),+, i))
            }),
            _ => return None,
        }
    };
}

/// Arithmetic forms of the 16-bit floats.
pub(super) fn form(opcode: &mut Opcode<'_>) -> Option<Form> {
    if opcode.root == "set" {
        return set(opcode);
    }
    let kind = opcode.kind()?;
    let is_f16 = match kind {
        Type::F16 | Type::F16x2 => true,
        Type::Bf16 | Type::Bf16x2 => false,
        _ => return None,
    };
    if opcode.take("approx") {
        // `ex2` of bf16 is written with `.ftz` always, of f16 never.
        let ftz = opcode.take("ftz");
        let lanes = match (opcode.root, ftz) {
            ("ex2", ftz) if ftz != is_f16 => exponential(kind)?,
            ("tanh", false) => tangent(kind)?,
            _ => return None,
        };
        return Some(Form::same(lanes, kind, 1));
    }
    let mut modifiers = 0;
    for (name, bit) in [("ftz", FTZ), ("sat", SAT), ("relu", RELU), ("NaN", NAN)] {
        modifiers |= if opcode.take(name) { bit } else { 0 };
    }
    let rounds = opcode.take("rn");
    let allowed = match opcode.root {
        "add" | "sub" | "mul" => FTZ | SAT,
        "fma" if rounds && modifiers & (SAT | RELU) != SAT | RELU => FTZ | SAT | RELU,
        "min" | "max" if !rounds => FTZ | NAN,
        "neg" | "abs" if !rounds => FTZ,
        _ => return None,
    };
    // bf16 has neither `.ftz` nor `.sat`.
    let allowed = if is_f16 { allowed } else { allowed & (RELU | NAN) };
    if modifiers & !allowed != 0 {
        return None;
    }
    let (lanes, sources) = match opcode.root {
        "add" => (halves!(kind, binary_immediate, add, a, b), 2),
        "sub" => (halves!(kind, binary_immediate, sub, a, b), 2),
        "mul" => (halves!(kind, binary_immediate, mul, a, b), 2),
        "fma" => (halves!(kind, ternary_immediate, fma, a, b, c), 3),
        "min" => (halves!(kind, binary_immediate, min, a, b), 2),
        "max" => (halves!(kind, binary_immediate, max, a, b), 2),
        "neg" => (halves!(kind, unary_immediate, neg, a), 1),
        _ => (halves!(kind, unary_immediate, abs, a), 1),
    };
    Some(Form { immediate: modifiers, ..Form::same(lanes, kind, sources) })
}

/// Lane by lane an approximate function of the halves of a register, `count` of them.
#[inline(always)]
fn approximate<H: Half>(
    r: &mut Registers,
    o: &Operands,
    mask: u32,
    f: impl Fn(f32) -> f32,
    count: u32,
    bound: Bound,
) {
    let mut values = u32::load(r, o.a);
    for value in &mut values {
        let mut result = 0;
        for at in (0..16 * count).step_by(16) {
            let bits = (*value >> at) as u16;
            let exact = f(H::wide(bits));
            let moved =
                r.perturb.map_or(exact, |seed| perturbed(exact, seed, u64::from(bits), bound));
            result |= u32::from(H::nearest(moved)) << at;
        }
        *value = result;
    }
    u32::store(r, o.d, values, mask);
}

/// `ex2.approx`. The bounds are those of the manual less the error of rounding to the format.
fn exponential(kind: Type) -> Option<Lanes> {
    const F16_BOUND: Bound = Bound::Relative(0.000_55);
    const BF16_BOUND: Bound = Bound::Relative(0.005_8);
    /// Subnormal inputs and results of bf16 are flushed; those are subnormal in f32 too.
    fn flushing(x: f32) -> f32 {
        super::round::flush(super::round::flush(x).exp2())
    }
    Some(match kind {
        Type::F16 => lanes!(approximate::<F16>, |x: f32| x.exp2(), 1, F16_BOUND),
        Type::F16x2 => lanes!(approximate::<F16>, |x: f32| x.exp2(), 2, F16_BOUND),
        Type::Bf16 => lanes!(approximate::<Bf16>, flushing, 1, BF16_BOUND),
        Type::Bf16x2 => lanes!(approximate::<Bf16>, flushing, 2, BF16_BOUND),
        _ => return None,
    })
}

/// `tanh.approx`, with bounds like those of [`exponential`].
fn tangent(kind: Type) -> Option<Lanes> {
    const F16_BOUND: Bound = Bound::Absolute(0.000_24);
    const BF16_BOUND: Bound = Bound::Absolute(0.001_9);
    Some(match kind {
        Type::F16 => lanes!(approximate::<F16>, |x: f32| x.tanh(), 1, F16_BOUND),
        Type::F16x2 => lanes!(approximate::<F16>, |x: f32| x.tanh(), 2, F16_BOUND),
        Type::Bf16 => lanes!(approximate::<Bf16>, |x: f32| x.tanh(), 1, BF16_BOUND),
        Type::Bf16x2 => lanes!(approximate::<Bf16>, |x: f32| x.tanh(), 2, BF16_BOUND),
        _ => return None,
    })
}

/// The comparison operators, in the order of their codes.
const OPERATORS: [&str; 14] =
    ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

/// The immediate of a comparison: its operator's code and the modifier, above the bits of
/// [`crate::lanes::combine`].
fn comparison_bits(operator: &str, ftz: bool) -> Option<u32> {
    let code = OPERATORS.iter().position(|&name| name == operator)? as u32;
    Some(code << 8 | u32::from(ftz) << 16)
}

/// Whether a comparison holds.
#[inline(always)]
fn holds<H: Half>(a: u16, b: u16, immediate: u32) -> bool {
    let modifiers = if immediate >> 16 & 1 == 1 { FTZ } else { 0 };
    let (a, b) = (read::<H>(a, modifiers), read::<H>(b, modifiers));
    let unordered = a.is_nan() || b.is_nan();
    let code = immediate >> 8 & 0xff;
    let ordered = match code % 6 {
        _ if code >= 12 => return unordered == (code == 13),
        0 => a == b,
        1 => a != b,
        2 => a < b,
        3 => a <= b,
        4 => a > b,
        _ => a >= b,
    };
    if unordered { code >= 6 } else { ordered }
}

/// `setp` of the 16-bit floats: its function and its bits of the immediate. For a pair, the second
/// destination has the comparison of the upper halves.
pub(super) fn comparison(kind: Type, operator: &str, ftz: bool) -> Option<(Lanes, u32)> {
    macro_rules! alone {
        ($h:ty) => {
            lanes!(compare_both, |a: u16, b: u16, i: u32| {
                let holds = holds::<$h>(a, b, i);
                [holds, !holds]
            })
        };
    }
    macro_rules! pair {
        ($h:ty) => {
            lanes!(compare_both, |a: u32, b: u32, i: u32| {
                [0, 16].map(|at| holds::<$h>((a >> at) as u16, (b >> at) as u16, i))
            })
        };
    }
    let lanes = match kind {
        Type::F16 => alone!(F16),
        Type::Bf16 if !ftz => alone!(Bf16),
        Type::F16x2 => pair!(F16),
        Type::Bf16x2 if !ftz => pair!(Bf16),
        _ => return None,
    };
    Some((lanes, comparison_bits(operator, ftz)?))
}

/// `set`: 1.0 or, in an integer, all ones where a comparison holds, otherwise 0.
fn set(opcode: &mut Opcode<'_>) -> Option<Form> {
    let (from, to) = (opcode.kind()?, opcode.kind()?);
    let ftz = opcode.take("ftz");
    let immediate = comparison_bits(opcode.last()?, ftz)?;
    macro_rules! whole {
        ($h:ty, $t:ty, $one:expr) => {
            lanes!(binary_immediate, |a: u16, b: u16, i: u32| -> $t {
                if holds::<$h>(a, b, i) { $one } else { 0 }
            })
        };
    }
    macro_rules! pair {
        ($h:ty, $one:expr) => {
            lanes!(binary_immediate, |a: u32, b: u32, i: u32| -> u32 {
                let one = |at: u32| -> u32 {
                    let holds = holds::<$h>((a >> at) as u16, (b >> at) as u16, i);
                    if holds { u32::from($one) << at } else { 0 }
                };
                one(0) | one(16)
            })
        };
    }
    let lanes = match (from, to) {
        (Type::F16, Type::F16) => whole!(F16, u16, F16::ONE),
        (Type::F16, Type::U16 | Type::S16) => whole!(F16, u16, !0),
        (Type::F16, Type::U32 | Type::S32) => whole!(F16, u32, !0),
        (Type::Bf16, Type::Bf16) => whole!(Bf16, u16, Bf16::ONE),
        (Type::Bf16, Type::U16 | Type::S16) => whole!(Bf16, u16, !0),
        (Type::Bf16, Type::U32 | Type::S32) => whole!(Bf16, u32, !0),
        (Type::F16x2, Type::F16x2) => pair!(F16, F16::ONE),
        (Type::F16x2, Type::U32 | Type::S32) => pair!(F16, !0u16),
        (Type::Bf16x2, Type::Bf16x2) => pair!(Bf16, Bf16::ONE),
        (Type::Bf16x2, Type::U32 | Type::S32) => pair!(Bf16, !0u16),
        _ => return None,
    };
    let bf16 = matches!(from, Type::Bf16 | Type::Bf16x2);
    (!ftz || !bf16).then(|| Form { immediate, ..Form::mixed(lanes, to, &[from, from]) })
}
