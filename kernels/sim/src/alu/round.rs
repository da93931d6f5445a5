//! Rounding in directions that the processor is not set to.

/// How a float operation rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Zero,
    Down,
    Up,
}

/// `sum + error` as f32, rounded in a direction; `error` is below half a unit of `sum`'s last place.
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

/// `a + b` and what rounding lost (Knuth's two-sum).
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let share = sum - a;
    (sum, (a - (sum - share)) + (b - share))
}

/// The sign of an exact zero sum: that of two zeros if they agree, else that of the direction.
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
    // The remainder tells on which side of the f64 quotient the exact one lies.
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

/// Subnormal numbers as zero of the same sign, which is what `.ftz` asks for.
#[inline(always)]
pub(super) fn flush(x: f32) -> f32 {
    if x.to_bits() & 0x7f80_0000 == 0 { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// Clamped to 0..1; NaN becomes 0.
#[inline(always)]
pub(super) fn saturate(x: f32) -> f32 {
    if x > 0.0 { if x < 1.0 { x } else { 1.0 } } else { 0.0 }
}
