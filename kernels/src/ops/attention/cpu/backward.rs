//! The backward pass. For each tile, weights are recomputed from the log-sum-exps, and then the gradients of values,
//! logits, keys and queries (Dao et al. 2022, algorithm 4).

use super::super::Attention;
use super::{COLUMNS, Dropout, Head, ROWS, Sizes};
use crate::Float;
use crate::cpu::gemm::{View, serial};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::{math, scratch, simd, small};
use crate::op::{Backward, Gradient};

pub(in super::super) fn backward<T: Float>(op: &Attention, mut call: Backward<'_, T>) {
    let sizes = Sizes::new(op, call.shapes);
    let sources = Sources {
        q: call.inputs[0],
        k: call.inputs[1],
        v: call.inputs[2],
        log_sums: call.saved[0],
        output: call.output,
        grad_output: call.grad_output,
    };
    let indices = call.indices;
    let dropout = Dropout::new(op, sizes.keys);
    let mut targets = call.gradients.iter_mut().map(|g| Target::new(g.as_mut()));
    let [grad_q, grad_k, grad_v] = [0; 3].map(|_| targets.next().flatten());
    let wanted = [&grad_q, &grad_k, &grad_v].map(Option::is_some);
    parallel::tasks(sizes.samples * sizes.heads, |task| {
        let head = Head::new(op, sizes, indices, task);
        Buffers::with(&head, |buffers| {
            let scale = T::from_f64(op.scale(sizes.head));
            let mut gradients = Gradients { head, sources, scale, dropout, wanted, buffers };
            gradients.start();
            for first in (0..sizes.queries).step_by(ROWS) {
                let rows = (sizes.queries - first).min(ROWS);
                let deltas = gradients.start_queries(first, rows);
                for key in (0..head.length).step_by(COLUMNS) {
                    let columns = (head.length - key).min(COLUMNS);
                    gradients.add_tile(Tile { first, rows, key, columns }, &deltas);
                }
                if let Some(target) = &grad_q {
                    target.put(sizes, head.query(first), rows, rows, gradients.buffers.sum_q);
                }
            }
            let (sum_k, sum_v) = (&*gradients.buffers.sum_k, &*gradients.buffers.sum_v);
            for (target, sum) in [(&grad_k, sum_k), (&grad_v, sum_v)] {
                if let Some(target) = target {
                    target.put(sizes, head.first_key, head.length, sizes.keys, sum);
                }
            }
        });
    });
}

/// The inputs of the backward pass.
#[derive(Clone, Copy)]
struct Sources<'a, T> {
    q: &'a [T],
    k: &'a [T],
    v: &'a [T],
    log_sums: &'a [T],
    output: &'a [T],
    grad_output: &'a [T],
}

/// The gradient of an input, to which every task writes its own features.
struct Target<T> {
    data: Shared<T>,
    add: bool,
}

impl<T: Float> Target<T> {
    fn new(gradient: Option<&mut Gradient<'_, T>>) -> Option<Self> {
        gradient.map(|g| Target { data: Shared::new(g.data), add: g.add })
    }

    /// Writes or adds `rows` padded rows of one head at offset `start`; further rows, up to `count`, are zero.
    fn put(&self, sizes: Sizes, start: usize, rows: usize, count: usize, from: &[T]) {
        for row in 0..count {
            // SAFETY: each sample and head writes its own features only.
            let to = unsafe { self.data.part(start + row * sizes.features, sizes.head) };
            for (i, g) in to.iter_mut().enumerate() {
                let old = if self.add { *g } else { T::ZERO };
                let new = if row < rows { from[row * sizes.padded + i] } else { T::ZERO };
                *g = old + new;
            }
        }
    }
}

/// The scratch memory of one head.
struct Buffers<'a, T> {
    packed_k: &'a mut [T],
    packed_v: &'a mut [T],
    /// Keys: `[length, padded E]`.
    k: &'a mut [T],
    /// Sums of the gradients of keys and values: `[length, padded E]`.
    sum_k: &'a mut [T],
    sum_v: &'a mut [T],
    /// Weights, gradients of the logits and dropout factors of a tile: `[ROWS, COLUMNS]`.
    weights: &'a mut [T],
    grad_weights: &'a mut [T],
    factors: &'a mut [T],
    /// Queries, gradients of the output and sums of the gradients of the queries: `[ROWS, padded E]`.
    q: &'a mut [T],
    grad_output: &'a mut [T],
    sum_q: &'a mut [T],
}

