//! Sums, differences and products with b broadcast over leading axes of a only, or not at all.

use super::Arithmetic;
use crate::Float;
use crate::cpu::{parallel, reduce, scratch, simd};
use crate::op::Gradient;

pub(super) fn forward<T: Float>(op: Arithmetic, a: &[T], b: &[T], output: &mut [T]) {
    match op {
        Arithmetic::Add => combine(output, false, a, b, |a, b| a + b),
        Arithmetic::Subtract => combine(output, false, a, b, |a, b| a - b),
        _ => combine(output, false, a, b, |a, b| a * b),
    }
}

pub(super) fn grad_first<T: Float>(
    op: Arithmetic,
    b: &[T],
    grad_output: &[T],
    gradient: &mut Gradient<T>,
) {
    match op {
        Arithmetic::Multiply => {
            combine(gradient.data, gradient.add, grad_output, b, |dy, b| dy * b);
        }
        _ => combine(gradient.data, gradient.add, grad_output, grad_output, |dy, _| dy),
    }
}

pub(super) fn grad_second<T: Float>(
    op: Arithmetic,
    a: &[T],
    grad_output: &[T],
    gradient: &mut Gradient<T>,
) {
    match op {
        Arithmetic::Add => sum(gradient, grad_output, grad_output, |dy, _| dy),
        Arithmetic::Subtract => sum(gradient, grad_output, grad_output, |dy, _| -dy),
        _ => sum(gradient, grad_output, a, |dy, a| dy * a),
    }
}

/// Writes or adds f(a, b) to every element of the target, with b broadcast over the leading axes.
fn combine<T: Float>(target: &mut [T], add: bool, a: &[T], b: &[T], f: impl Fn(T, T) -> T + Sync) {
    let store = |y: &mut T, value: T| *y = if add { *y + value } else { value };
    // Rows of b's width; single numbers if b is not broadcast or is one number.
    let repeated = b.len() < target.len();
    let width = if repeated { b.len() } else { 1 };
    parallel::rows(target, width, 2 * width, |first, target| {
        let start = first * width;
        let a = &a[start..start + target.len()];
        simd::vectorised(
            #[inline(always)]
            || match b {
                &[b] => {
                    for (y, &a) in target.iter_mut().zip(a) {
                        store(y, f(a, b));
                    }
                }
                _ if repeated => {
                    for (target, a) in target.chunks_exact_mut(width).zip(a.chunks_exact(width)) {
                        for ((y, &a), &b) in target.iter_mut().zip(a).zip(b) {
                            store(y, f(a, b));
                        }
                    }
                }
                _ => {
                    for ((y, &a), &b) in target.iter_mut().zip(a).zip(&b[start..]) {
                        store(y, f(a, b));
                    }
                }
            },
        );
    });
}

/// Sums f(dy, a) over the leading axes.
fn sum<T: Float>(
    gradient: &mut Gradient<T>,
    dy: &[T],
    a: &[T],
    f: impl Fn(T, T) -> T + Copy + Sync,
) {
    let width = gradient.data.len();
    if width == dy.len() {
        return combine(gradient.data, gradient.add, dy, a, f);
    }
    let columns = |wide: usize, rows: usize, output: &mut [T], add: bool| {
        reduce::columns(
            rows,
            wide,
            2 * wide,
            output,
            add,
            #[inline(always)]
            |row, sums| {
                let range = row * wide..(row + 1) * wide;
                for ((sum, &dy), &a) in sums.iter_mut().zip(&dy[range.clone()]).zip(&a[range]) {
                    *sum += f(dy, a);
                }
            },
        );
    };
    if width >= 64 {
        return columns(width, dy.len() / width, gradient.data, gradient.add);
    }
    // Several narrow rows at a time, so that the loops are long enough for vectors.
    let wide = width * 64usize.div_ceil(width);
    let whole = dy.len() / wide;
    scratch::with::<T, _>(wide, |sums| {
        columns(wide, whole, sums, false);
        for column in 0..width {
            let folded = sums[column..].iter().step_by(width).map(|s| s.to_f64());
            let rest = (whole * wide + column..dy.len()).step_by(width);
            let rest = rest.map(|i| f(dy[i], a[i]).to_f64());
            gradient.put(column, T::from_f64(folded.sum::<f64>() + rest.sum::<f64>()));
        }
    });
}
