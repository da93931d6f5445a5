//! Attention on the CPU, one task for each sample and head. Tiles of [`ROWS`] queries by [`COLUMNS`] keys stay in the
//! cache: the forward pass keeps a running maximum and sum for each query, the backward pass recomputes the weights
//! from the log-sum-exps.

mod backward;
mod forward;

use super::Attention;
use crate::Float;
use crate::cpu::small::{self, PANEL};
use crate::{Shape, philox::Philox};

pub(super) use backward::backward;
pub(super) use forward::forward;

/// Queries of a tile.
const ROWS: usize = 32;
/// Keys of a tile.
const COLUMNS: usize = 8 * PANEL;

/// The sizes of a call.
#[derive(Clone, Copy)]
struct Sizes {
    samples: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    /// Features of all heads: the row stride of inputs and output.
    features: usize,
    /// E: features of a head.
    head: usize,
    /// E, padded to whole vectors.
    padded: usize,
}

impl Sizes {
    fn new(op: &Attention, shapes: &[Shape]) -> Self {
        let (features, head) = (shapes[0][2], shapes[0][2] / op.heads);
        Sizes {
            samples: shapes[0][0],
            heads: op.heads,
            queries: shapes[0][1],
            keys: shapes[1][1],
            features,
            head,
            padded: small::padded(head),
        }
    }
}

/// One head of one sample: the work of a task.
#[derive(Clone, Copy)]
struct Head {
    sizes: Sizes,
    /// Index over samples and heads.
    task: usize,
    /// Offset of the first query in queries, output and their gradients.
    first_query: usize,
    /// Offset of the first key in keys, values and their gradients.
    first_key: usize,
    /// The valid keys, from the first.
    length: usize,
}

impl Head {
    fn new(op: &Attention, sizes: Sizes, indices: &[&[u32]], task: usize) -> Self {
        let (sample, head) = (task / sizes.heads, task % sizes.heads);
        let feature = head * sizes.head;
        Head {
            sizes,
            task,
            first_query: sample * sizes.queries * sizes.features + feature,
            first_key: sample * sizes.keys * sizes.features + feature,
            length: if op.masked {
                sizes.keys.min(indices[0][sample] as usize)
            } else {
                sizes.keys
            },
        }
    }

    /// The offset of a query's features.
    fn query(&self, query: usize) -> usize {
        self.first_query + query * self.sizes.features
    }

    /// Index of a query over samples, heads and queries.
    fn row(&self, query: usize) -> usize {
        self.task * self.sizes.queries + query
    }
}

/// Dropout of the weights.
#[derive(Clone, Copy)]
struct Dropout {
    stream: Philox,
    /// A weight is dropped where its random word is below this.
    below: u32,
    /// The factor of weights that are not dropped.
    kept: f64,
    keys: usize,
}

impl Dropout {
    fn new(op: &Attention, keys: usize) -> Option<Self> {
        (op.dropout > 0.0).then(|| Dropout {
            stream: op.stream,
            below: (op.dropout * 4_294_967_296.0) as u32,
            kept: 1.0 / (1.0 - op.dropout),
            keys,
        })
    }

    /// The factors of the weights of query `row`, an index over samples, heads and queries, from key `first` on.
    /// `first` must be a multiple of 4, the length of `factors` one of whole vectors.
    #[inline(always)]
    fn factors<T: Float>(&self, row: usize, first: usize, factors: &mut [T]) {
        const SIDE: usize = small::PAD / 4;
        let kept = T::from_f64(self.kept);
        let start = (row * self.keys.div_ceil(4) + first / 4) as u64;
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
