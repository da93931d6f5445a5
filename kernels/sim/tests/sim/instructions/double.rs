//! Arithmetic on f64.

use super::suite::{Result, Suite};

pub fn arithmetic(suite: &mut Suite) {
    for rounding in ["", ".rn"] {
        suite.doubles(&format!("add{rounding}.f64 %rd9, %rd0, %rd1;"), |a, b, _| a + b);
        suite.doubles(&format!("sub{rounding}.f64 %rd9, %rd0, %rd1;"), |a, b, _| a - b);
        suite.doubles(&format!("mul{rounding}.f64 %rd9, %rd0, %rd1;"), |a, b, _| a * b);
    }
    suite.doubles("fma.rn.f64 %rd9, %rd0, %rd1, %rd2;", |a, b, c| a.mul_add(b, c));
    suite.doubles("mad.rn.f64 %rd9, %rd0, %rd1, %rd2;", |a, b, c| a.mul_add(b, c));
    suite.doubles("div.rn.f64 %rd9, %rd0, %rd1;", |a, b, _| a / b);
    suite.doubles("sqrt.rn.f64 %rd9, %rd0;", |a, _, _| a.sqrt());
    suite.doubles("rcp.rn.f64 %rd9, %rd0;", |a, _, _| 1.0 / a);
    suite.doubles("abs.f64 %rd9, %rd0;", |a, _, _| a.abs());
    suite.doubles("neg.f64 %rd9, %rd0;", |a, _, _| -a);
    suite.doubles("copysign.f64 %rd9, %rd0, %rd1;", |a, b, _| b.copysign(a));
    let sorted = |a: f64, b: f64| match (a.is_nan(), b.is_nan()) {
        (true, _) => (b, b),
        (_, true) => (a, a),
        _ if a.total_cmp(&b).is_lt() => (a, b),
        _ => (b, a),
    };
    suite.doubles("min.f64 %rd9, %rd0, %rd1;", |a, b, _| sorted(a, b).0);
    suite.doubles("max.f64 %rd9, %rd0, %rd1;", |a, b, _| sorted(a, b).1);
    approximations(suite);
}

/// Seeds of Newton's method: 20 good bits, zeros below the upper word.
fn approximations(suite: &mut Suite) {
    type Function = fn(f64) -> f64;
    let functions: [(&str, Function); 3] = [
        ("rcp.approx.ftz.f64", |a| 1.0 / a),
        ("rsqrt.approx.ftz.f64", |a| 1.0 / a.sqrt()),
        ("rsqrt.approx.f64", |a| 1.0 / a.sqrt()),
    ];
    for (form, f) in functions {
        let flush = |x: f64| if x.is_subnormal() { 0f64.copysign(x) } else { x };
        suite.check(
            &format!("{form} %rd9, %rd0;"),
            Result::Long,
            |[a, ..]| {
                // Only the upper word of the operand counts.
                let a = f64::from_bits(a & !0xffff_ffff);
                if form.contains("ftz") { flush(f(flush(a))) } else { f(a) }.to_bits()
            },
            |got, exact| {
                let (value, exact) = (f64::from_bits(got), f64::from_bits(exact));
                let error = (value / exact - 1.0).abs();
                value == exact
                    || value.is_nan() && exact.is_nan()
                    || error < 2f64.powi(-20) && got as u32 == 0
            },
        );
    }
}
