use crate::Float;
use crate::cpu::{parallel, scratch, simd};
use crate::op::Gradient;

/// Tokens that are summed in the working precision before the sum is flushed to f64.
const BLOCK: usize = 128;

pub(crate) fn forward<T: Float>(width: usize, table: &[T], tokens: &[u32], output: &mut [T]) {
    parallel::rows(output, width, 2 * width, |first, output| {
        for (row, &token) in output.chunks_exact_mut(width).zip(&tokens[first..]) {
            match table.chunks_exact(width).nth(token as usize) {
                Some(entry) => row.copy_from_slice(entry),
                None => row.fill(T::ZERO),
            }
        }
    });
}

pub(crate) fn backward<T: Float>(
    width: usize,
    tokens: &[u32],
    grad_output: &[T],
    gradient: &mut Gradient<T>,
) {
    let (entries, add) = (gradient.data.len() / width, gradient.add);
    // Positions of the tokens, sorted by token and then position (counting sort); those of token v end at `ends[v]`.
    scratch::with::<u32, _>(entries + 1 + tokens.len(), |scratch| {
        let (ends, order) = scratch.split_at_mut(entries + 1);
        ends.fill(0);
        let known = || tokens.iter().enumerate().filter(|&(_, &token)| (token as usize) < entries);
        known().for_each(|(_, &token)| ends[token as usize + 1] += 1);
        for v in 0..entries {
            ends[v + 1] += ends[v];
        }
        // Each start advances to the end as its positions are filled in.
        for (place, &token) in known() {
            let end = &mut ends[token as usize];
            order[*end as usize] = place as u32;
            *end += 1;
        }
        let (ends, order) = (&*ends, &*order);
        parallel::rows(gradient.data, width, 2 * width, |first, gradient| {
            for (v, gradient) in (first..).zip(gradient.chunks_exact_mut(width)) {
                let start = if v == 0 { 0 } else { ends[v - 1] as usize };
                let places = &order[start..ends[v] as usize];
                if !add {
                    gradient.fill(T::ZERO);
                }
                if !places.is_empty() {
                    sum(width, places, grad_output, gradient);
                }
            }
        });
    });
}

/// Adds the rows of these positions.
fn sum<T: Float>(width: usize, places: &[u32], rows: &[T], gradient: &mut [T]) {
    scratch::with::<f64, _>(width, |totals| {
        totals.fill(0.0);
        scratch::with::<T, _>(width, |sums| {
            for places in places.chunks(BLOCK) {
                sums.fill(T::ZERO);
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for &place in places {
                            for (sum, &dy) in sums.iter_mut().zip(&rows[place as usize * width..]) {
                                *sum += dy;
                            }
                        }
                    },
                );
                for (total, sum) in totals.iter_mut().zip(sums.iter()) {
                    *total += sum.to_f64();
                }
            }
        });
        for (g, &total) in gradient.iter_mut().zip(&*totals) {
            *g += T::from_f64(total);
        }
    });
}
