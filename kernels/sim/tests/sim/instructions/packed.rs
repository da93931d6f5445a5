//! Arithmetic on f16 and bf16, alone and in pairs, against exact sums and products.

use std::cmp::Ordering;

use super::compare::holds;
use super::convert::{BF16, F16, Small};
use super::exact::Exact;
use super::suite::{Result, Suite};

/// The formats by their names in PTX.
const FORMATS: [(&str, Small); 2] = [("f16", F16), ("bf16", BF16)];
const NAN: u16 = 0x7fff;

/// The value of bits.
fn value(kind: &Small, bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let value = match magnitude.cmp(&kind.infinity()) {
        Ordering::Less => kind.value(magnitude) as f32,
        Ordering::Equal => f32::INFINITY,
        Ordering::Greater => f32::NAN,
    };
    if bits >> 15 == 1 { -value } else { value }
}

/// `a * b + c` rounded once to the nearest, ties to even.
fn fma(kind: &Small, [a, b, c]: [f32; 3]) -> u16 {
    let near = a.mul_add(b, c);
    if ![a, b, c].iter().all(|x| x.is_finite()) {
        return kind.nearest(near) as u16;
    }
    let exact = Exact::product(a, b).plus(&Exact::of(c));
    let sign = exact.against(&Exact::of(0.0));
    if sign.is_eq() {
        return kind.nearest(a * b + c) as u16 & 0x8000;
    }
    // The order of the exact magnitude relative to a number.
    let against = |x: f64| {
        let order = exact.against(&Exact::of(if sign.is_lt() { -x } else { x } as f32));
        if sign.is_lt() { order.reverse() } else { order }
    };
    let (mut low, mut high) = (0, kind.infinity());
    while high - low > 1 {
        let middle = low.midpoint(high);
        if against(kind.value(middle)).is_ge() { low = middle } else { high = middle }
    }
    let order = against((kind.value(low) + kind.value(low + 1)) / 2.0);
    let up = order.is_gt() || order.is_eq() && low % 2 == 1;
    (low + u32::from(up)) as u16 | if sign.is_lt() { 0x8000 } else { 0 }
}

/// Flushes subnormal numbers to zero of their sign.
fn flush(kind: &Small, bits: u16) -> u16 {
    if value(kind, bits).abs() < kind.least_normal() { bits & 0x8000 } else { bits }
}

/// A result with its modifiers.
fn ended(kind: &Small, ending: &str, bits: u16) -> u16 {
    let bits = if ending.contains("ftz") { flush(kind, bits) } else { bits };
    let x = value(kind, bits);
    if ending.contains("sat") {
        return kind.nearest(if x > 0.0 { x.min(1.0) } else { 0.0 }) as u16;
    }
    match x.is_nan() {
        true => NAN,
        false if ending.contains("relu") && x.is_sign_negative() => 0,
        false => bits,
    }
}

/// A statement on one number and on a pair, whose result is that of `f` on each half. Results
/// that are NaN are equal.
fn each(suite: &mut Suite, name: &str, kind: &Small, sources: usize, f: impl Fn([u16; 3]) -> u16) {
    let same = |a: u16, b: u16| a == b || value(kind, a).is_nan() && value(kind, b).is_nan();
    let list = |prefix: &str| (0..sources).map(|at| format!(", {prefix}{at}")).collect::<String>();
    let half = |row: [u64; 3], at: u32| f(row.map(|bits| (bits >> at) as u16));
    suite.check(
        &format!("{name} %rs9{}; cvt.u32.u16 %r9, %rs9;", list("%rs")),
        Result::Word,
        |row| u64::from(half(row, 0)),
        |a, b| same(a as u16, b as u16) && a < 1 << 16,
    );
    suite.check(
        &format!("{name}x2 %r9{};", list("%r")),
        Result::Word,
        |row| u64::from(half(row, 0)) | u64::from(half(row, 16)) << 16,
        |a, b| same(a as u16, b as u16) && same((a >> 16) as u16, (b >> 16) as u16),
    );
}

