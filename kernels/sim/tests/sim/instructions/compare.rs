//! `setp` of every type and operator.

use std::cmp::Ordering;

use super::integer::INTEGERS;
use super::suite::Suite;

/// Whether an operator holds for two operands in this order; no order means a NaN.
pub fn holds(operator: &str, order: Option<Ordering>) -> bool {
    let Some(order) = order else { return operator.ends_with('u') || operator == "nan" };
    match operator.trim_end_matches('u') {
        "eq" => order.is_eq(),
        "ne" => order.is_ne(),
        "lt" | "lo" => order.is_lt(),
        "le" | "ls" => order.is_le(),
        "gt" | "hi" => order.is_gt(),
        "ge" | "hs" => order.is_ge(),
        "num" => true,
        _ => false,
    }
}

pub fn integers(suite: &mut Suite) {
    for kind in INTEGERS {
        let (a, b) = (kind.register(0), kind.register(1));
        let order = |row: [u64; 3]| kind.value(row[0]).cmp(&kind.value(row[1]));
        for operator in ["eq", "ne", "lt", "le", "gt", "ge"] {
            let statement = format!("setp.{operator}.{} %p3, {a}, {b};", kind.name);
            suite.predicates(&statement, |row| holds(operator, Some(order(row))));
        }
        if kind.signed {
            continue;
        }
        for operator in ["lo", "ls", "hi", "hs"] {
            let statement = format!("setp.{operator}.{} %p3, {a}, {b};", kind.name);
            suite.predicates(&statement, |row| holds(operator, Some(order(row))));
        }
        for operator in ["eq", "ne"] {
            let statement = format!("setp.{operator}.b{} %p3, {a}, {b};", kind.bits);
            suite.predicates(&statement, |row| holds(operator, Some(order(row))));
        }
    }
}

pub fn floats(suite: &mut Suite) {
    let flush = |x: f32| if x.is_subnormal() { 0.0 } else { x };
    for operator in
        ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"]
    {
        let float = |raw: u64| f32::from_bits(raw as u32);
        suite.predicates(&format!("setp.{operator}.f32 %p3, %r0, %r1;"), |[a, b, _]| {
            holds(operator, float(a).partial_cmp(&float(b)))
        });
        suite.predicates(&format!("setp.{operator}.ftz.f32 %p3, %r0, %r1;"), |[a, b, _]| {
            holds(operator, flush(float(a)).partial_cmp(&flush(float(b))))
        });
        suite.predicates(&format!("setp.{operator}.f64 %p3, %rd0, %rd1;"), |[a, b, _]| {
            holds(operator, f64::from_bits(a).partial_cmp(&f64::from_bits(b)))
        });
    }
}

pub fn joined(suite: &mut Suite) {
    type Join = fn(bool, bool) -> bool;
    let joins: [(&str, Join); 3] =
        [("and", |a, b| a && b), ("or", |a, b| a || b), ("xor", |a, b| a != b)];
    for (join, f) in joins {
        for negated in [false, true] {
            let third = if negated { "!%p2" } else { "%p2" };
            let less = |[a, b, _]: [u64; 3]| (a as i32) < b as i32;
            let other = |row: [u64; 3]| ((row[2] as i32) < 0) != negated;
            let statement = format!("setp.lt.{join}.s32 %p3|%p4, %r0, %r1, {third};");
            suite.predicates(&statement, |row| f(less(row), other(row)));
            // The second destination has the complement of the comparison.
            let statement = format!("setp.lt.{join}.s32 %p4|%p3, %r0, %r1, {third};");
            suite.predicates(&statement, |row| f(!less(row), other(row)));
        }
    }
}
