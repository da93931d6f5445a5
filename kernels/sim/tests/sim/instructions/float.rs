//! Arithmetic on f32 in all directions of rounding, and the approximate functions.

use super::exact::{Exact, Rounding, rounded};
use super::suite::Suite;

/// The directions of rounding by their names in PTX.
const ROUNDINGS: [(&str, Rounding); 4] = [
    (".rn", Rounding::Nearest),
    (".rz", Rounding::Zero),
    (".rm", Rounding::Down),
    (".rp", Rounding::Up),
];

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

fn clamp(x: f32) -> f32 {
    if x.is_nan() || x <= 0.0 { 0.0 } else { x.min(1.0) }
}

/// `a * b + c`.
fn fma(a: f32, b: f32, c: f32, rounding: Rounding) -> f32 {
    let near = a.mul_add(b, c);
    if ![a, b, c].iter().all(|x| x.is_finite()) {
        return near;
    }
    let exact = Exact::product(a, b).plus(&Exact::of(c));
    if exact.against(&Exact::of(0.0)).is_eq() {
        // Only a sum of two zeros of one sign keeps that sign; others are -0 when rounded down.
        let positive = (a * b).is_sign_positive()
            && c.is_sign_positive()
            && (a == 0.0 || b == 0.0)
            && c == 0.0;
        return if rounding == Rounding::Down && !positive { -0.0 } else { near };
    }
    rounded(near, rounding, |x| Exact::of(x).against(&exact))
}

/// `a * b`.
fn mul(a: f32, b: f32, rounding: Rounding) -> f32 {
    let near = a * b;
    if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return near;
    }
    let exact = Exact::product(a, b);
    rounded(near, rounding, |x| Exact::of(x).against(&exact))
}

/// `a / b`.
fn div(a: f32, b: f32, rounding: Rounding) -> f32 {
    let near = a / b;
    if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return near;
    }
    rounded(near, rounding, |x| Exact::product(x, b.abs()).against(&Exact::of(a * b.signum())))
}

/// The square root.
fn sqrt(a: f32, rounding: Rounding) -> f32 {
    let near = a.sqrt();
    if !a.is_finite() || a <= 0.0 {
        return near;
    }
    rounded(near, rounding, |x| Exact::product(x, x.max(0.0)).against(&Exact::of(a)))
}

pub fn arithmetic(suite: &mut Suite) {
    for (name, rounding) in ROUNDINGS {
        for (ending, before, after) in [
            ("", None, None::<fn(f32) -> f32>),
            (".ftz", Some(flush as fn(f32) -> f32), Some(flush as fn(f32) -> f32)),
            (".sat", None, Some(clamp as fn(f32) -> f32)),
            (
                ".ftz.sat",
                Some(flush as fn(f32) -> f32),
                Some((|x| clamp(flush(x))) as fn(f32) -> f32),
            ),
        ] {
            let form = format!("{name}{ending}.f32");
            let on = |f: &dyn Fn(f32, f32, f32) -> f32, a: f32, b: f32, c: f32| {
                let [a, b, c] = [a, b, c].map(|x| before.map_or(x, |before| before(x)));
                after.map_or(f(a, b, c), |after| after(f(a, b, c)))
            };
            let sum = |a: f32, b: f32, _: f32| fma(a, 1.0, b, rounding);
            let difference = |a: f32, b: f32, _: f32| fma(a, 1.0, -b, rounding);
            let product = |a: f32, b: f32, _: f32| mul(a, b, rounding);
            let both = |a: f32, b: f32, c: f32| fma(a, b, c, rounding);
            suite.floats(&format!("add{form} %r9, %r0, %r1;"), |a, b, c| on(&sum, a, b, c));
            suite.floats(&format!("sub{form} %r9, %r0, %r1;"), |a, b, c| on(&difference, a, b, c));
            suite.floats(&format!("mul{form} %r9, %r0, %r1;"), |a, b, c| on(&product, a, b, c));
            suite.floats(&format!("fma{form} %r9, %r0, %r1, %r2;"), |a, b, c| on(&both, a, b, c));
            suite.floats(&format!("mad{form} %r9, %r0, %r1, %r2;"), |a, b, c| on(&both, a, b, c));
            if ending.contains("sat") {
                continue;
            }
            let quotient = |a: f32, b: f32, _: f32| div(a, b, rounding);
            let inverse = |a: f32, _: f32, _: f32| div(1.0, a, rounding);
            let root = |a: f32, _: f32, _: f32| sqrt(a, rounding);
            suite.floats(&format!("div{form} %r9, %r0, %r1;"), |a, b, c| on(&quotient, a, b, c));
            suite.floats(&format!("rcp{form} %r9, %r0;"), |a, b, c| on(&inverse, a, b, c));
            suite.floats(&format!("sqrt{form} %r9, %r0;"), |a, b, c| on(&root, a, b, c));
        }
    }
    // Without a name, rounding is to the nearest.
    for ending in ["", ".ftz"] {
        let on = |f: fn(f32, f32) -> f32| {
            move |a: f32, b: f32, _: f32| {
                if ending.is_empty() { f(a, b) } else { flush(f(flush(a), flush(b))) }
            }
        };
        suite.floats(&format!("add{ending}.f32 %r9, %r0, %r1;"), on(|a, b| a + b));
        suite.floats(&format!("sub{ending}.f32 %r9, %r0, %r1;"), on(|a, b| a - b));
        suite.floats(&format!("mul{ending}.f32 %r9, %r0, %r1;"), on(|a, b| a * b));
        suite.floats(&format!("abs{ending}.f32 %r9, %r0;"), on(|a, _| a.abs()));
        suite.floats(&format!("neg{ending}.f32 %r9, %r0;"), on(|a, _| -a));
        suite.floats(&format!("min{ending}.f32 %r9, %r0, %r1;"), on(|a, b| sorted(a, b).0));
        suite.floats(&format!("max{ending}.f32 %r9, %r0, %r1;"), on(|a, b| sorted(a, b).1));
    }
    suite.floats("copysign.f32 %r9, %r0, %r1;", |a, b, _| b.copysign(a));
}

