//! The forward pass: for each tile of queries a softmax over all keys in one pass (Milakov and Gimelshein 2018).

use super::super::Attention;
use super::{COLUMNS, Dropout, Head, ROWS, Sizes};
use crate::Float;
use crate::cpu::gemm::{View, serial};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::{math, scratch, simd, small};
use crate::op::Forward;

pub(in super::super) fn forward<T: Float>(op: &Attention, call: Forward<'_, T>) {
    let sizes = Sizes::new(op, call.shapes);
    let Sizes { samples, heads, queries, keys, features, head: width, padded } = sizes;
    let (q, k, v) = (call.inputs[0], call.inputs[1], call.inputs[2]);
    let indices = call.indices;
    let scale = T::from_f64(op.scale(width));
    let dropout = Dropout::new(op, keys);
    let (output, log_sums) = (Shared::new(call.output), Shared::new(call.saved[0]));
    parallel::tasks(samples * heads, |task| {
        let head = Head::new(op, sizes, indices, task);
        let length = head.length;
        // SAFETY: each sample and head has its own log-sum-exps, and writes its own features of the output below.
        let log_sums = unsafe { log_sums.part(task * queries, queries) };
        let write = |query: usize, row: &[T]| {
            // SAFETY: as above.
            unsafe { output.part(head.query(query), width) }.copy_from_slice(&row[..width]);
        };
        let packed_len = small::packed_len(length, width);
        let tile_len = ROWS * COLUMNS;
        let memory = packed_len + length * padded + tile_len + ROWS * padded + COLUMNS;
        scratch::with::<T, _>(memory, |memory| {
            let (packed, memory) = memory.split_at_mut(packed_len);
            let (values, memory) = memory.split_at_mut(length * padded);
            let (weights, memory) = memory.split_at_mut(tile_len);
            let (result, factors) = memory.split_at_mut(ROWS * padded);
            if length > 0 {
                small::pack_transposed(length, width, &k[head.first_key..], features, packed);
                small::copy_padded(length, width, &v[head.first_key..], features, values, padded);
            }
            for (t, log_sums) in log_sums.chunks_mut(ROWS).enumerate() {
                let (first, rows) = (t * ROWS, log_sums.len());
                result.fill(T::ZERO);
                let mut tile = Tile {
                    head: &head,
                    scale,
                    dropout,
                    first,
                    rows,
                    maxima: [T::NEG_INFINITY; ROWS],
                    sums: [T::ZERO; ROWS],
                    weights: &mut *weights,
                    factors: &mut *factors,
                    result: &mut *result,
                };
                for key in (0..length).step_by(COLUMNS) {
                    tile.add_keys(&q[head.query(first)..], packed, values, key);
                }
                tile.finish(log_sums, write);
            }
        });
    });
}

/// A tile of up to [`ROWS`] queries, which attends to the keys in steps of up to [`COLUMNS`].
struct Tile<'a, T> {
    head: &'a Head,
    scale: T,
    dropout: Option<Dropout>,
    first: usize,
    rows: usize,
    /// Running maximum of the logits of each query.
    maxima: [T; ROWS],
    /// Running sum of e^(logit - maximum) of each query.
    sums: [T; ROWS],
    /// Logits, then weights: `[ROWS, COLUMNS]`.
    weights: &'a mut [T],
    /// Dropout factors of one query: `[COLUMNS]`.
    factors: &'a mut [T],
    /// Sums of weights times values: `[ROWS, padded E]`.
    result: &'a mut [T],
}

impl<T: Float> Tile<'_, T> {
    /// Adds the keys from `key` on. `queries` starts at the first query of the tile.
    fn add_keys(&mut self, queries: &[T], packed_keys: &[T], values: &[T], key: usize) {
        let Sizes { features, head: width, padded, .. } = self.head.sizes;
        let (rows, columns) = (self.rows, (self.head.length - key).min(COLUMNS));
        small::product_packed(
            rows,
            width,
            queries,
            features,
            packed_keys,
            key,
            columns,
            self.weights,
            COLUMNS,
        );
        let first_row = self.head.row(self.first);
        simd::vectorised(
            #[inline(always)]
            || {
                for r in 0..rows {
                    // Whole vectors: the weights of padding are 0.
                    let weights = &mut self.weights[r * COLUMNS..][..small::padded(columns)];
                    let (max, sum) = (&mut self.maxima[r], &mut self.sums[r]);
                    let shrink = weigh(weights, columns, self.scale, max, sum);
                    for y in &mut self.result[r * padded..(r + 1) * padded] {
                        *y *= shrink;
                    }
                    if let Some(dropout) = self.dropout {
                        let factors = &mut self.factors[..weights.len()];
                        dropout.factors(first_row + r, key, factors);
                        for (weight, &factor) in weights.iter_mut().zip(factors.iter()) {
                            *weight *= factor;
                        }
                    }
                }
            },
        );
        serial(
            View::new(self.weights, [rows, columns], (COLUMNS, 1)),
            View::dense(&values[key * padded..], columns, padded),
            self.result,
            padded,
            true,
        );
    }

    /// Divides by the sums, and writes the log-sum-exps and, with `write`, the output's rows.
    fn finish(&mut self, log_sums: &mut [T], write: impl Fn(usize, &[T])) {
        let padded = self.head.sizes.padded;
        for (r, log_sum) in log_sums.iter_mut().enumerate() {
            let row = &mut self.result[r * padded..(r + 1) * padded];
            if self.head.length > 0 {
                let inverse = T::ONE / self.sums[r];
                row.iter_mut().for_each(|y| *y *= inverse);
                *log_sum = self.maxima[r] + self.sums[r].ln();
            } else {
                *log_sum = T::ZERO;
            }
            write(self.first + r, row);
        }
    }
}

/// Replaces dot products by e^(logit - maximum) and updates the running maximum and sum of their query. Returns the
/// factor for all earlier sums.
#[inline(always)]
fn weigh<T: Float>(weights: &mut [T], columns: usize, scale: T, max: &mut T, sum: &mut T) -> T {
    for w in weights.iter_mut() {
        *w *= scale;
    }
    weights[columns..].fill(T::NEG_INFINITY);
    let largest = small::max(weights);
    let new = if largest > *max { largest } else { *max };
    // Negative infinity only if all logits are NaN or -inf; the output is then NaN, as it should be.
    let shift = if new == T::NEG_INFINITY { T::ZERO } else { new };
    for w in weights.iter_mut() {
        *w = math::exp(*w - shift);
    }
    let more = small::sum(weights.len(), |j| weights[j]);
    let shrink = math::exp(*max - shift);
    *sum = *sum * shrink + more;
    *max = new;
    shrink
}
