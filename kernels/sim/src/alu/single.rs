//! Arithmetic on f32.

use super::round::{self, Rounding, flush, saturate};
use super::{Form, Opcode, Type};
use crate::lanes::{Bound, Lanes, approximate, approximate_binary, binary, lanes, ternary, unary};

/// Makes lanes of a closure on f32, with inputs and result flushed or the result clamped.
macro_rules! single {
    ($ftz:expr, $sat:expr, $shape:path, |$($x:ident),+| $body:expr) => {
        match ($ftz, $sat) {
            (false, false) => lanes!($shape, |$($x: f32),+| -> f32 { $body }),
            (false, true) => lanes!($shape, |$($x: f32),+| -> f32 { saturate($body) }),
            (true, false) => lanes!($shape, |$($x: f32),+| -> f32 {
                $(let $x = flush($x);)+
                flush($body)
            }),
            (true, true) => lanes!($shape, |$($x: f32),+| -> f32 {
                $(let $x = flush($x);)+
                saturate(flush($body))
            }),
        }
    };
}

/// Makes lanes of an approximate function of one f32.
macro_rules! approximation {
    ($ftz:expr, $bound:expr, |$x:ident| $body:expr) => {
        if $ftz {
            lanes!(
                approximate,
                |$x: f32| -> f32 {
                    let $x = flush($x);
                    flush($body)
                },
                $bound
            )
        } else {
            lanes!(approximate, |$x: f32| -> f32 { $body }, $bound)
        }
    };
}

/// The smaller number; a number wins over a NaN, and -0 is below +0.
#[inline(always)]
fn min(a: f32, b: f32) -> f32 {
    if a < b || b.is_nan() || a == b && a.is_sign_negative() { a } else { b }
}

/// The larger number; a number wins over a NaN, and +0 is above -0.
#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    if a > b || b.is_nan() || a == b && b.is_sign_negative() { a } else { b }
}

/// Forms of type f32.
pub(super) fn form(opcode: &mut Opcode<'_>) -> Option<Form> {
    if opcode.kind()? != Type::F32 {
        return None;
    }
    let ftz = opcode.take("ftz");
    let sat = opcode.take("sat");
    let sources = match opcode.root {
        "fma" | "mad" => 3,
        "add" | "sub" | "mul" | "div" | "min" | "max" | "copysign" => 2,
        _ => 1,
    };
    if opcode.take("approx") || opcode.take("full") {
        if sat {
            return None;
        }
        return Some(Form::same(approximate_form(opcode.root, ftz)?, Type::F32, sources));
    }
    let lanes = match opcode.root {
        "add" | "sub" | "mul" | "fma" | "mad" | "div" | "sqrt" | "rcp" => {
            match opcode.one_of(&["rn", "rz", "rm", "rp"]) {
                None | Some("rn") => nearest(opcode.root, ftz, sat)?,
                Some("rz") => zero(opcode.root, ftz, sat)?,
                Some("rm") => down(opcode.root, ftz, sat)?,
                _ => up(opcode.root, ftz, sat)?,
            }
        }
        "min" | "max" if !sat => {
            let nan = opcode.take("NaN");
            match (opcode.root, nan) {
                ("min", false) => single!(ftz, false, binary, |a, b| min(a, b)),
                ("max", false) => single!(ftz, false, binary, |a, b| max(a, b)),
                ("min", true) => {
                    single!(ftz, false, binary, |a, b| if a.is_nan() || b.is_nan() {
                        f32::NAN
                    } else {
                        min(a, b)
                    })
                }
                _ => {
                    single!(ftz, false, binary, |a, b| if a.is_nan() || b.is_nan() {
                        f32::NAN
                    } else {
                        max(a, b)
                    })
                }
            }
        }
        "abs" if !sat => single!(ftz, false, unary, |a| a.abs()),
        "neg" if !sat => single!(ftz, false, unary, |a| -a),
        "copysign" if !sat && !ftz => lanes!(binary, |a: f32, b: f32| b.copysign(a)),
        _ => return None,
    };
    Some(Form::same(lanes, Type::F32, sources))
}

/// Rounding to the nearest.
fn nearest(root: &str, ftz: bool, sat: bool) -> Option<Lanes> {
    Some(match root {
        "add" => single!(ftz, sat, binary, |a, b| a + b),
        "sub" => single!(ftz, sat, binary, |a, b| a - b),
        "mul" => single!(ftz, sat, binary, |a, b| a * b),
        "fma" | "mad" => single!(ftz, sat, ternary, |a, b, c| a.mul_add(b, c)),
        "div" if !sat => single!(ftz, false, binary, |a, b| a / b),
        "sqrt" if !sat => single!(ftz, false, unary, |a| a.sqrt()),
        "rcp" if !sat => single!(ftz, false, unary, |a| 1.0 / a),
        _ => return None,
    })
}

/// Makes a function for one direction of rounding.
macro_rules! directed {
    ($name:ident, $rounding:expr, $doc:literal) => {
        #[doc = $doc]
        fn $name(root: &str, ftz: bool, sat: bool) -> Option<Lanes> {
            Some(match root {
                "add" => single!(ftz, sat, binary, |a, b| round::add(a, b, $rounding)),
                "sub" => single!(ftz, sat, binary, |a, b| round::add(a, -b, $rounding)),
                "mul" => single!(ftz, sat, binary, |a, b| round::mul(a, b, $rounding)),
                "fma" | "mad" => {
                    single!(ftz, sat, ternary, |a, b, c| round::fma(a, b, c, $rounding))
                }
                "div" if !sat => single!(ftz, false, binary, |a, b| round::div(a, b, $rounding)),
                "sqrt" if !sat => single!(ftz, false, unary, |a| round::sqrt(a, $rounding)),
                "rcp" if !sat => single!(ftz, false, unary, |a| round::div(1.0, a, $rounding)),
                _ => return None,
            })
        }
    };
}

directed!(zero, Rounding::Zero, "Rounding towards zero.");
directed!(down, Rounding::Down, "Rounding towards minus infinity.");
directed!(up, Rounding::Up, "Rounding towards plus infinity.");

/// Approximate functions, with the bounds of the PTX manual.
fn approximate_form(root: &str, ftz: bool) -> Option<Lanes> {
    /// One unit in the last place, at most.
    const ULP: f32 = 1.0 / 8_388_608.0;
    Some(match root {
        "ex2" => approximation!(ftz, Bound::Relative(2.0 * ULP), |x| x.exp2()),
        "lg2" => approximation!(ftz, Bound::Absolute(2.0 * ULP), |x| x.log2()),
        "sin" => approximation!(ftz, Bound::Absolute(4.0 * ULP), |x| x.sin()),
        "cos" => approximation!(ftz, Bound::Absolute(4.0 * ULP), |x| x.cos()),
        "tanh" => approximation!(ftz, Bound::Relative(1.0 / 2048.0), |x| x.tanh()),
        "rcp" => approximation!(ftz, Bound::Relative(ULP), |x| 1.0 / x),
        "sqrt" => approximation!(ftz, Bound::Relative(ULP), |x| x.sqrt()),
        "rsqrt" => {
            approximation!(ftz, Bound::Relative(1.0718 * ULP), |x| (1.0 / f64::from(x).sqrt())
                as f32)
        }
        "div" if ftz => lanes!(
            approximate_binary,
            |a: f32, b: f32| flush(flush(a) / flush(b)),
            Bound::Relative(2.0 * ULP)
        ),
        "div" => lanes!(approximate_binary, |a: f32, b: f32| a / b, Bound::Relative(2.0 * ULP)),
        _ => return None,
    })
}
