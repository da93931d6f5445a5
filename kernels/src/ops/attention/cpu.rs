//! One task for each clip and head. Tiles of [`ROWS`] queries by [`COLUMNS`] keys stay in cache: forward keeps a
//! running maximum and sum a query, backward computes the weights again from the log-sums.

use super::Attention;
use crate::Float;
use crate::cpu::gemm::{View, serial};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::small::{self, PANEL};
use crate::cpu::{math, scratch, simd};
use crate::op::{Backward, Forward};
use crate::{Shape, philox::Philox};

/// Queries of a tile.
const ROWS: usize = 32;
/// Keys of a tile.
const COLUMNS: usize = 8 * PANEL;

/// The sizes of a call.
#[derive(Clone, Copy)]
struct Sizes {
    heads: usize,
    queries: usize,
    keys: usize,
    /// Features of all heads: the distance of two rows.
    features: usize,
    /// E: features of a head.
    head: usize,
    /// E in whole vectors.
    padded: usize,
}

impl Sizes {
    fn new(op: &Attention, shapes: &[Shape]) -> Self {
        let (features, head) = (shapes[0][2], shapes[0][2] / op.heads);
        Sizes {
            heads: op.heads,
            queries: shapes[0][1],
            keys: shapes[1][1],
            features,
            head,
            padded: small::padded(head),
        }
    }

    /// How many keys of a clip count.
    fn length(&self, op: &Attention, indices: &[&[u32]], clip: usize) -> usize {
        if op.masked { self.keys.min(indices[0][clip] as usize) } else { self.keys }
    }

    /// Where the first query and the first key of a clip's head stand.
    fn starts(&self, clip: usize, head: usize) -> (usize, usize) {
        let feature = head * self.head;
        (clip * self.queries * self.features + feature, clip * self.keys * self.features + feature)
    }
}

/// Which weights are dropped.
#[derive(Clone, Copy)]
struct Drop {
    stream: Philox,
    below: u32,
    /// What the kept ones are multiplied by.
    kept: f64,
    keys: usize,
}

impl Drop {
    fn new(op: &Attention, keys: usize) -> Option<Self> {
        (op.dropout > 0.0).then(|| Drop {
            stream: op.stream,
            below: (op.dropout * 4_294_967_296.0) as u32,
            kept: 1.0 / (1.0 - op.dropout),
            keys,
        })
    }

    /// The factors of the weights of one query, numbered over clips, heads and queries, from key `first` on,
    /// a multiple of 4, for whole vectors of keys.
    #[inline(always)]
    fn factors<T: Float>(&self, query: usize, first: usize, factors: &mut [T]) {
        const SIDE: usize = small::PAD / 4;
        let kept = T::from_f64(self.kept);
        let start = (query * self.keys.div_ceil(4) + first / 4) as u64;
        for (chunk, factors) in factors.chunks_exact_mut(small::PAD).enumerate() {
            let words = self.stream.words_of::<SIDE>(start + (chunk * SIDE) as u64);
            for (i, four) in factors.chunks_exact_mut(4).enumerate() {
                for (factor, words) in four.iter_mut().zip(&words) {
                    *factor = if (words[i] as u32) < self.below { T::ZERO } else { kept };
                }
            }
        }
    }
}

