use super::Dropout;
use crate::Float;
use crate::cpu::{parallel, simd};
use crate::philox::Philox;

/// Counters drawn together, four words each: as many as the registers hold.
const SIDE: usize = 16;

/// The forward pass on x, and the backward pass on the gradient of the output.
pub(super) fn apply<T: Float>(op: Dropout, x: &[T], target: &mut [T], add: bool) {
    // Rounded down: the probability is exact to 1e-9.
    let threshold = (op.probability * 2f64.powi(32)) as u32;
    let scale = T::from_f64(1.0 / (1.0 - op.probability));
    parallel::rows(target, 4 * SIDE, 4 * 4 * SIDE, |first, target| {
        let start = first * 4 * SIDE;
        let x = &x[start..start + target.len()];
        let arguments = (op.stream, threshold, scale, start / 4, x, target, add);
        simd::vectorised(
            #[inline(always)]
            || masked(arguments),
        );
    });
}

type Arguments<'a, T> = (Philox, u32, T, usize, &'a [T], &'a mut [T], bool);

#[inline(always)]
fn masked<T: Float>((stream, threshold, scale, block, x, target, add): Arguments<'_, T>) {
    let chunks = target.chunks_mut(4 * SIDE).zip(x.chunks(4 * SIDE));
    for (chunk, (target, x)) in chunks.enumerate() {
        let mut factors = [T::ZERO; 4 * SIDE];
        let words = stream.words_of::<SIDE>((block + chunk * SIDE) as u64);
        let [a, b, c, d] = &words;
        let blocks = factors.chunks_exact_mut(4).zip(a.iter().zip(b).zip(c.iter().zip(d)));
        for (factors, ((&a, &b), (&c, &d))) in blocks {
            for (factor, word) in factors.iter_mut().zip([a, b, c, d]) {
                *factor = if (word as u32) < threshold { T::ZERO } else { scale };
            }
        }
        for ((y, &x), &factor) in target.iter_mut().zip(x).zip(&factors) {
            // Selected, not multiplied: a dropped infinity must become 0, not NaN.
            let value = if factor == T::ZERO { T::ZERO } else { x * factor };
            *y = if add { *y + value } else { value };
        }
    }
}
