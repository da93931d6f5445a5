use crate::Float;
use crate::cpu::{math, parallel, simd, small, sums};
use crate::op::Gradient;

/// The number of samples that are not ignored.
fn counted(width: usize, classes: &[u32]) -> usize {
    classes.iter().filter(|&&class| (class as usize) < width).count()
}

pub(super) fn forward<T: Float>(
    width: usize,
    logits: &[T],
    classes: &[u32],
    log_sum: &mut [T],
) -> T {
    parallel::rows(log_sum, 1, 8 * width, |first, log_sum| {
        let logits = logits[first * width..].chunks_exact(width);
        simd::vectorised(
            #[inline(always)]
            || {
                for (log_sum, x) in log_sum.iter_mut().zip(logits) {
                    let largest = small::max(x);
                    let sum = sums::one(x, |x| math::exp(x - largest));
                    *log_sum = T::from_f64(largest.to_f64() + sum.ln());
                }
            },
        );
    });
    let log_sum = &*log_sum;
    let total = sums::total(classes.len(), 2, |first, end| {
        let rows = first..end;
        rows.filter(|&row| (classes[row] as usize) < width)
            .map(|row| (log_sum[row] - logits[row * width + classes[row] as usize]).to_f64())
            .sum()
    });
    T::from_f64(total / counted(width, classes).max(1) as f64)
}

pub(super) fn backward<T: Float>(
    width: usize,
    (logits, classes, log_sum): (&[T], &[u32], &[T]),
    grad_output: T,
    gradient: &mut Gradient<T>,
) {
    let add = gradient.add;
    let scale = grad_output * T::from_f64(1.0 / counted(width, classes).max(1) as f64);
    parallel::rows(gradient.data, width, 8 * width, |first, gradient| {
        simd::vectorised(
            #[inline(always)]
            || {
                for (row, gradient) in (first..).zip(gradient.chunks_exact_mut(width)) {
                    let class = classes[row] as usize;
                    let (scale, log_sum) = match class < width {
                        true => (scale, log_sum[row]),
                        false => (T::ZERO, log_sum[row]),
                    };
                    let logits = &logits[row * width..][..width];
                    for (g, &x) in gradient.iter_mut().zip(logits) {
                        let value = scale * math::exp(x - log_sum);
                        *g = if add { *g + value } else { value };
                    }
                    if class < width {
                        gradient[class] -= scale;
                    }
                }
            },
        );
    });
}