pub(super) fn forward<T: Float>(op: &Attention, call: Forward<'_, T>) {
    let sizes = Sizes::new(op, call.shapes);
    let Sizes { heads, queries, keys, features, head, padded } = sizes;
    let clips = call.shapes[0][0];
    let (q, k, v) = (call.inputs[0], call.inputs[1], call.inputs[2]);
    let indices = call.indices;
    let scale = T::from_f64(op.scale(head));
    let drop = Drop::new(op, keys);
    let (output, log_sums) = (Shared::new(call.output), Shared::new(call.saved[0]));
    parallel::tasks(clips * heads, |task| {
        let (clip, h) = (task / heads, task % heads);
        let (first_query, first_key) = sizes.starts(clip, h);
        let length = sizes.length(op, indices, clip);
        // SAFETY: each clip and head has its own log-sums, and writes its own features of the output below.
        let log_sums = unsafe { log_sums.part(task * queries, queries) };
        let write = |query: usize, row: &[T]| {
            // SAFETY: as above.
            unsafe { output.part(first_query + query * features, head) }
                .copy_from_slice(&row[..head]);
        };
        let packed_len = small::packed_len(length, head);
        let tile_len = ROWS * COLUMNS;
        let memory = packed_len + length * padded + tile_len + ROWS * padded + COLUMNS;
        scratch::with::<T, _>(memory, |memory| {
            let (packed, memory) = memory.split_at_mut(packed_len);
            let (values, memory) = memory.split_at_mut(length * padded);
            let (tile, memory) = memory.split_at_mut(tile_len);
            let (result, factors) = memory.split_at_mut(ROWS * padded);
            if length > 0 {
                small::pack_transposed(length, head, &k[first_key..], features, packed);
                small::copy_padded(length, head, &v[first_key..], features, values, padded);
            }
            for (t, log_sums) in log_sums.chunks_mut(ROWS).enumerate() {
                let (first, rows) = (t * ROWS, log_sums.len());
                let mut maxima = [T::NEG_INFINITY; ROWS];
                let mut sums = [T::ZERO; ROWS];
                result.fill(T::ZERO);
                for key in (0..length).step_by(COLUMNS) {
                    let columns = (length - key).min(COLUMNS);
                    small::product_packed(
                        rows,
                        head,
                        &q[first_query + first * features..],
                        features,
                        packed,
                        key,
                        columns,
                        tile,
                        COLUMNS,
                    );
                    simd::vectorised(
                        #[inline(always)]
                        || {
                            for r in 0..rows {
                                // Whole vectors: what fills them up weighs nothing.
                                let weights = &mut tile[r * COLUMNS..][..small::padded(columns)];
                                let shrink =
                                    weigh(weights, columns, scale, &mut maxima[r], &mut sums[r]);
                                for y in &mut result[r * padded..(r + 1) * padded] {
                                    *y *= shrink;
                                }
                                if let Some(drop) = drop {
                                    let factors = &mut factors[..weights.len()];
                                    drop.factors(task * queries + first + r, key, factors);
                                    for (weight, &factor) in weights.iter_mut().zip(factors.iter())
                                    {
                                        *weight *= factor;
                                    }
                                }
                            }
                        },
                    );
                    serial(
                        View::new(tile, [rows, columns], (COLUMNS, 1)),
                        View::dense(&values[key * padded..], columns, padded),
                        result,
                        padded,
                        true,
                    );
                }
                for (r, log_sum) in log_sums.iter_mut().enumerate() {
                    let row = &mut result[r * padded..(r + 1) * padded];
                    if length > 0 {
                        let inverse = T::ONE / sums[r];
                        row.iter_mut().for_each(|y| *y *= inverse);
                        *log_sum = maxima[r] + sums[r].ln();
                    } else {
                        *log_sum = T::ZERO;
                    }
                    write(first + r, row);
                }
            }
        });
    });
}

