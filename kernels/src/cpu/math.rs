//! Elementary functions. In f32 they are polynomials without branches or calls, so that loops are vectorised; in
//! f64 they are the standard library's.
//!
//! Errors are in units in the last place (ulp) of the exact result, measured against f64 by the tests below.

use crate::Float;

/// Calls the first function for f32 and the second for f64.
macro_rules! by_precision {
    ($x:ident, $single:expr, $double:expr) => {
        if size_of_val(&$x) == size_of::<f32>() {
            bytemuck::cast($single(bytemuck::cast($x)))
        } else {
            $double($x)
        }
    };
}

/// e^x, within 1.5 ulp. It is 0 below -87.33, where the exact result is subnormal, and infinite above 88.72. NaN
/// gives NaN.
#[inline(always)]
pub fn exp<T: Float>(x: T) -> T {
    by_precision!(x, exp_f32, T::exp)
}

/// 1 / (1 + e^-x), within 2.5 ulp.
#[inline(always)]
pub fn sigmoid<T: Float>(x: T) -> T {
    T::ONE / (T::ONE + exp(-x))
}

/// The hyperbolic tangent, within 2.5 ulp.
#[inline(always)]
pub fn tanh<T: Float>(x: T) -> T {
    by_precision!(x, tanh_f32, T::tanh)
}

/// The error function, within 9 ulp.
#[inline(always)]
pub fn erf<T: Float>(x: T) -> T {
    by_precision!(x, erf_f32, T::erf)
}

/// ln(1 + e^-x), within 3 ulp, without overflow or loss of small values.
#[inline(always)]
pub fn softplus_of_minus<T: Float>(x: T) -> T {
    let power = exp(-x.abs());
    (-x).max(T::ZERO) + by_precision!(power, ln_1p_f32, T::ln_1p)
}

/// ln(1 + y) for y in [0, 1]: 2 artanh(y / (2 + y)), whose series converges fast.
#[inline(always)]
fn ln_1p_f32(y: f32) -> f32 {
    let s = y / (2.0 + y);
    let square = s * s;
    let mut series = 1.0 / 13.0f32;
    series = series * square + 1.0 / 11.0;
    series = series * square + 1.0 / 9.0;
    series = series * square + 1.0 / 7.0;
    series = series * square + 1.0 / 5.0;
    series = series * square + 1.0 / 3.0;
    2.0 * s + 2.0 * s * (series * square)
}

/// Range reduction to ±ln 2 / 2 and the polynomial of Cephes' `expf`.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    // Adding this number leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LOWEST: f32 = -87.33;
    const HIGHEST: f32 = 88.722_84;
    let clamped = if x < LOWEST { LOWEST } else { x };
    let clamped = if clamped > HIGHEST { HIGHEST } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts, so that the first product is exact.
    let r = clamped - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut y = 1.987_569_1e-4f32;
    y = y * r + 1.398_199_9e-3;
    y = y * r + 8.333_452e-3;
    y = y * r + 4.166_579_6e-2;
    y = y * r + 1.666_666_5e-1;
    y = y * r + 0.5;
    y = y * (r * r) + r + 1.0;
    // 2^128 is not representable: compute 2^127 * 2.
    let twice = if whole > 127.0 { 2.0 } else { 1.0 };
    let whole = if whole > 127.0 { shifted.to_bits().wrapping_sub(1) } else { shifted.to_bits() };
    let power = f32::from_bits((whole << 23).wrapping_add(127 << 23));
    let y = y * power * twice;
    let y = if x > HIGHEST { f32::INFINITY } else { y };
    if x < LOWEST { 0.0 } else { y }
}

/// Cephes' `tanhf`: a polynomial near 0, the exponential elsewhere.
#[inline(always)]
fn tanh_f32(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let mut near = -5.704_988_7e-3f32;
    near = near * square + 2.063_909e-2;
    near = near * square - 5.373_971_6e-2;
    near = near * square + 1.333_144_2e-1;
    near = near * square - 3.333_328e-1;
    let near = near * square * x + x;
    let far = (1.0 - 2.0 / (exp_f32(2.0 * size) + 1.0)).copysign(x);
    if size < 0.625 { near } else { far }
}

