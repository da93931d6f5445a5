//! `cvt` between all types.

use super::exact::{Rounding, rounded};
use super::integer::{INTEGERS, Integer};
use super::suite::{Result, Suite};

/// The types of conversions: bytes too.
fn integers() -> impl Iterator<Item = Integer> + Clone {
    let bytes = [("u8", false), ("s8", true)];
    bytes.map(|(name, signed)| Integer { name, bits: 8, signed }).into_iter().chain(INTEGERS)
}

/// The least and the largest value of a type.
fn limits(kind: Integer) -> (i128, i128) {
    if kind.signed {
        (-(1 << (kind.bits - 1)), (1 << (kind.bits - 1)) - 1)
    } else {
        (0, (1 << kind.bits) - 1)
    }
}

/// A result register, its bits, the statement that moves it to the output register, and that
/// register.
fn target(kind: Integer) -> (String, u32, &'static str, Result) {
    match kind.bits {
        16 => ("%rs9".into(), 16, " cvt.u32.u16 %r9, %rs9;", Result::Word),
        64 => ("%rd9".into(), 64, "", Result::Long),
        _ => ("%r9".into(), 32, "", Result::Word),
    }
}

/// A value truncated to a register of `bits` bits.
fn held(value: i128, bits: u32) -> u64 {
    value as u64 & u64::MAX >> (64 - bits)
}

pub fn between_integers(suite: &mut Suite) {
    for from in integers() {
        for to in integers() {
            let (d, bits, rest, result) = target(to);
            let (a, to_name, from_name) = (from.register(0), to.name, from.name);
            suite.check(
                &format!("cvt.{to_name}.{from_name} {d}, {a};{rest}"),
                result,
                |[a, ..]| held(to.value(from.value(a) as u64), bits),
                |a, b| a == b,
            );
            let (low, high) = limits(to);
            suite.check(
                &format!("cvt.sat.{to_name}.{from_name} {d}, {a};{rest}"),
                result,
                |[a, ..]| held(from.value(a).clamp(low, high), bits),
                |a, b| a == b,
            );
        }
    }
}

/// The directions of rounding to a float.
const ROUNDINGS: [(&str, Rounding); 4] = [
    ("rn", Rounding::Nearest),
    ("rz", Rounding::Zero),
    ("rm", Rounding::Down),
    ("rp", Rounding::Up),
];

pub fn from_integers(suite: &mut Suite) {
    for from in integers() {
        let (a, name) = (from.register(0), from.name);
        for (mode, rounding) in ROUNDINGS {
            suite.check(
                &format!("cvt.{mode}.f32.{name} %r9, {a};"),
                Result::Word,
                |[a, ..]| {
                    let value = from.value(a);
                    let near = value as f32;
                    // The neighbours of a float of 25 bits and more are integers.
                    let exact = if near.abs() < 16_777_216.0 {
                        near
                    } else {
                        rounded(near, rounding, |x| (x as i128).cmp(&value))
                    };
                    u64::from(exact.to_bits())
                },
                |a, b| a == b,
            );
        }
        suite.check(
            &format!("cvt.rn.f64.{name} %rd9, {a};"),
            Result::Long,
            |[a, ..]| (from.value(a) as f64).to_bits(),
            |a, b| a == b,
        );
        if from.bits <= 16 {
            suite.check(
                &format!("cvt.rn.f16.{name} %rs9, {a}; cvt.u32.u16 %r9, %rs9;"),
                Result::Word,
                |[a, ..]| u64::from(F16.nearest(from.value(a) as f32)),
                |a, b| a == b,
            );
        }
    }
}