pub fn arithmetic(suite: &mut Suite) {
    for (name, kind) in &FORMATS {
        let half = *name == "f16";
        let endings: &[&str] = if half { &["", ".ftz", ".sat", ".ftz.sat"] } else { &[""] };
        for ending in endings {
            let read = |bits: u16| {
                value(kind, if ending.contains("ftz") { flush(kind, bits) } else { bits })
            };
            for rounding in ["", ".rn"] {
                let form = |root: &str| format!("{root}{rounding}{ending}.{name}");
                let end = |terms: [f32; 3]| ended(kind, ending, fma(kind, terms));
                each(suite, &form("add"), kind, 2, |[a, b, _]| end([read(a), 1.0, read(b)]));
                each(suite, &form("sub"), kind, 2, |[a, b, _]| end([read(a), 1.0, -read(b)]));
                each(suite, &form("mul"), kind, 2, |[a, b, _]| {
                    // -0 keeps the sign of a product of zero.
                    let zero = if (read(a) * read(b)).is_sign_negative() { -0.0 } else { 0.0 };
                    end([read(a), read(b), zero])
                });
            }
        }
        let endings: &[&str] = if half {
            &["", ".ftz", ".sat", ".ftz.sat", ".relu", ".ftz.relu"]
        } else {
            &["", ".relu"]
        };
        for ending in endings {
            let read = |bits: u16| {
                value(kind, if ending.contains("ftz") { flush(kind, bits) } else { bits })
            };
            each(suite, &format!("fma.rn{ending}.{name}"), kind, 3, |row| {
                ended(kind, ending, fma(kind, row.map(read)))
            });
        }
        let endings: &[&str] = if half { &["", ".ftz"] } else { &[""] };
        for ending in endings {
            let read = |bits: u16| if ending.is_empty() { bits } else { flush(kind, bits) };
            each(suite, &format!("neg{ending}.{name}"), kind, 1, |[a, ..]| read(a) ^ 0x8000);
            each(suite, &format!("abs{ending}.{name}"), kind, 1, |[a, ..]| read(a) & 0x7fff);
            for nan in ["", ".NaN"] {
                for (root, wanted) in [("min", Ordering::Less), ("max", Ordering::Greater)] {
                    each(suite, &format!("{root}{ending}{nan}.{name}"), kind, 2, |[a, b, _]| {
                        let (a, b) = (read(a), read(b));
                        let (x, y) = (value(kind, a), value(kind, b));
                        match (x.is_nan(), y.is_nan()) {
                            (true, true) => NAN,
                            (true, _) | (_, true) if nan == ".NaN" => NAN,
                            (true, _) => b,
                            (_, true) => a,
                            _ if x.total_cmp(&y) == wanted => a,
                            _ => b,
                        }
                    });
                }
            }
        }
    }
    one_rounding(suite);
}

/// (1 + 2^-4)^2 lies halfway between two bf16 numbers; a term far below decides.
fn one_rounding(suite: &mut Suite) {
    for (term, expected) in [(0x0d80, 0x3f91), (0x0000, 0x3f90), (0x8d80, 0x3f90)] {
        suite.before = format!("mov.b16 %rs3, 0x3f88; mov.b16 %rs4, {term};");
        let statement = "fma.rn.bf16 %rs9, %rs3, %rs3, %rs4; cvt.u32.u16 %r9, %rs9;";
        suite.words(statement, |_, _, _| expected);
    }
    suite.before.clear();
}

pub fn clamped_conversions(suite: &mut Suite) {
    for (name, kind) in &FORMATS {
        type Function = fn(&Small, f32) -> u32;
        let modes: [(&str, Function); 2] = [("rn", Small::nearest), ("rz", Small::toward_zero)];
        for (mode, f) in modes {
            let clamped = |bits: u32| {
                let x = f32::from_bits(bits);
                if x.is_sign_negative() && !x.is_nan() { 0 } else { f(kind, x) }
            };
            suite.words(
                &format!("cvt.{mode}.relu.{name}.f32 %rs9, %r0; cvt.u32.u16 %r9, %rs9;"),
                |a, _, _| clamped(a),
            );
            suite.words(&format!("cvt.{mode}.relu.{name}x2.f32 %r9, %r0, %r1;"), |a, b, _| {
                clamped(a) << 16 | clamped(b)
            });
        }
    }
}