impl<T: Float> Buffers<'_, T> {
    /// Calls the body with the buffers for a head; their values are unspecified.
    fn with(head: &Head, body: impl FnOnce(Buffers<'_, T>)) {
        let Sizes { head: width, padded, .. } = head.sizes;
        let (packed, keys) = (small::packed_len(head.length, width), head.length * padded);
        let (tile, rows) = (ROWS * COLUMNS, ROWS * padded);
        let lengths = [packed, packed, keys, keys, keys, tile, tile, tile, rows, rows, rows];
        scratch::with::<T, _>(lengths.iter().sum(), |mut memory| {
            let parts = lengths.map(|length| {
                let (part, rest) = std::mem::take(&mut memory).split_at_mut(length);
                memory = rest;
                part
            });
            let [packed_k, packed_v, k, sum_k, sum_v, weights, grad_weights, factors, q, dy, sum_q] =
                parts;
            body(Buffers {
                packed_k,
                packed_v,
                k,
                sum_k,
                sum_v,
                weights,
                grad_weights,
                factors,
                q,
                grad_output: dy,
                sum_q,
            });
        });
    }
}

/// Up to [`ROWS`] queries from `first` on, by up to [`COLUMNS`] keys from `key` on.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    rows: usize,
    key: usize,
    columns: usize,
}

impl Tile {
    /// The range of a row in a buffer `[ROWS, COLUMNS]`, in whole vectors. Products leave out the padding.
    #[inline(always)]
    fn row(&self, row: usize) -> std::ops::Range<usize> {
        row * COLUMNS..row * COLUMNS + small::padded(self.columns)
    }
}

/// The gradients of one head.
struct Gradients<'a, T> {
    head: Head,
    sources: Sources<'a, T>,
    scale: T,
    dropout: Option<Dropout>,
    /// Whether the gradients of queries, keys and values are needed.
    wanted: [bool; 3],
    buffers: Buffers<'a, T>,
}