pub fn to_integers(suite: &mut Suite) {
    type Function = fn(f64) -> f64;
    let modes: [(&str, Function); 4] = [
        ("rzi", f64::trunc),
        ("rni", f64::round_ties_even),
        ("rmi", f64::floor),
        ("rpi", f64::ceil),
    ];
    for to in integers() {
        for (mode, whole) in modes {
            // Bytes come in registers of 16 bits.
            let wide = Integer { bits: to.bits.max(16), ..to };
            let (d, bits, rest, result) = target(wide);
            let (low, high) = limits(to);
            let convert = |value: f64, double: bool| {
                if value.is_nan() {
                    // The manual: zero, but for 64 bits on either side the middle of the range.
                    let middle = if to.signed { low } else { 1 << (to.bits - 1) };
                    return held(if double || to.bits == 64 { middle } else { 0 }, bits);
                }
                held((whole(value) as i128).clamp(low, high), bits)
            };
            for ftz in ["", ".ftz"] {
                suite.check(
                    &format!("cvt.{mode}{ftz}.{}.f32 {d}, %r0;{rest}", to.name),
                    result,
                    |[a, ..]| {
                        let a = f32::from_bits(a as u32);
                        let a = if a.is_subnormal() && !ftz.is_empty() { 0.0 } else { a };
                        convert(a.into(), false)
                    },
                    |a, b| a == b,
                );
            }
            suite.check(
                &format!("cvt.{mode}.{}.f64 {d}, %rd0;{rest}", to.name),
                result,
                |[a, ..]| convert(f64::from_bits(a), true),
                |a, b| a == b,
            );
        }
    }
}

pub fn between_floats(suite: &mut Suite) {
    let flush = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    let clamp = |x: f32| if x.is_nan() || x <= 0.0 { 0.0 } else { x.min(1.0) };
    type Function = fn(f32) -> f32;
    let modes: [(&str, Function); 5] = [
        ("", |a| a),
        (".rni", f32::round_ties_even),
        (".rzi", f32::trunc),
        (".rmi", f32::floor),
        (".rpi", f32::ceil),
    ];
    for (mode, f) in modes {
        suite.floats(&format!("cvt{mode}.f32.f32 %r9, %r0;"), |a, _, _| f(a));
        suite.floats(&format!("cvt{mode}.ftz.f32.f32 %r9, %r0;"), |a, _, _| flush(f(flush(a))));
        suite.floats(&format!("cvt{mode}.sat.f32.f32 %r9, %r0;"), |a, _, _| clamp(f(a)));
        suite.floats(&format!("cvt{mode}.ftz.sat.f32.f32 %r9, %r0;"), |a, _, _| clamp(f(flush(a))));
    }
    suite.doubles("cvt.rni.f64.f64 %rd9, %rd0;", |a, _, _| a.round_ties_even());
    suite.doubles("cvt.rzi.f64.f64 %rd9, %rd0;", |a, _, _| a.trunc());
    suite.doubles("cvt.rmi.f64.f64 %rd9, %rd0;", |a, _, _| a.floor());
    suite.doubles("cvt.rpi.f64.f64 %rd9, %rd0;", |a, _, _| a.ceil());
    let nan = |bits: u64| f64::from_bits(bits).is_nan();
    for ftz in [false, true] {
        suite.check(
            &format!("cvt{}.f64.f32 %rd9, %r0;", if ftz { ".ftz" } else { "" }),
            Result::Long,
            |[a, ..]| {
                let a = f32::from_bits(a as u32);
                f64::from(if ftz { flush(a) } else { a }).to_bits()
            },
            |a, b| a == b || nan(a) && nan(b),
        );
    }
    let nan = |bits: u64| f32::from_bits(bits as u32).is_nan();
    for (mode, rounding) in ROUNDINGS {
        let single = |a: u64| {
            let a = f64::from_bits(a);
            let near = a as f32;
            let exact = !a.is_finite() || a == 0.0 || f64::from(near) == a;
            if exact { near } else { rounded(near, rounding, |x| f64::from(x).total_cmp(&a)) }
        };
        let same = |a, b| a == b || nan(a) && nan(b);
        suite.check(
            &format!("cvt.{mode}.f32.f64 %r9, %rd0;"),
            Result::Word,
            |[a, ..]| u64::from(single(a).to_bits()),
            same,
        );
        if mode == "rn" {
            suite.check(
                "cvt.rn.ftz.f32.f64 %r9, %rd0;",
                Result::Word,
                |[a, ..]| u64::from(flush(single(a)).to_bits()),
                same,
            );
        }
    }
}

/// A float type of at most 19 bits.
pub struct Small {
    exponent_bits: i32,
    fraction_bits: i32,
}

