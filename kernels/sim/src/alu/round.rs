//! Directed rounding, computed without changing the processor's rounding mode.

/// The rounding direction of a float operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Zero,
    Down,
    Up,
}

/// `sum + error` as f32, rounded in a direction; `error` must be below half an ulp of `sum`.
pub(super) fn directed(sum: f64, error: f64, rounding: Rounding) -> f32 {
    let near = sum as f32;
    if !sum.is_finite() {
        return near;
    }
    let miss = sum - f64::from(near);
    let rest = if miss != 0.0 { miss } else { error };
    let down = match rounding {
        Rounding::Down => true,
        Rounding::Up => false,
        Rounding::Zero => near > 0.0 || near == 0.0 && rest >= 0.0,
    };
    if down && rest < 0.0 {
        near.next_down()
    } else if !down && rest > 0.0 {
        near.next_up()
    } else {
        near
    }
}

/// `a + b` and its rounding error (Knuth's two-sum).
#[inline(always)]
pub(super) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let share = sum - a;
    (sum, (a - (sum - share)) + (b - share))
}

/// The sign of an exact zero sum: that of the two zeros if they agree, otherwise the direction's.
#[inline(always)]
fn zero_sum(a: f64, b: f64, rounding: Rounding) -> f32 {
    let negative = if a.is_sign_negative() == b.is_sign_negative() {
        a.is_sign_negative()
    } else {
        rounding == Rounding::Down
    };
    if negative { -0.0 } else { 0.0 }
}

/// `a + b`, rounded in a direction.
#[inline(always)]
pub(super) fn add(a: f32, b: f32, rounding: Rounding) -> f32 {
    add_exact(f64::from(a), f64::from(b), rounding)
}

/// `a + b` of a product and a number, rounded in a direction.
#[inline(always)]
fn add_exact(a: f64, b: f64, rounding: Rounding) -> f32 {
    let (sum, error) = two_sum(a, b);
    if sum == 0.0 { zero_sum(a, b, rounding) } else { directed(sum, error, rounding) }
}

/// `a * b`, rounded in a direction.
#[inline(always)]
pub(super) fn mul(a: f32, b: f32, rounding: Rounding) -> f32 {
    directed(f64::from(a) * f64::from(b), 0.0, rounding)
}

/// `a * b + c`, rounded in a direction.
#[inline(always)]
pub(super) fn fma(a: f32, b: f32, c: f32, rounding: Rounding) -> f32 {
    add_exact(f64::from(a) * f64::from(b), f64::from(c), rounding)
}

/// `a / b`, rounded in a direction.
#[inline(always)]
pub(super) fn div(a: f32, b: f32, rounding: Rounding) -> f32 {
    let (a, b) = (f64::from(a), f64::from(b));
    let quotient = a / b;
    // The sign of the remainder shows on which side of the f64 quotient the exact one is.
    let rest = (-quotient).mul_add(b, a) * b.signum();
    directed(quotient, rest, rounding)
}

/// The square root, rounded in a direction.
#[inline(always)]
pub(super) fn sqrt(a: f32, rounding: Rounding) -> f32 {
    let a = f64::from(a);
    let root = a.sqrt();
    directed(root, (-root).mul_add(root, a), rounding)
}

/// An integer as f32, rounded in a direction.
#[inline(always)]
pub(super) fn from_integer(value: i128, rounding: Rounding) -> f32 {
    let near = value as f64;
    directed(near, (value - near as i128) as f64, rounding)
}

/// Flushes subnormal numbers to zero of the same sign (`.ftz`).
#[inline(always)]
pub(super) fn flush(x: f32) -> f32 {
    if x.to_bits() & 0x7f80_0000 == 0 { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// Clamped to 0..1; NaN becomes 0.
#[inline(always)]
pub(super) fn saturate(x: f32) -> f32 {
    if x > 0.0 { if x < 1.0 { x } else { 1.0 } } else { 0.0 }
}