/// The smaller and the larger number; -0 is smaller than 0, and a NaN gives way.
fn sorted(a: f32, b: f32) -> (f32, f32) {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => (b, b),
        (_, true) => (a, a),
        _ if a.total_cmp(&b).is_lt() => (a, b),
        _ => (b, a),
    }
}

/// How far an approximate result may be off.
enum Bound {
    Relative(f64),
    Absolute(f64),
}

pub fn approximations(suite: &mut Suite) {
    // The manual's bounds; rounding to f32, before and after the move inside them, adds 2^-23.
    let rounding = 2f64.powi(-23);
    type Function = fn(f64, f64) -> f64;
    let functions: [(&str, Bound, Function); 9] = [
        ("ex2", Bound::Relative(2f64.powi(-22)), |a, _| a.exp2()),
        ("lg2", Bound::Absolute(2f64.powi(-22)), |a, _| a.log2()),
        ("sin", Bound::Absolute(2f64.powf(-20.5)), |a, _| a.sin()),
        ("cos", Bound::Absolute(2f64.powf(-20.5)), |a, _| a.cos()),
        ("tanh", Bound::Relative(2f64.powi(-11)), |a, _| a.tanh()),
        ("rcp", Bound::Relative(2f64.powi(-23)), |a, _| 1.0 / a),
        ("sqrt", Bound::Relative(2f64.powi(-23)), |a, _| a.sqrt()),
        ("rsqrt", Bound::Relative(2f64.powf(-22.9)), |a, _| 1.0 / a.sqrt()),
        ("div", Bound::Relative(2f64.powi(-22)), |a, b| a / b),
    ];
    for seed in [None, Some(1), Some(2)] {
        suite.perturb = seed;
        for (name, bound, f) in &functions {
            for ftz in [false, true] {
                if *name == "tanh" && ftz {
                    continue;
                }
                let (ending, sources) = (
                    if ftz { ".ftz" } else { "" },
                    if *name == "div" { "%r0, %r1" } else { "%r0" },
                );
                let statement = format!("{name}.approx{ending}.f32 %r9, {sources};");
                let read = |raw: u64| {
                    let x = f32::from_bits(raw as u32);
                    f64::from(if ftz { flush(x) } else { x })
                };
                suite.check(
                    &statement,
                    super::suite::Result::Word,
                    |[a, b, _]| f(read(a), read(b)).to_bits(),
                    |got, exact| {
                        let (got, exact) = (f32::from_bits(got as u32), f64::from_bits(exact));
                        let near = exact as f32;
                        if near.is_nan()
                            || near.is_infinite()
                            || near == 0.0
                            || near.abs() >= f32::MAX
                        {
                            return got.is_nan() && near.is_nan()
                                || got == near
                                || near.abs() == f32::MAX;
                        }
                        let allowed = match bound {
                            Bound::Relative(bound) => (bound + rounding) * exact.abs(),
                            Bound::Absolute(bound) => bound + rounding * exact.abs(),
                        };
                        // Bounds on relative errors end where results lose digits.
                        let least = if near.abs() < 2.0 * f32::MIN_POSITIVE {
                            f32::MIN_POSITIVE
                        } else {
                            0.0
                        };
                        (f64::from(got) - exact).abs() <= allowed.max(least.into())
                    },
                );
            }
        }
    }
    suite.perturb = None;
}