pub fn comparisons(suite: &mut Suite) {
    for (name, kind) in &FORMATS {
        let one = kind.nearest(1.0);
        for ending in if *name == "f16" { ["", ".ftz"].as_slice() } else { &[""] } {
            for operator in [
                "eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu",
                "num", "nan",
            ] {
                let half = |[a, b, _]: [u64; 3], at: u32| {
                    let read = |bits: u64| {
                        let bits = (bits >> at) as u16;
                        value(kind, if ending.is_empty() { bits } else { flush(kind, bits) })
                    };
                    holds(operator, read(a).partial_cmp(&read(b)))
                };
                let setp = format!("setp.{operator}{ending}.{name}");
                suite.predicates(&format!("{setp} %p3, %rs0, %rs1;"), |row| half(row, 0));
                suite.predicates(&format!("{setp} %p4|%p3, %rs0, %rs1;"), |row| !half(row, 0));
                suite.predicates(&format!("{setp}x2 %p3|%p4, %r0, %r1;"), |row| half(row, 0));
                suite.predicates(&format!("{setp}x2 %p4|%p3, %r0, %r1;"), |row| half(row, 16));
                let joined = format!("setp.{operator}.and{ending}.{name}x2");
                suite.predicates(&format!("{joined} %p4|%p3, %r0, %r1, !%p2;"), |row| {
                    half(row, 16) && (row[2] as i32) >= 0
                });
                let set = format!("set.{operator}{ending}");
                let word = |holds: bool, bits: u32| if holds { bits } else { 0 };
                for (to, ones) in [(*name, one), ("u16", 0xffff), ("s16", 0xffff)] {
                    suite.check(
                        &format!("{set}.{to}.{name} %rs9, %rs0, %rs1; cvt.u32.u16 %r9, %rs9;"),
                        Result::Word,
                        |row| u64::from(word(half(row, 0), ones)),
                        |a, b| a == b,
                    );
                }
                let pair = |row, ones| word(half(row, 0), ones) | word(half(row, 16), ones) << 16;
                for to in ["u32", "s32"] {
                    let whole = |row| u64::from(word(half(row, 0), u32::MAX));
                    let statement = format!("{set}.{to}.{name} %r9, %rs0, %rs1;");
                    suite.check(&statement, Result::Word, whole, |a, b| a == b);
                    let masks = |row| u64::from(pair(row, 0xffff));
                    let statement = format!("{set}.{to}.{name}x2 %r9, %r0, %r1;");
                    suite.check(&statement, Result::Word, masks, |a, b| a == b);
                }
                let ones = |row| u64::from(pair(row, one));
                let statement = format!("{set}.{name}x2.{name}x2 %r9, %r0, %r1;");
                suite.check(&statement, Result::Word, ones, |a, b| a == b);
            }
        }
    }
}

/// `ex2.approx` and `tanh.approx` within the bounds of the manual.
pub fn approximations(suite: &mut Suite) {
    type Function = fn(f64) -> f64;
    // Relative and absolute bound.
    let functions: [(&str, f64, f64, Function); 4] = [
        ("ex2.approx.f16", 2f64.powf(-9.9), 0.0, f64::exp2),
        ("ex2.approx.ftz.bf16", 2f64.powi(-7), 0.0, f64::exp2),
        ("tanh.approx.f16", 0.0, 2f64.powf(-10.987), f64::tanh),
        ("tanh.approx.bf16", 0.0, 2f64.powi(-8), f64::tanh),
    ];
    for seed in [None, Some(1), Some(2)] {
        suite.perturb = seed;
        for (form, relative, absolute, f) in functions {
            let kind = if form.ends_with("bf16") { &BF16 } else { &F16 };
            let near = |got: u16, input: u16| {
                let ftz = form.contains("ftz");
                let exact = f(value(kind, if ftz { flush(kind, input) } else { input }).into());
                let got = f64::from(value(kind, got));
                let least = f64::from(kind.least_normal());
                let step = if ftz { least } else { least * 2f64.powi(-10) };
                exact.is_nan() && got.is_nan()
                    || got == exact
                    || got.is_infinite() && exact > 0.99 * kind.value(kind.infinity() - 1)
                    || (got - exact).abs() <= (relative * exact).max(absolute).max(step)
            };
            let one = format!("{form} %rs9, %rs0; cvt.u32.u16 %r9, %rs9;");
            suite.check(&one, Result::Word, |[a, ..]| a, |got, a| near(got as u16, a as u16));
            suite.check(
                &format!("{form}x2 %r9, %r0;"),
                Result::Word,
                |[a, ..]| a,
                |got, a| near(got as u16, a as u16) && near((got >> 16) as u16, (a >> 16) as u16),
            );
        }
    }
    suite.perturb = None;
}

pub fn dot_products(suite: &mut Suite) {
    for (a_name, b_name) in [("u32", "u32"), ("u32", "s32"), ("s32", "u32"), ("s32", "s32")] {
        // The `index`th field of `bits` bits, extended.
        let field = |word: u32, bits: u32, index: u32, signed: bool| -> i64 {
            let raw = i64::from(word) >> (bits * index) & ((1 << bits) - 1);
            if signed && raw >> (bits - 1) == 1 { raw - (1 << bits) } else { raw }
        };
        let (a_signed, b_signed) = (a_name == "s32", b_name == "s32");
        suite.words(&format!("dp4a.{a_name}.{b_name} %r9, %r0, %r1, %r2;"), |a, b, c| {
            let products = (0..4).map(|at| field(a, 8, at, a_signed) * field(b, 8, at, b_signed));
            (i64::from(c) + products.sum::<i64>()) as u32
        });
        for (half, first) in [("lo", 0), ("hi", 2)] {
            suite.words(
                &format!("dp2a.{half}.{a_name}.{b_name} %r9, %r0, %r1, %r2;"),
                |a, b, c| {
                    let products = (0..2)
                        .map(|at| field(a, 16, at, a_signed) * field(b, 8, first + at, b_signed));
                    (i64::from(c) + products.sum::<i64>()) as u32
                },
            );
        }
    }
}
