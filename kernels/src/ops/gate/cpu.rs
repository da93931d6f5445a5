use super::Gate;
use crate::Float;
use crate::cpu::{math, parallel, simd};
use crate::op::Gradient;

pub(super) fn forward<T: Float>(op: Gate, width: usize, x: &[T], output: &mut [T]) {
    let wide = op.parts() * width;
    parallel::rows(output, width, 4 * wide, |first, output| {
        let rows = output.chunks_exact_mut(width).zip(x[first * wide..].chunks_exact(wide));
        simd::vectorised(
            #[inline(always)]
            || match op {
                Gate::Glu => {
                    for (output, x) in rows {
                        let (a, b) = x.split_at(width);
                        for ((y, &a), &b) in output.iter_mut().zip(a).zip(b) {
                            *y = a * math::sigmoid(b);
                        }
                    }
                }
                Gate::Additive => {
                    for (output, x) in rows {
                        let (p, rest) = x.split_at(width);
                        let (q, r) = rest.split_at(width);
                        for (((y, &p), &q), &r) in output.iter_mut().zip(p).zip(q).zip(r) {
                            *y = (p + math::sigmoid(q) + r).max(T::ZERO);
                        }
                    }
                }
            },
        );
    });
}

/// Features in a chunk. The compiler vectorises several loops over few arrays, but not one over all of them.
const CHUNK: usize = 64;

/// The sigmoid of up to [`CHUNK`] features.
#[inline(always)]
fn opened<T: Float>(x: &[T]) -> [T; CHUNK] {
    let mut open = [T::ZERO; CHUNK];
    for (open, &x) in open.iter_mut().zip(x) {
        *open = math::sigmoid(x);
    }
    open
}

pub(super) fn backward<T: Float>(
    op: Gate,
    width: usize,
    x: &[T],
    grad_output: &[T],
    gradient: &mut Gradient<T>,
) {
    let add = gradient.add;
    let store = |g: &mut T, value: T| *g = if add { *g + value } else { value };
    let wide = op.parts() * width;
    parallel::rows(gradient.data, wide, 4 * wide, |first, gradient| {
        let rows = gradient
            .chunks_exact_mut(wide)
            .zip(x[first * wide..].chunks_exact(wide))
            .zip(grad_output[first * width..].chunks_exact(width));
        simd::vectorised(
            #[inline(always)]
            || match op {
                Gate::Glu => {
                    for ((gradient, x), dy) in rows {
                        let (a, b) = x.split_at(width);
                        let (ga, gb) = gradient.split_at_mut(width);
                        for start in (0..width).step_by(CHUNK) {
                            let chunk = start..width.min(start + CHUNK);
                            let open = opened(&b[chunk.clone()]);
                            let dy = &dy[chunk.clone()];
                            let both = dy.iter().zip(&open);
                            for (ga, (&dy, &open)) in ga[chunk.clone()].iter_mut().zip(both) {
                                store(ga, dy * open);
                            }
                            let all = dy.iter().zip(&a[chunk.clone()]).zip(&open);
                            for (gb, ((&dy, &a), &open)) in gb[chunk].iter_mut().zip(all) {
                                store(gb, dy * a * open * (T::ONE - open));
                            }
                        }
                    }
                }
                Gate::Additive => {
                    for ((gradient, x), dy) in rows {
                        let (p, rest) = x.split_at(width);
                        let (q, r) = rest.split_at(width);
                        let (gp, rest) = gradient.split_at_mut(width);
                        let (gq, gr) = rest.split_at_mut(width);
                        for start in (0..width).step_by(CHUNK) {
                            let chunk = start..width.min(start + CHUNK);
                            let open = opened(&q[chunk.clone()]);
                            let mut through = [T::ZERO; CHUNK];
                            let sums = p[chunk.clone()].iter().zip(&r[chunk.clone()]).zip(&open);
                            let all = through.iter_mut().zip(&dy[chunk.clone()]).zip(sums);
                            for ((dz, &dy), ((&p, &r), &open)) in all {
                                *dz = if p + open + r > T::ZERO { dy } else { T::ZERO };
                            }
                            for (gp, &dz) in gp[chunk.clone()].iter_mut().zip(&through) {
                                store(gp, dz);
                            }
                            let both = through.iter().zip(&open);
                            for (gq, (&dz, &open)) in gq[chunk.clone()].iter_mut().zip(both) {
                                store(gq, dz * open * (T::ONE - open));
                            }
                            for (gr, &dz) in gr[chunk].iter_mut().zip(&through) {
                                store(gr, dz);
                            }
                        }
                    }
                }
            },
        );
    });
}
