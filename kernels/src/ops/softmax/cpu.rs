use crate::Float;
use crate::cpu::{math, parallel, simd, small, sums};
use crate::op::Gradient;

pub(super) fn forward<T: Float>(width: usize, x: &[T], output: &mut [T]) {
    parallel::rows(output, width, 8 * width, |first, output| {
        let x = &x[first * width..][..output.len()];
        simd::vectorised(
            #[inline(always)]
            || {
                for (output, x) in output.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let largest = small::max(x);
                    if largest == T::NEG_INFINITY {
                        output.fill(T::ZERO);
                        continue;
                    }
                    for (y, &x) in output.iter_mut().zip(x) {
                        *y = math::exp(x - largest);
                    }
                    let scale = T::from_f64(1.0 / sums::one(output, |y| y));
                    output.iter_mut().for_each(|y| *y *= scale);
                }
            },
        );
    });
}

pub(super) fn backward<T: Float>(
    width: usize,
    output: &[T],
    grad_output: &[T],
    gradient: &mut Gradient<T>,
) {
    let add = gradient.add;
    parallel::rows(gradient.data, width, 3 * width, |first, gradient| {
        let output = &output[first * width..][..gradient.len()];
        let grad_output = &grad_output[first * width..][..gradient.len()];
        simd::vectorised(
            #[inline(always)]
            || {
                let rows = gradient.chunks_exact_mut(width).zip(output.chunks_exact(width));
                for ((gradient, y), dy) in rows.zip(grad_output.chunks_exact(width)) {
                    let mean = T::from_f64(sums::two(y, dy, |y, dy| y * dy));
                    for ((g, &y), &dy) in gradient.iter_mut().zip(y).zip(dy) {
                        let old = if add { *g } else { T::ZERO };
                        *g = old + y * (dy - mean);
                    }
                }
            },
        );
    });
}
