use crate::Float;
use crate::cpu::{parallel, reduce, scratch, simd};
use crate::op::Gradient;

#[inline(always)]
fn apply<T: Float>(x: T, weight: T) -> T {
    if x > T::ZERO { x } else { weight * x }
}

#[inline(always)]
fn slope<T: Float>(x: T, weight: T) -> T {
    if x > T::ZERO { T::ONE } else { weight }
}

pub(super) fn forward<T: Float>(x: &[T], weight: &[T], output: &mut [T]) {
    each(output, false, x, weight, x, |x, weight, _| apply(x, weight));
}

pub(super) fn grad_input<T: Float>(
    x: &[T],
    weight: &[T],
    grad_output: &[T],
    gradient: &mut Gradient<T>,
) {
    let f = |x, weight, dy| dy * slope(x, weight);
    each(gradient.data, gradient.add, x, weight, grad_output, f);
}

/// Writes or adds f(x, weight, other) to every element of the target.
fn each<T: Float>(
    target: &mut [T],
    add: bool,
    x: &[T],
    weight: &[T],
    other: &[T],
    f: impl Fn(T, T, T) -> T + Sync,
) {
    let width = weight.len();
    let store = |y: &mut T, value: T| *y = if add { *y + value } else { value };
    parallel::rows(target, width, 2 * width, |first, target| {
        let start = first * width;
        let x = &x[start..start + target.len()];
        let other = &other[start..start + target.len()];
        simd::vectorised(
            #[inline(always)]
            || {
                if let &[weight] = weight {
                    for ((y, &x), &other) in target.iter_mut().zip(x).zip(other) {
                        store(y, f(x, weight, other));
                    }
                    return;
                }
                let rows = target.chunks_exact_mut(width).zip(x.chunks_exact(width));
                for ((target, x), other) in rows.zip(other.chunks_exact(width)) {
                    for (((y, &x), &w), &other) in target.iter_mut().zip(x).zip(weight).zip(other) {
                        store(y, f(x, w, other));
                    }
                }
            },
        );
    });
}

pub(super) fn grad_weight<T: Float>(
    x: &[T],
    features: usize,
    grad_output: &[T],
    gradient: &mut Gradient<T>,
) {
    let columns = |output: &mut [T], add| {
        reduce::columns(
            x.len() / features,
            features,
            2 * features,
            output,
            add,
            #[inline(always)]
            |row, sums| {
                let x = &x[row * features..][..features];
                let dy = &grad_output[row * features..][..features];
                for ((sum, &x), &dy) in sums.iter_mut().zip(x).zip(dy) {
                    *sum += dy * x.min(T::ZERO);
                }
            },
        );
    };
    if gradient.data.len() == features {
        return columns(gradient.data, gradient.add);
    }
    scratch::with::<T, _>(features, |sums| {
        columns(sums, false);
        gradient.put(0, T::from_f64(sums.iter().map(|s| s.to_f64()).sum()));
    });
}