/// Turns dot products into e^(logit - maximum), with the running maximum and sum of their query. Returns what
/// everything summed up before must be multiplied by.
#[inline(always)]
fn weigh<T: Float>(weights: &mut [T], columns: usize, scale: T, max: &mut T, sum: &mut T) -> T {
    for w in weights.iter_mut() {
        *w *= scale;
    }
    weights[columns..].fill(T::NEG_INFINITY);
    let largest = small::max(weights);
    let new = if largest > *max { largest } else { *max };
    // Only where all logits are NaN or -inf; the output is then NaN, as it should be.
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

pub(super) fn backward<T: Float>(op: &Attention, mut call: Backward<'_, T>) {
    let sizes = Sizes::new(op, call.shapes);
    let Sizes { heads, queries, keys, features, head, padded } = sizes;
    let clips = call.shapes[0][0];
    let (q, k, v) = (call.inputs[0], call.inputs[1], call.inputs[2]);
    let (indices, log_sums) = (call.indices, call.saved[0]);
    let (output, grad_output) = (call.output, call.grad_output);
    let scale = T::from_f64(op.scale(head));
    let drop = Drop::new(op, keys);
    let mut slots =
        call.gradients.iter_mut().map(|g| g.as_mut().map(|g| (Shared::new(g.data), g.add)));
    let [grad_q, grad_k, grad_v] = [0; 3].map(|_| slots.next().flatten());
    let needs_logits = grad_q.is_some() || grad_k.is_some();

    // Rows of one head written or added to a gradient; the rest of `count` rows are zero.
    let put =
        |slot: &Option<(Shared<T>, bool)>, start: usize, rows: usize, count: usize, from: &[T]| {
            let Some((gradient, add)) = slot else { return };
            for row in 0..count {
                // SAFETY: each clip and head writes its own features alone.
                let to = unsafe { gradient.part(start + row * features, head) };
                for (i, g) in to.iter_mut().enumerate() {
                    let old = if *add { *g } else { T::ZERO };
                    let new = if row < rows { from[row * padded + i] } else { T::ZERO };
                    *g = old + new;
                }
            }
        };
    parallel::tasks(clips * heads, |task| {
        let (clip, h) = (task / heads, task % heads);
        let (first_query, first_key) = sizes.starts(clip, h);
        let length = sizes.length(op, indices, clip);
        let (packed, rows_len) = (small::packed_len(length, head), length * padded);
        let (tile_len, side) = (ROWS * COLUMNS, ROWS * padded);
        let lengths = [
            packed, packed, rows_len, rows_len, rows_len, tile_len, tile_len, tile_len, side, side,
            side,
        ];
        scratch::with::<T, _>(lengths.iter().sum(), |mut memory| {
            let mut parts = lengths.map(|length| {
                let (part, rest) = std::mem::take(&mut memory).split_at_mut(length);
                memory = rest;
                part
            });
            let [
                packed_keys,
                packed_values,
                key_rows,
                sum_k,
                sum_v,
                weights,
                grad_weights,
                factors,
                query_rows,
                grad_rows,
                sum_q,
            ] = &mut parts;
            sum_k.fill(T::ZERO);
            sum_v.fill(T::ZERO);
            if length > 0 {
                small::pack_transposed(length, head, &k[first_key..], features, packed_keys);
                if needs_logits {
                    small::pack_transposed(length, head, &v[first_key..], features, packed_values);
                    small::copy_padded(length, head, &k[first_key..], features, key_rows, padded);
                }
            }
            for first in (0..queries).step_by(ROWS) {
                let rows = (queries - first).min(ROWS);
                let start = first_query + first * features;
                small::copy_padded(rows, head, &q[start..], features, query_rows, padded);
                small::copy_padded(rows, head, &grad_output[start..], features, grad_rows, padded);
                sum_q.fill(T::ZERO);
                // Σ_j weight · its gradient, which is also the output times its gradient, dropout or not.
                let mut along = [T::ZERO; ROWS];
                for (r, along) in along.iter_mut().enumerate().take(rows) {
                    let y = &output[start + r * features..][..head];
                    let dy = &grad_rows[r * padded..][..head];
                    *along = small::sum(head, |i| y[i] * dy[i]);
                }
                for key in (0..length).step_by(COLUMNS) {
                    let columns = (length - key).min(COLUMNS);
                    // Weights are computed in whole vectors; products leave out what fills them up.
                    let whole = small::padded(columns);
                    let span = key * padded..(key + columns) * padded;
                    small::product_packed(
                        rows,
                        head,
                        query_rows,
                        padded,
                        packed_keys,
                        key,
                        columns,
                        weights,
                        COLUMNS,
                    );
                    simd::vectorised(
                        #[inline(always)]
                        || {
                            for r in 0..rows {
                                let log_sum = log_sums[task * queries + first + r];
                                for w in &mut weights[r * COLUMNS..][..whole] {
                                    *w = math::exp(*w * scale - log_sum);
                                }
                            }
                            if let Some(drop) = drop {
                                for r in 0..rows {
                                    let factors = &mut factors[r * COLUMNS..][..whole];
                                    drop.factors(task * queries + first + r, key, factors);
                                }
                            }
                        },
                    );
                    if needs_logits {
                        small::product_packed(
                            rows,
                            head,
                            grad_rows,
                            padded,
                            packed_values,
                            key,
                            columns,
                            grad_weights,
                            COLUMNS,
                        );
                        simd::vectorised(
                            #[inline(always)]
                            || {
                                for (r, &along) in along.iter().enumerate().take(rows) {
                                    let at = r * COLUMNS..r * COLUMNS + whole;
                                    let grads = &mut grad_weights[at.clone()];
                                    if drop.is_some() {
                                        for (g, &f) in grads.iter_mut().zip(&factors[at.clone()]) {
                                            *g *= f;
                                        }
                                    }
                                    for (g, &w) in grads.iter_mut().zip(&weights[at]) {
                                        *g = w * (*g - along) * scale;
                                    }
                                }
                            },
                        );
                    }
                    if grad_v.is_some() {
                        if drop.is_some() {
                            simd::vectorised(
                                #[inline(always)]
                                || {
                                    for r in 0..rows {
                                        let at = r * COLUMNS..r * COLUMNS + whole;
                                        for (w, &f) in
                                            weights[at.clone()].iter_mut().zip(&factors[at])
                                        {
                                            *w *= f;
                                        }
                                    }
                                },
                            );
                        }
                        transposed(
                            rows,
                            columns,
                            padded,
                            weights,
                            grad_rows,
                            &mut sum_v[span.clone()],
                        );
                    }
                    if grad_k.is_some() {
                        transposed(
                            rows,
                            columns,
                            padded,
                            grad_weights,
                            query_rows,
                            &mut sum_k[span.clone()],
                        );
                    }
                    if grad_q.is_some() {
                        serial(
                            View::new(grad_weights, [rows, columns], (COLUMNS, 1)),
                            View::dense(&key_rows[span], columns, padded),
                            sum_q,
                            padded,
                            true,
                        );
                    }
                }
                put(&grad_q, start, rows, rows, sum_q);
            }
            put(&grad_k, first_key, length, keys, sum_k);
            put(&grad_v, first_key, length, keys, sum_v);
        });
    });
}

/// sums += tileᵀ · rows, over the queries of a tile.
fn transposed<T: Float>(
    rows: usize,
    columns: usize,
    padded: usize,
    tile: &[T],
    right: &[T],
    sums: &mut [T],
) {
    serial(
        View::new(tile, [columns, rows], (1, COLUMNS)),
        View::dense(right, rows, padded),
        sums,
        padded,
        true,
    );
}
