use super::Gate;
use crate::Float;
use crate::cpu::{parallel, simd};
use crate::op::Gradient;

pub(super) fn forward<T: Float>(op: Gate, width: usize, x: &[T], output: &mut [T]) {
    let wide = op.parts() * width;
    parallel::rows(output, width, 4 * wide, |first, output| {
        let rows = output.chunks_exact_mut(width).zip(x[first * wide..].chunks_exact(wide));
        simd::vectorised(|| match op {
            Gate::Glu => {
                for (output, x) in rows {
                    let (a, b) = x.split_at(width);
                    for ((y, &a), &b) in output.iter_mut().zip(a).zip(b) {
                        *y = a * b.sigmoid();
                    }
                }
            }
            Gate::Additive => {
                for (output, x) in rows {
                    let (p, rest) = x.split_at(width);
                    let (q, r) = rest.split_at(width);
                    for (((y, &p), &q), &r) in output.iter_mut().zip(p).zip(q).zip(r) {
                        *y = (p + q.sigmoid() + r).max(T::ZERO);
                    }
                }
            }
        });
    });
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
        simd::vectorised(|| match op {
            Gate::Glu => {
                for ((gradient, x), dy) in rows {
                    let (a, b) = x.split_at(width);
                    let (ga, gb) = gradient.split_at_mut(width);
                    let parts = ga.iter_mut().zip(gb).zip(a.iter().zip(b));
                    for (((ga, gb), (&a, &b)), &dy) in parts.zip(dy) {
                        let open = b.sigmoid();
                        store(ga, dy * open);
                        store(gb, dy * a * open * (T::ONE - open));
                    }
                }
            }
            Gate::Additive => {
                for ((gradient, x), dy) in rows {
                    let (p, rest) = x.split_at(width);
                    let (q, r) = rest.split_at(width);
                    let (gp, rest) = gradient.split_at_mut(width);
                    let (gq, gr) = rest.split_at_mut(width);
                    let targets = gp.iter_mut().zip(gq).zip(gr);
                    let sources = p.iter().zip(q).zip(r).zip(dy);
                    for (((gp, gq), gr), (((&p, &q), &r), &dy)) in targets.zip(sources) {
                        let open = q.sigmoid();
                        let dz = if p + open + r > T::ZERO { dy } else { T::ZERO };
                        store(gp, dz);
                        store(gq, dz * open * (T::ONE - open));
                        store(gr, dz);
                    }
                }
            }
        });
    });
}
