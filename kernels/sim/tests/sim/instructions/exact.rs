//! Exact sums and products of f32, and by them the rounding of a result in any direction.

use std::cmp::Ordering;

/// A number as a multiple of 2^-298, the smallest product of two f32: sign and digits of 32 bits.
#[derive(Clone)]
pub struct Exact([i64; Exact::DIGITS]);

/// How a result is rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

impl Exact {
    /// Enough for products below 2^256 and a few sums of them.
    const DIGITS: usize = 19;

    /// `a * b` of finite numbers.
    pub fn product(a: f32, b: f32) -> Exact {
        let ((a, a_exponent), (b, b_exponent)) = (parts(a), parts(b));
        let shift = a_exponent + b_exponent;
        let mut digits = [0; Exact::DIGITS];
        let wide = i128::from((a * b).unsigned_abs()) << (shift % 32);
        for (place, digit) in digits[shift / 32..].iter_mut().take(3).enumerate() {
            *digit = (wide >> (32 * place) & 0xffff_ffff) as i64 * (a * b).signum();
        }
        Exact(digits)
    }

    /// A finite number.
    pub fn of(a: f32) -> Exact {
        Exact::product(a, 1.0)
    }

    pub fn plus(mut self, other: &Exact) -> Exact {
        for (digit, other) in self.0.iter_mut().zip(other.0) {
            *digit += other;
        }
        self
    }

    /// The order relative to another number.
    pub fn against(&self, other: &Exact) -> Ordering {
        // From the lowest digit up, so that carries reach the sign.
        let mut carry = 0;
        let mut lower = false;
        for (a, b) in self.0.iter().zip(other.0) {
            let digit = a - b + carry;
            carry = digit >> 32;
            lower |= digit & 0xffff_ffff != 0;
        }
        match (carry < 0, lower || carry > 0) {
            (true, _) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => Ordering::Equal,
        }
    }
}

/// Mantissa and exponent above 2^-149.
fn parts(x: f32) -> (i64, usize) {
    let bits = x.to_bits();
    let (exponent, fraction) = (bits >> 23 & 0xff, i64::from(bits & 0x7f_ffff));
    let mantissa = if exponent == 0 { fraction } else { fraction | 0x80_0000 };
    (if bits >> 31 == 1 { -mantissa } else { mantissa }, exponent.max(1) as usize - 1)
}

/// The result near `near`, rounded in a direction, of an exact value other than 0. `compare` orders
/// a finite number relative to the exact value.
pub fn rounded(near: f32, rounding: Rounding, compare: impl Fn(f32) -> Ordering) -> f32 {
    // Infinities are beyond every exact value.
    let above = |x: f32| {
        if x.is_infinite() { x > 0.0 } else { compare(x) == Ordering::Greater }
    };
    let below = |x: f32| {
        if x.is_infinite() { x < 0.0 } else { compare(x) == Ordering::Less }
    };
    let down = match rounding {
        Rounding::Nearest => return near,
        Rounding::Down => true,
        Rounding::Up => false,
        Rounding::Zero => compare(0.0) == Ordering::Less,
    };
    let mut result = near;
    if down {
        while above(result) {
            result = result.next_down();
        }
        while !above(result.next_up()) {
            result = result.next_up();
        }
    } else {
        while below(result) {
            result = result.next_up();
        }
        while !below(result.next_down()) {
            result = result.next_down();
        }
    }
    // A zero has the sign of what was rounded.
    if result == 0.0 { 0f32.copysign(near) } else { result }
}
