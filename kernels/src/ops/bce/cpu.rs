use crate::Float;
use crate::cpu::math::{sigmoid, softplus_of_minus};
use crate::cpu::{parallel, reduce, simd, sums};
use crate::op::Gradient;

pub(super) fn forward<T: Float>(logits: &[T], targets: &[T], weights: &[T]) -> T {
    let width = weights.len();
    let total = sums::total(logits.len() / width, 8 * width, |first, end| {
        let range = first * width..end * width;
        let rows =
            logits[range.clone()].chunks_exact(width).zip(targets[range].chunks_exact(width));
        simd::vectorised(
            #[inline(always)]
            || {
                rows.map(|(x, t)| {
                    sums::three(
                        x,
                        t,
                        weights,
                        #[inline(always)]
                        |x, t, w| {
                            let factor = T::ONE + (w - T::ONE) * t;
                            (T::ONE - t) * x + factor * softplus_of_minus(x)
                        },
                    )
                })
                .sum()
            },
        )
    });
    T::from_f64(total / logits.len() as f64)
}

type Inputs<'a, T> = (&'a [T], &'a [T], &'a [T]);

pub(super) fn grad_logits<T: Float>(inputs: Inputs<'_, T>, dy: T, gradient: &mut Gradient<T>) {
    each(
        inputs,
        dy,
        gradient,
        #[inline(always)]
        |x, t, w| {
            let factor = T::ONE + (w - T::ONE) * t;
            (T::ONE - t) - factor * sigmoid(-x)
        },
    );
}

pub(super) fn grad_targets<T: Float>(inputs: Inputs<'_, T>, dy: T, gradient: &mut Gradient<T>) {
    each(
        inputs,
        dy,
        gradient,
        #[inline(always)]
        |x, _, w| (w - T::ONE) * softplus_of_minus(x) - x,
    );
}

/// Writes or adds dy / count * f(x, target, weight).
fn each<T: Float>(
    (logits, targets, weights): Inputs<'_, T>,
    dy: T,
    gradient: &mut Gradient<T>,
    f: impl Fn(T, T, T) -> T + Sync,
) {
    let (width, add) = (weights.len(), gradient.add);
    let scale = dy * T::from_f64(1.0 / logits.len() as f64);
    parallel::rows(gradient.data, width, 8 * width, |first, gradient| {
        let logits = logits[first * width..].chunks_exact(width);
        let targets = targets[first * width..].chunks_exact(width);
        simd::vectorised(
            #[inline(always)]
            || {
                for ((gradient, x), t) in gradient.chunks_exact_mut(width).zip(logits).zip(targets)
                {
                    for (((g, &x), &t), &w) in gradient.iter_mut().zip(x).zip(t).zip(weights) {
                        let value = scale * f(x, t, w);
                        *g = if add { *g + value } else { value };
                    }
                }
            },
        );
    });
}

pub(super) fn grad_weights<T: Float>(
    (logits, targets, weights): Inputs<'_, T>,
    dy: T,
    gradient: &mut Gradient<T>,
) {
    let width = weights.len();
    let scale = dy * T::from_f64(1.0 / logits.len() as f64);
    let rows = logits.len() / width;
    reduce::columns(
        rows,
        width,
        8 * width,
        gradient.data,
        gradient.add,
        #[inline(always)]
        |row, sums| {
            let x = &logits[row * width..][..width];
            let t = &targets[row * width..][..width];
            for ((sum, &x), &t) in sums.iter_mut().zip(x).zip(t) {
                *sum += scale * t * softplus_of_minus(x);
            }
        },
    );
}
