//! Integer arithmetic of every type, against 128-bit integers.

use super::suite::{Result, Suite};

/// An integer type.
#[derive(Clone, Copy)]
pub struct Integer {
    pub name: &'static str,
    pub bits: u32,
    pub signed: bool,
}

/// The types of integer arithmetic.
pub const INTEGERS: [Integer; 6] = [
    Integer { name: "u16", bits: 16, signed: false },
    Integer { name: "s16", bits: 16, signed: true },
    Integer { name: "u32", bits: 32, signed: false },
    Integer { name: "s32", bits: 32, signed: true },
    Integer { name: "u64", bits: 64, signed: false },
    Integer { name: "s64", bits: 64, signed: true },
];

impl Integer {
    /// The value of a register's lower bits.
    pub fn value(self, raw: u64) -> i128 {
        let cut = 64 - self.bits;
        if self.signed {
            i128::from((raw << cut) as i64 >> cut)
        } else {
            (raw << cut >> cut).into()
        }
    }

    /// The lower bits of a value.
    pub fn bits_of(self, value: i128) -> u64 {
        let cut = 64 - self.bits;
        (value as u64) << cut >> cut
    }

    /// The name of a register of this size.
    pub fn register(self, index: u32) -> String {
        let bank = match self.bits {
            16 => "rs",
            8 | 32 => "r",
            _ => "rd",
        };
        format!("%{bank}{index}")
    }

    /// Checks an instruction of this type with `sources` operands.
    pub fn check(
        self,
        suite: &mut Suite,
        name: &str,
        sources: u32,
        f: impl Fn(i128, i128, i128) -> i128,
    ) {
        let operands: Vec<String> = (0..sources).map(|index| self.register(index)).collect();
        let operands = operands.join(", ");
        let mut statement = format!("{name}.{} {}, {operands};", self.name, self.register(9));
        if self.bits == 16 {
            statement += " cvt.u32.u16 %r9, %rs9;";
        }
        let result = if self.bits == 64 { Result::Long } else { Result::Word };
        let scalar = |row: [u64; 3]| {
            let [a, b, c] = row.map(|raw| self.value(raw));
            self.bits_of(f(a, b, c))
        };
        suite.check(&statement, result, scalar, |a, b| a == b);
    }
}

/// The upper half of a product.
fn upper(kind: Integer, a: i128, b: i128) -> i128 {
    if kind.signed || kind.bits < 64 {
        (a * b) >> kind.bits
    } else {
        ((a as u128 * b as u128) >> 64) as i128
    }
}

pub fn arithmetic(suite: &mut Suite) {
    for kind in INTEGERS {
        kind.check(suite, "add", 2, |a, b, _| a + b);
        kind.check(suite, "sub", 2, |a, b, _| a - b);
        kind.check(suite, "mul.lo", 2, |a, b, _| a.wrapping_mul(b));
        kind.check(suite, "mul.hi", 2, |a, b, _| upper(kind, a, b));
        kind.check(suite, "mad.lo", 3, |a, b, c| a.wrapping_mul(b).wrapping_add(c));
        kind.check(suite, "mad.hi", 3, |a, b, c| upper(kind, a, b) + c);
        kind.check(suite, "div", 2, |a, b, _| if b == 0 { -1 } else { a / b });
        kind.check(suite, "rem", 2, |a, b, _| if b == 0 { a } else { a % b });
        kind.check(suite, "min", 2, |a, b, _| a.min(b));
        kind.check(suite, "max", 2, |a, b, _| a.max(b));
        kind.check(suite, "sad", 3, |a, b, c| c + (a - b).abs());
        if kind.signed {
            kind.check(suite, "abs", 1, |a, _, _| a.abs());
            kind.check(suite, "neg", 1, |a, _, _| -a);
        }
        if kind.bits < 64 {
            wide_products(suite, kind);
        }
        if kind.bits == 32 {
            let short = |x: i128| Integer { bits: 24, ..kind }.value(kind.bits_of(x));
            kind.check(suite, "mul24.lo", 2, |a, b, _| short(a) * short(b));
            kind.check(suite, "mad24.lo", 3, |a, b, c| short(a) * short(b) + c);
        }
        if kind.bits > 16 {
            carries(suite, kind);
        }
    }
    let clamp = |value: i128| value.clamp(i32::MIN.into(), i32::MAX.into());
    INTEGERS[3].check(suite, "add.sat", 2, |a, b, _| clamp(a + b));
    INTEGERS[3].check(suite, "sub.sat", 2, |a, b, _| clamp(a - b));
}

/// `mul.wide` and `mad.wide`.
fn wide_products(suite: &mut Suite, kind: Integer) {
    let double = Integer { bits: 2 * kind.bits, ..kind };
    let result = if kind.bits == 32 { Result::Long } else { Result::Word };
    let (d, a, b) = (double.register(9), kind.register(0), kind.register(1));
    let product = |[a, b, _]: [u64; 3]| kind.value(a) * kind.value(b);
    suite.check(
        &format!("mul.wide.{} {d}, {a}, {b};", kind.name),
        result,
        |row| double.bits_of(product(row)),
        |a, b| a == b,
    );
    suite.check(
        &format!("mad.wide.{} {d}, {a}, {b}, {};", kind.name, double.register(2)),
        result,
        |row| double.bits_of(product(row) + double.value(row[2])),
        |a, b| a == b,
    );
}

/// Carries and borrows, from one instruction into the next two.
fn carries(suite: &mut Suite, kind: Integer) {
    let [d, e, a, b, c] = [9, 10, 0, 1, 2].map(|index| kind.register(index));
    let (name, result) = (kind.name, if kind.bits == 64 { Result::Long } else { Result::Word });
    let unsigned = Integer { signed: false, ..kind };
    for (first, second) in [("add", "addc"), ("sub", "subc")] {
        suite.covers(&[&format!("{second}.cc.{name}"), &format!("{second}.{name}")]);
        // Three digits: a - or + b, c with a, and 0 with 0; the last one is the final carry.
        let statement = format!(
            "{first}.cc.{name} {e}, {a}, {b}; {second}.cc.{name} {e}, {c}, {a}; {second}.{name} {d}, {e}, 0;"
        );
        suite.check(
            &statement,
            result,
            |row| {
                let [a, b, c] = row.map(|raw| unsigned.value(raw));
                let sign = if first == "add" { 1 } else { -1 };
                let carry = |value: i128| i128::from(value < 0 || value >> kind.bits != 0);
                let middle = c + sign * (a + carry(a + sign * b));
                kind.bits_of(i128::from(unsigned.bits_of(middle)) + sign * carry(middle))
            },
            |a, b| a == b,
        );
    }
}