pub const F16: Small = Small { exponent_bits: 5, fraction_bits: 10 };
pub const BF16: Small = Small { exponent_bits: 8, fraction_bits: 7 };
const TF32: Small = Small { exponent_bits: 8, fraction_bits: 10 };

impl Small {
    /// The bits of infinity; those above are NaNs.
    pub fn infinity(&self) -> u32 {
        ((1 << self.exponent_bits) - 1) << self.fraction_bits
    }

    /// The value of bits without sign; infinity is the next power of two.
    pub fn value(&self, bits: u32) -> f64 {
        let bias = (1 << (self.exponent_bits - 1)) - 1;
        let exponent = (bits >> self.fraction_bits) as i32;
        let fraction = f64::from(bits & ((1 << self.fraction_bits) - 1));
        let implied = if exponent > 0 { f64::from(1 << self.fraction_bits) } else { 0.0 };
        (implied + fraction) * 2f64.powi(exponent.max(1) - bias - self.fraction_bits)
    }

    /// The smallest normal number.
    pub fn least_normal(&self) -> f32 {
        self.value(1 << self.fraction_bits) as f32
    }

    /// The bits at or below a magnitude, and which of the two neighbours is nearer.
    fn neighbours(&self, x: f32) -> (u32, std::cmp::Ordering) {
        let (mut low, mut high) = (0, self.infinity());
        let x = f64::from(x.abs());
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.value(middle) <= x { low = middle } else { high = middle }
        }
        let middle = (self.value(low) + self.value(low + 1)) / 2.0;
        (low, x.total_cmp(&middle))
    }

    /// Adds the sign.
    fn signed(&self, bits: u32, x: f32) -> u32 {
        bits | u32::from(x.is_sign_negative()) << (self.exponent_bits + self.fraction_bits)
    }

    /// To the nearest, ties to even; a NaN of all ones.
    pub fn nearest(&self, x: f32) -> u32 {
        if x.is_nan() {
            return 0x7fff;
        }
        let (low, order) = self.neighbours(x);
        let up = order.is_gt() || order.is_eq() && low % 2 == 1;
        self.signed(low + u32::from(up), x)
    }

    /// Towards zero; infinity stays.
    pub fn toward_zero(&self, x: f32) -> u32 {
        if x.is_nan() {
            return 0x7fff;
        }
        let bits = if x.is_infinite() { self.infinity() } else { self.neighbours(x).0 };
        self.signed(bits, x)
    }
}

pub fn halves(suite: &mut Suite) {
    for (name, kind) in [("f16", F16), ("bf16", BF16)] {
        let pair = |f: fn(&Small, f32) -> u32, a: u32, b: u32| {
            f(&kind, f32::from_bits(a)) << 16 | f(&kind, f32::from_bits(b))
        };
        for (mode, f) in
            [("rn", Small::nearest as fn(&Small, f32) -> u32), ("rz", Small::toward_zero)]
        {
            suite.words(
                &format!("cvt.{mode}.{name}.f32 %rs9, %r0; cvt.u32.u16 %r9, %rs9;"),
                |a, _, _| f(&kind, f32::from_bits(a)),
            );
            suite
                .words(&format!("cvt.{mode}.{name}x2.f32 %r9, %r0, %r1;"), |a, b, _| pair(f, a, b));
        }
        suite.floats(&format!("cvt.f32.{name} %r9, %rs0;"), |a, _, _| {
            let bits = a.to_bits() & 0xffff;
            let (magnitude, negative) = (bits & 0x7fff, bits >> 15 == 1);
            let value = match magnitude.cmp(&kind.infinity()) {
                std::cmp::Ordering::Less => kind.value(magnitude) as f32,
                std::cmp::Ordering::Equal => f32::INFINITY,
                std::cmp::Ordering::Greater => f32::NAN,
            };
            if negative { -value } else { value }
        });
    }
    suite.floats("cvt.rna.tf32.f32 %r9, %r0;", |a, _, _| {
        if !a.is_finite() {
            return a;
        }
        let (low, order) = TF32.neighbours(a);
        f32::from_bits(TF32.signed(low + u32::from(order.is_ge()), a) << 13)
    });
}
