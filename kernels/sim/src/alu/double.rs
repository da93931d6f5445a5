//! Arithmetic on f64.

use super::{Form, Opcode, Type};
use crate::lanes::{binary, lanes, ternary, unary};

/// Keeps the upper 32 bits: the approximate forms read and write no others.
#[inline(always)]
fn upper(x: f64) -> f64 {
    f64::from_bits(x.to_bits() & !0xffff_ffff)
}

/// Flushes subnormal numbers to zero.
#[inline(always)]
fn flush(x: f64) -> f64 {
    if x.is_subnormal() { 0.0f64.copysign(x) } else { x }
}

/// Forms of type f64.
pub(super) fn form(opcode: &mut Opcode<'_>) -> Option<Form> {
    if opcode.kind()? != Type::F64 {
        return None;
    }
    if opcode.take("approx") {
        let lanes = match (opcode.root, opcode.take("ftz")) {
            ("rcp", true) => lanes!(unary, |a: f64| flush(upper(1.0 / flush(upper(a))))),
            ("rsqrt", true) => lanes!(unary, |a: f64| upper(1.0 / flush(upper(a)).sqrt())),
            ("rsqrt", false) => lanes!(unary, |a: f64| upper(1.0 / upper(a).sqrt())),
            _ => return None,
        };
        return Some(Form::same(lanes, Type::F64, 1));
    }
    opcode.take("rn");
    let (lanes, sources) = match opcode.root {
        "add" => (lanes!(binary, |a: f64, b: f64| a + b), 2),
        "sub" => (lanes!(binary, |a: f64, b: f64| a - b), 2),
        "mul" => (lanes!(binary, |a: f64, b: f64| a * b), 2),
        "div" => (lanes!(binary, |a: f64, b: f64| a / b), 2),
        "fma" | "mad" => (lanes!(ternary, |a: f64, b: f64, c: f64| a.mul_add(b, c)), 3),
        "sqrt" => (lanes!(unary, |a: f64| a.sqrt()), 1),
        "rcp" => (lanes!(unary, |a: f64| 1.0 / a), 1),
        "abs" => (lanes!(unary, |a: f64| a.abs()), 1),
        "neg" => (lanes!(unary, |a: f64| -a), 1),
        "copysign" => (lanes!(binary, |a: f64, b: f64| b.copysign(a)), 2),
        "min" => (
            lanes!(binary, |a: f64, b: f64| {
                if a < b || b.is_nan() || a == b && a.is_sign_negative() { a } else { b }
            }),
            2,
        ),
        "max" => (
            lanes!(binary, |a: f64, b: f64| {
                if a > b || b.is_nan() || a == b && b.is_sign_negative() { a } else { b }
            }),
            2,
        ),
        _ => return None,
    };
    Some(Form::same(lanes, Type::F64, sources))
}