impl<T: Float> Gradients<'_, T> {
    /// Whether the gradients of the logits are needed.
    fn needs_logits(&self) -> bool {
        self.wanted[0] || self.wanted[1]
    }

    /// Packs keys and values, and clears the sums of their gradients.
    fn start(&mut self) {
        let Head { sizes: Sizes { features, head: width, padded, .. }, first_key, length, .. } =
            self.head;
        let needs_logits = self.needs_logits();
        let Gradients { sources: Sources { k, v, .. }, buffers, .. } = self;
        buffers.sum_k.fill(T::ZERO);
        buffers.sum_v.fill(T::ZERO);
        if length > 0 {
            small::pack_transposed(length, width, &k[first_key..], features, buffers.packed_k);
            if needs_logits {
                small::pack_transposed(length, width, &v[first_key..], features, buffers.packed_v);
                small::copy_padded(length, width, &k[first_key..], features, buffers.k, padded);
            }
        }
    }

    /// Copies the queries of a row of tiles, clears the sum of their gradients, and returns for each query
    /// Σ_j weight · gradient of the weight, which is the dot product of the output and its gradient, with or without
    /// dropout.
    fn start_queries(&mut self, first: usize, rows: usize) -> [T; ROWS] {
        let Sizes { features, head: width, padded, .. } = self.head.sizes;
        let start = self.head.query(first);
        let Gradients { sources: Sources { q, output, grad_output, .. }, buffers, .. } = self;
        small::copy_padded(rows, width, &q[start..], features, buffers.q, padded);
        let dy = &mut *buffers.grad_output;
        small::copy_padded(rows, width, &grad_output[start..], features, dy, padded);
        buffers.sum_q.fill(T::ZERO);
        let mut deltas = [T::ZERO; ROWS];
        for (r, delta) in deltas.iter_mut().enumerate().take(rows) {
            let y = &output[start + r * features..][..width];
            let dy = &dy[r * padded..][..width];
            *delta = small::sum(width, |i| y[i] * dy[i]);
        }
        deltas
    }

    /// Adds the contributions of a tile to the sums of all gradients.
    fn add_tile(&mut self, tile: Tile, deltas: &[T; ROWS]) {
        let Tile { rows, key, columns, .. } = tile;
        let padded = self.head.sizes.padded;
        let span = key * padded..(key + columns) * padded;
        self.recompute_weights(tile);
        if self.needs_logits() {
            self.compute_grad_logits(tile, deltas);
        }
        if self.wanted[2] {
            if self.dropout.is_some() {
                self.drop_weights(tile);
            }
            let Buffers { weights, grad_output, sum_v, .. } = &mut self.buffers;
            add_transposed(tile, padded, weights, grad_output, &mut sum_v[span.clone()]);
        }
        let Buffers { grad_weights, k, q, sum_k, sum_q, .. } = &mut self.buffers;
        if self.wanted[1] {
            add_transposed(tile, padded, grad_weights, q, &mut sum_k[span.clone()]);
        }
        if self.wanted[0] {
            serial(
                View::new(grad_weights, [rows, columns], (COLUMNS, 1)),
                View::dense(&k[span], columns, padded),
                sum_q,
                padded,
                true,
            );
        }
    }

    /// weights = e^(logit - log-sum-exp), and the factors of dropout.
    fn recompute_weights(&mut self, tile: Tile) {
        let Tile { first, rows, key, columns } = tile;
        let Sizes { head: width, padded, .. } = self.head.sizes;
        let first_row = self.head.row(first);
        let Gradients { sources: Sources { log_sums, .. }, scale, dropout, buffers, .. } = self;
        let Buffers { q, packed_k, weights, factors, .. } = buffers;
        small::product_packed(rows, width, q, padded, packed_k, key, columns, weights, COLUMNS);
        simd::vectorised(
            #[inline(always)]
            || {
                let scale = *scale;
                for r in 0..rows {
                    let log_sum = log_sums[first_row + r];
                    for w in &mut weights[tile.row(r)] {
                        *w = math::exp(*w * scale - log_sum);
                    }
                }
                if let Some(dropout) = dropout {
                    for r in 0..rows {
                        dropout.factors(first_row + r, key, &mut factors[tile.row(r)]);
                    }
                }
            },
        );
    }

    /// grad_weights = weight · (gradient of the weight - delta) · scale: the gradients of the dot products.
    fn compute_grad_logits(&mut self, tile: Tile, deltas: &[T; ROWS]) {
        let Tile { rows, key, columns, .. } = tile;
        let Sizes { head: width, padded, .. } = self.head.sizes;
        let Gradients { scale, dropout, buffers, .. } = self;
        let Buffers { packed_v, weights, grad_weights, factors, grad_output: dy, .. } = buffers;
        small::product_packed(
            rows,
            width,
            dy,
            padded,
            packed_v,
            key,
            columns,
            grad_weights,
            COLUMNS,
        );
        simd::vectorised(
            #[inline(always)]
            || {
                let scale = *scale;
                for (r, &delta) in deltas.iter().enumerate().take(rows) {
                    let grads = &mut grad_weights[tile.row(r)];
                    if dropout.is_some() {
                        for (g, &f) in grads.iter_mut().zip(&factors[tile.row(r)]) {
                            *g *= f;
                        }
                    }
                    for (g, &w) in grads.iter_mut().zip(&weights[tile.row(r)]) {
                        *g = w * (*g - delta) * scale;
                    }
                }
            },
        );
    }

    /// Multiplies the weights with the factors of dropout.
    fn drop_weights(&mut self, tile: Tile) {
        let Buffers { weights, factors, .. } = &mut self.buffers;
        simd::vectorised(
            #[inline(always)]
            || {
                for r in 0..tile.rows {
                    for (w, &f) in weights[tile.row(r)].iter_mut().zip(&factors[tile.row(r)]) {
                        *w *= f;
                    }
                }
            },
        );
    }
}

/// sums += leftᵀ · right, a sum over the queries of a tile.
fn add_transposed<T: Float>(tile: Tile, padded: usize, left: &[T], right: &[T], sums: &mut [T]) {
    serial(
        View::new(left, [tile.columns, tile.rows], (1, COLUMNS)),
        View::dense(right, tile.rows, padded),
        sums,
        padded,
        true,
    );
}
