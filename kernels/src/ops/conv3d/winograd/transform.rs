//! The transforms of F(4x4, 3x3), for vectors of channels (Lavin and Gray 2016, section 4.3, points 0, ±1, ±2, ∞).
//!
//! With B, G and A of the paper: an input patch d of 6x6 pixels becomes BᵀdB, a kernel g of 3x3 taps GgGᵀ, and their
//! products m the 4x4 outputs AᵀmA. The gradient of the kernel goes the other way: AyAᵀ of the outputs' gradients
//! y, and GᵀuG of the sums of products u. Each is its one-dimensional form, applied to columns and then to rows.

use crate::Float;
use crate::cpu::simd::{Isa, Vector};

/// Pixels of a patch along an axis.
pub(super) const PATCH: usize = 6;
/// Outputs of a tile along an axis.
pub(super) const TILE: usize = 4;
/// Taps of a kernel along an axis.
pub(super) const TAPS: usize = 3;

/// factor * x + y.
#[inline(always)]
unsafe fn fma<T: Float, I: Isa>(factor: f64, x: T::On<I>, y: T::On<I>) -> T::On<I> {
    // SAFETY: the caller ensures the instruction set, here and in all functions below.
    unsafe { T::On::<I>::splat(T::from_f64(factor)).mul_add(x, y) }
}

/// Bᵀd.
#[inline(always)]
pub(super) unsafe fn input<T: Float, I: Isa>(d: [T::On<I>; PATCH]) -> [T::On<I>; PATCH] {
    // SAFETY: as `fma`.
    unsafe {
        let (a, b) = (fma::<T, I>(-4.0, d[2], d[4]), fma::<T, I>(-4.0, d[1], d[3]));
        let (c, e) = (fma::<T, I>(-1.0, d[2], d[4]), fma::<T, I>(-1.0, d[1], d[3]));
        [
            fma::<T, I>(4.0, d[0], fma::<T, I>(-5.0, d[2], d[4])),
            a.add(b),
            fma::<T, I>(-1.0, b, a),
            fma::<T, I>(2.0, e, c),
            fma::<T, I>(-2.0, e, c),
            fma::<T, I>(4.0, d[1], fma::<T, I>(-5.0, d[3], d[5])),
        ]
    }
}

/// Gg.
#[inline(always)]
pub(super) unsafe fn kernel<T: Float, I: Isa>(g: [T::On<I>; TAPS]) -> [T::On<I>; PATCH] {
    // SAFETY: as `fma`.
    unsafe {
        let zero = T::On::<I>::splat(T::ZERO);
        let even = fma::<T, I>(-1.0 / 6.0, g[0].add(g[2]), zero);
        let far = fma::<T, I>(1.0 / 24.0, g[0], fma::<T, I>(1.0 / 6.0, g[2], zero));
        [
            fma::<T, I>(0.25, g[0], zero),
            fma::<T, I>(-1.0 / 6.0, g[1], even),
            fma::<T, I>(1.0 / 6.0, g[1], even),
            fma::<T, I>(1.0 / 12.0, g[1], far),
            fma::<T, I>(-1.0 / 12.0, g[1], far),
            g[2],
        ]
    }
}

/// Aᵀm.
#[inline(always)]
pub(super) unsafe fn output<T: Float, I: Isa>(m: [T::On<I>; PATCH]) -> [T::On<I>; TILE] {
    // SAFETY: as `fma`.
    unsafe {
        let (near, odd) = (m[1].add(m[2]), fma::<T, I>(-1.0, m[2], m[1]));
        let (far, far_odd) = (m[3].add(m[4]), fma::<T, I>(-1.0, m[4], m[3]));
        [
            m[0].add(near).add(far),
            fma::<T, I>(2.0, far_odd, odd),
            fma::<T, I>(4.0, far, near),
            fma::<T, I>(8.0, far_odd, odd).add(m[5]),
        ]
    }
}

/// Ay.
#[inline(always)]
pub(super) unsafe fn grad_output<T: Float, I: Isa>(y: [T::On<I>; TILE]) -> [T::On<I>; PATCH] {
    // SAFETY: as `fma`.
    unsafe {
        let (even, odd) = (y[0].add(y[2]), y[1].add(y[3]));
        let far = fma::<T, I>(4.0, y[2], y[0]);
        let far_odd = fma::<T, I>(4.0, y[3], y[1]);
        [
            y[0],
            even.add(odd),
            fma::<T, I>(-1.0, odd, even),
            fma::<T, I>(2.0, far_odd, far),
            fma::<T, I>(-2.0, far_odd, far),
            y[3],
        ]
    }
}

/// Gᵀu.
#[inline(always)]
pub(super) unsafe fn grad_kernel<T: Float, I: Isa>(u: [T::On<I>; PATCH]) -> [T::On<I>; TAPS] {
    // SAFETY: as `fma`.
    unsafe {
        let zero = T::On::<I>::splat(T::ZERO);
        let (near, odd) = (u[1].add(u[2]), fma::<T, I>(-1.0, u[2], u[1]));
        let (far, far_odd) = (u[3].add(u[4]), fma::<T, I>(-1.0, u[4], u[3]));
        let near = fma::<T, I>(-1.0 / 6.0, near, zero);
        [
            fma::<T, I>(1.0 / 24.0, far, fma::<T, I>(0.25, u[0], near)),
            fma::<T, I>(1.0 / 12.0, far_odd, fma::<T, I>(-1.0 / 6.0, odd, zero)),
            fma::<T, I>(1.0 / 6.0, far, near).add(u[5]),
        ]
    }
}

/// Applies a one-dimensional transform to the columns and then to the rows of a square: reads element (i, j) of the
/// square, writes element (i, j) of the result. A macro, since closures would not be compiled for the instruction
/// set.
macro_rules! both {
    (
        $transform:ident: $from:ident -> $to:ident, $t:ty, $i:ty,
        |$row:ident, $column:ident| $read:expr,
        |$row_out:ident, $column_out:ident, $value:ident| $write:expr $(,)?
    ) => {{
        let zero = <$t as crate::cpu::simd::Vectors>::On::<$i>::splat(<$t>::ZERO);
        let mut columns = [[zero; $to]; $from];
        for $column in 0..$from {
            let mut numbers = [zero; $from];
            for $row in 0..$from {
                numbers[$row] = $read;
            }
            columns[$column] = transform::$transform::<$t, $i>(numbers);
        }
        for $row_out in 0..$to {
            let mut numbers = [zero; $from];
            for $column in 0..$from {
                numbers[$column] = columns[$column][$row_out];
            }
            let row = transform::$transform::<$t, $i>(numbers);
            for $column_out in 0..$to {
                let $value = row[$column_out];
                $write;
            }
        }
    }};
}
pub(super) use both;
