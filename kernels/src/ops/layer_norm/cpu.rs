use crate::Float;
use crate::cpu::{parallel, reduce, scratch, simd, sums};
use crate::op::Gradient;

/// Mean and reciprocal standard deviation of each group in two passes, its output in a third while it is in the
/// cache.
pub(super) fn forward<T: Float>(
    group: usize,
    epsilon: f64,
    [x, weight, bias]: [&[T]; 3],
    (mean, rstd): (&mut [T], &mut [T]),
    output: &mut [T],
) {
    let width = weight.len();
    let (means, rstds) = (parallel::Shared::new(mean), parallel::Shared::new(rstd));
    parallel::rows(output, group, 4 * group, |first, output| {
        let x = &x[first * group..][..output.len()];
        let count = output.len() / group;
        // SAFETY: these groups belong to this task only.
        let (means, rstds) = unsafe { (means.part(first, count), rstds.part(first, count)) };
        let saved = means.iter_mut().zip(rstds);
        simd::vectorised(
            #[inline(always)]
            || {
                let groups = output.chunks_exact_mut(group).zip(x.chunks_exact(group));
                for ((output, x), (mean, rstd)) in groups.zip(saved) {
                    (*mean, *rstd) = statistics(x, epsilon);
                    let (mean, rstd) = (*mean, *rstd);
                    for (output, x) in output.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        for (((y, &x), &w), &b) in output.iter_mut().zip(x).zip(weight).zip(bias) {
                            *y = (x - mean) * rstd * w + b;
                        }
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn statistics<T: Float>(x: &[T], epsilon: f64) -> (T, T) {
    // Differences to the first element keep their digits where the mean is far from 0.
    let (shift, share) = (x[0], 1.0 / x.len() as f64);
    let offset = sums::one(
        x,
        #[inline(always)]
        |x| x - shift,
    ) * share;
    let mean = T::from_f64(shift.to_f64() + offset);
    let offset = T::from_f64(offset);
    let variance = sums::one(
        x,
        #[inline(always)]
        |x| (x - shift - offset) * (x - shift - offset),
    ) * share;
    (mean, T::from_f64(1.0 / (variance + epsilon).sqrt()))
}

/// The inputs of the backward pass: x, weight, mean, reciprocal standard deviation, gradient of the output.
type Kept<'a, T> = [&'a [T]; 5];

pub(super) fn grad_input<T: Float>(
    group: usize,
    [x, weight, mean, rstd, grad_output]: Kept<'_, T>,
    gradient: &mut Gradient<T>,
) {
    let add = gradient.add;
    let width = weight.len();
    parallel::rows(gradient.data, group, 4 * group, |first, gradient| {
        let x = &x[first * group..][..gradient.len()];
        let dy = &grad_output[first * group..][..gradient.len()];
        simd::vectorised(
            #[inline(always)]
            || {
                let groups = gradient.chunks_exact_mut(group).zip(x.chunks_exact(group));
                for (at, ((gradient, x), dy)) in groups.zip(dy.chunks_exact(group)).enumerate() {
                    let (mean, rstd) = (mean[first + at], rstd[first + at]);
                    let (mut level, mut pull) = (0.0, 0.0);
                    for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact(width)) {
                        level += sums::two(dy, weight, |dy, w| dy * w);
                        pull += sums::three(x, dy, weight, |x, dy, w| dy * w * ((x - mean) * rstd));
                    }
                    let level = T::from_f64(level / group as f64);
                    let pull = T::from_f64(pull / group as f64);
                    let rows = gradient.chunks_exact_mut(width).zip(x.chunks_exact(width));
                    for ((gradient, x), dy) in rows.zip(dy.chunks_exact(width)) {
                        let numbers = gradient.iter_mut().zip(x).zip(dy).zip(weight);
                        for (((g, &x), &dy), &w) in numbers {
                            let value = rstd * (dy * w - level - (x - mean) * rstd * pull);
                            *g = if add { *g + value } else { value };
                        }
                    }
                }
            },
        );
    });
}

pub(super) fn grad_affine<'a, T: Float>(
    group: usize,
    [x, weight, mean, rstd, grad_output]: Kept<'_, T>,
    grad_weight: &mut Option<Gradient<'a, T>>,
    grad_bias: &mut Option<Gradient<'a, T>>,
) {
    if grad_weight.is_none() && grad_bias.is_none() {
        return;
    }
    let width = weight.len();
    let rows = group / width;
    scratch::with::<T, _>(2 * width, |both| {
        reduce::columns(
            x.len() / width,
            2 * width,
            2 * width,
            both,
            false,
            #[inline(always)]
            |row, sums| {
                let (mean, rstd) = (mean[row / rows], rstd[row / rows]);
                let x = &x[row * width..][..width];
                let dy = &grad_output[row * width..][..width];
                let (weight, bias) = sums.split_at_mut(width);
                for (((w, b), &x), &dy) in weight.iter_mut().zip(bias).zip(x).zip(dy) {
                    *w += dy * ((x - mean) * rstd);
                    *b += dy;
                }
            },
        );
        let (weight, bias) = both.split_at(width);
        for (gradient, sums) in [(grad_weight, weight), (grad_bias, bias)] {
            let Some(gradient) = gradient else { continue };
            for (c, &sum) in sums.iter().enumerate() {
                gradient.put(c, sum);
            }
        }
    });
}