/// The rational approximation of Eigen's `erf`; 1 for x >= 4.
#[inline(always)]
fn erf_f32(x: f32) -> f32 {
    let x = if x > 4.0 { 4.0 } else { x };
    let x = if x < -4.0 { -4.0 } else { x };
    let square = x * x;
    let mut above = -2.726_142_3e-10f32;
    above = above * square + 2.770_681_3e-8;
    above = above * square - 2.101_024e-6;
    above = above * square - 5.692_506_6e-5;
    above = above * square - 7.349_906_4e-4;
    above = above * square - 2.954_6e-3;
    above = above * square - 1.609_603_3e-2;
    let mut below = -1.456_607_2e-5f32;
    below = below * square - 2.133_740_6e-4;
    below = below * square - 1.682_827e-3;
    below = below * square - 7.373_329_3e-3;
    below = below * square - 1.426_473_9e-2;
    // The quotient first: the product of a tiny x would be subnormal and lose digits.
    x * (above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worst error of f over every 61st number between two bounds, in ulp.
    fn worst(low: f32, high: f32, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> (f64, f32) {
        let mut worst = (0.0, 0.0);
        let mut see = |x: f32| {
            if !(low..=high).contains(&x) {
                return;
            }
            let expected = exact(f64::from(x));
            let near = (expected.abs() as f32).max(f32::MIN_POSITIVE);
            let ulp = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
            let error = (f64::from(f(x)) - expected).abs() / ulp;
            if error.is_nan() || error > worst.0 {
                worst = (error, x);
            }
        };
        for bits in (0..f32::INFINITY.to_bits()).step_by(61) {
            see(f32::from_bits(bits));
            see(-f32::from_bits(bits));
        }
        worst
    }

    #[test]
    fn exponential_over_its_whole_range() {
        let (error, at) = worst(-87.33, 88.72, exp, f64::exp);
        assert!(error < 1.5, "e^{at}: {error} ulp");
        for x in [-87.34f32, -1e9, f32::NEG_INFINITY] {
            assert_eq!(exp(x), 0.0);
        }
        for x in [88.73f32, 1e9, f32::INFINITY] {
            assert_eq!(exp(x), f32::INFINITY);
        }
        assert_eq!((exp(0.0f32), exp(-0.0f32)), (1.0, 1.0));
        assert!(exp(f32::NAN).is_nan() && exp(f64::NAN).is_nan());
        assert_eq!(exp(0.3f64), 0.3f64.exp());
    }

    #[test]
    fn sigmoid_over_its_whole_range() {
        let (error, at) = worst(-87.0, f32::MAX, sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        assert!(error < 2.5, "sigmoid of {at}: {error} ulp");
        assert_eq!((sigmoid(f32::NEG_INFINITY), sigmoid(f32::INFINITY)), (0.0, 1.0));
        assert!(sigmoid(f32::NAN).is_nan());
    }

    #[test]
    fn softplus_over_its_whole_range() {
        let exact = |x: f64| (-x).max(0.0) + (-x.abs()).exp().ln_1p();
        let (error, at) = worst(-1e30, 87.0, softplus_of_minus, exact);
        assert!(error < 3.0, "ln(1 + e^-{at}): {error} ulp");
        assert_eq!(softplus_of_minus(f32::INFINITY), 0.0);
        assert_eq!(softplus_of_minus(f32::NEG_INFINITY), f32::INFINITY);
        assert!(softplus_of_minus(f32::NAN).is_nan());
    }

    #[test]
    fn hyperbolic_tangent_over_its_whole_range() {
        let (error, at) = worst(f32::MIN, f32::MAX, tanh, f64::tanh);
        assert!(error < 2.5, "tanh of {at}: {error} ulp");
        assert_eq!((tanh(f32::NEG_INFINITY), tanh(f32::INFINITY)), (-1.0, 1.0));
        assert!(tanh(f32::NAN).is_nan());
    }

    #[test]
    fn error_function_over_its_whole_range() {
        let (error, at) = worst(f32::MIN, f32::MAX, erf, libm::erf);
        assert!(error < 9.0, "erf of {at}: {error} ulp");
        assert!(erf(f32::NAN).is_nan());
    }
}
