//! InfoNCE on the CPU. Logits are computed in blocks of at most [`ROWS`] rows by [`COLUMNS`] columns with the matrix
//! product of linear layers. Memory is linear in the batch size: the forward pass saves log-sum-exps only, the
//! backward pass recomputes the logits. Both passes compute each block once for both directions of a pair.
//!
//! The rows of a block are normalised first, so that no dot product is larger than the longest embedding. The columns
//! are not; the elementwise pass over the block multiplies with their reciprocal norms.

mod backward;
mod forward;

pub(super) use backward::backward;
pub(super) use forward::forward;

use super::{Denominator, InfoNce, Reduction};
use crate::cpu::gemm::{Target, View, product, serial};
use crate::cpu::small;
use crate::cpu::{parallel, scratch, simd};
use crate::{Float, Shape};
use std::ops::Range;

/// The most rows of a block. The columns are packed again for each block, which costs a few percent.
const ROWS: usize = 1024;
/// The most columns of a block.
const COLUMNS: usize = 1024;
/// Rows of a task of the elementwise pass: their logits stay in L2.
const STRIP: usize = 64;
/// Strips of a block.
const STRIPS: usize = ROWS / STRIP;
/// Embeddings with a norm below this count as zero.
const SHORTEST: f64 = 1e-12;

/// The sizes and settings of a call.
struct Geometry<'a> {
    op: InfoNce,
    modalities: usize,
    /// Rows of an embedding: samples times views.
    rows: usize,
    samples: usize,
    features: usize,
    present: Option<&'a [u32]>,
    /// The upper bound of all logits, if e^(lowest - highest) is far above f32's subnormal numbers. Then it is
    /// subtracted from every logit, and sums of exponentials need no running maximum.
    highest: Option<f64>,
}

impl<'a> Geometry<'a> {
    fn new(op: InfoNce, shapes: &[Shape], indices: &[&'a [u32]]) -> Self {
        let (rows, features) = (shapes[0][0], shapes[0][1]);
        Geometry {
            op,
            modalities: shapes.len(),
            rows,
            samples: rows / op.views(),
            features,
            present: op.masked.then(|| indices[0]),
            highest: (op.temperature >= 0.025).then(|| 1.0 / op.temperature),
        }
    }

    /// Whether both modalities of the row's sample are present.
    fn valid(&self, m: usize, n: usize, row: usize) -> bool {
        let sample = row % self.samples;
        let has = |present: &[u32], m: usize| present[m * self.samples + sample] != 0;
        self.present.is_none_or(|present| has(present, m) && has(present, n))
    }

    /// The unordered pairs with enough samples, and their number of rows.
    fn pairs(&self) -> Vec<(usize, usize, usize)> {
        let all = (0..self.modalities).flat_map(|m| (m + 1..self.modalities).map(move |n| (m, n)));
        let counted =
            all.map(|(m, n)| (m, n, (0..self.rows).filter(|&row| self.valid(m, n, row)).count()));
        counted.filter(|&(_, _, rows)| rows >= 2 * self.op.views()).collect()
    }

    /// The index of an ordered pair in the saved log-sum-exps.
    fn ordered(&self, m: usize, n: usize) -> usize {
        m * (self.modalities - 1) + if n < m { n } else { n - 1 }
    }

    /// Whether a pair is one task; then `serial` products are faster than packed ones.
    fn tiny(&self) -> bool {
        self.rows <= STRIP
    }

    /// Splits the rows into even ranges of at most `most` rows.
    fn blocks(&self, most: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, count) = (self.rows, self.rows.div_ceil(most));
        (0..count).map(move |block| block * rows / count..(block + 1) * rows / count)
    }

    /// The column of the positive of a row, and the row of the positive of a column.
    fn positive(&self, row: usize) -> usize {
        match self.op.denominator {
            Denominator::Authors { .. } => (row + self.samples) % self.rows,
            _ => row,
        }
    }

    /// Whether the log-sum-exp of row i excludes column i.
    fn leaves_out_diagonal(&self) -> bool {
        self.op.denominator != Denominator::IncludePositive
    }

    /// The weight of a row's loss in the loss of a pair with `pair_rows` rows.
    fn row_weight(&self, pair_rows: usize) -> f64 {
        let half = self.op.denominator == (Denominator::Authors { half: true });
        let halved = if half { 0.5 } else { 1.0 };
        match self.op.reduction {
            Reduction::Mean => halved / pair_rows as f64,
            Reduction::Sum => halved,
        }
    }
}

/// The reciprocal norm of each row; 0 for a norm below [`SHORTEST`].
fn inverse_lengths<T: Float>(geometry: &Geometry<'_>, inputs: &[&[T]], inverse: &mut [T]) {
    let features = geometry.features;
    for (x, inverse) in inputs.iter().zip(inverse.chunks_exact_mut(geometry.rows)) {
        parallel::rows(inverse, 1, features, |first, inverse| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (r, inverse) in inverse.iter_mut().enumerate() {
                        let x = &x[(first + r) * features..][..features];
                        let length = small::sum(features, |i| x[i].to_f64() * x[i].to_f64()).sqrt();
                        *inverse = T::from_f64(if length < SHORTEST { 0.0 } else { 1.0 / length });
                    }
                },
            );
        });
    }
}

/// c = a·b or c += a·b with row stride `ldc`, on the calling thread or on all threads.
fn multiply<T: Float>(
    tiny: bool,
    a: View<'_, T>,
    b: View<'_, T>,
    c: &mut [T],
    ldc: usize,
    add: bool,
) {
    if tiny {
        serial(a, b, c, ldc, add);
    } else {
        product(&a, &b, &Target::new(c, add), &|row| row * ldc);
    }
}

/// A row stride of an odd number of cache lines, so that rows map to different cache sets.
fn odd(numbers: usize) -> usize {
    numbers.next_multiple_of(small::PAD) | small::PAD
}

/// A modality's embeddings: the rows, not normalised, and their reciprocal norms.
#[derive(Clone, Copy)]
struct Embeddings<'a, T> {
    rows: &'a [T],
    inverse: &'a [T],
}

/// Two modalities whose logits are computed: the left one gives the rows, the right one the columns.
struct Pair<'a, T> {
    geometry: &'a Geometry<'a>,
    places: [usize; 2],
    sides: [Embeddings<'a, T>; 2],
}

/// The operands of a block of logits.
struct Block<'a, T> {
    pair: &'a Pair<'a, T>,
    rows: Range<usize>,
    columns: Range<usize>,
    /// The block's normalised rows, at stride `unit_row`.
    unit: &'a [T],
    unit_row: usize,
    /// The factor of each column's dot products, and the bias added after it: negative infinity for an excluded
    /// column.
    scale: &'a [T],
    bias: &'a [T],
    /// Row stride of the block.
    stride: usize,
}

impl<'a, T: Float> Pair<'a, T> {
    fn new(
        geometry: &'a Geometry<'a>,
        inputs: &[&'a [T]],
        inverse: &'a [T],
        places: [usize; 2],
    ) -> Self {
        let rows = geometry.rows;
        let of = |m: usize| Embeddings { rows: inputs[m], inverse: &inverse[m * rows..][..rows] };
        Pair { geometry, places, sides: places.map(of) }
    }

    fn valid(&self, row: usize) -> bool {
        self.geometry.valid(self.places[0], self.places[1], row)
    }

    /// Calls the body with each block and its dot products of normalised rows and original columns: all columns for
    /// some rows, then for the next rows.
    fn blocks(&self, mut body: impl FnMut(&Block<'_, T>, &mut [T])) {
        let (geometry, [left, right]) = (self.geometry, self.sides);
        let features = geometry.features;
        let (unit_row, stride) = (odd(features), odd(geometry.rows.min(COLUMNS)));
        let most = geometry.rows.min(ROWS);
        let lengths = [geometry.rows, geometry.rows, most * unit_row, most * stride];
        scratch::with::<T, _>(lengths.iter().sum(), |memory| {
            let (scale, memory) = memory.split_at_mut(lengths[0]);
            let (bias, memory) = memory.split_at_mut(lengths[1]);
            let (unit, dots) = memory.split_at_mut(lengths[2]);
            let sharpness = T::from_f64(1.0 / geometry.op.temperature);
            for (column, (scale, bias)) in scale.iter_mut().zip(&mut *bias).enumerate() {
                *scale = right.inverse[column] * sharpness;
                *bias = if self.valid(column) { T::ZERO } else { T::NEG_INFINITY };
            }
            for rows in geometry.blocks(ROWS) {
                left.unit(rows.clone(), features, &mut unit[..rows.len() * unit_row], unit_row);
                for columns in geometry.blocks(COLUMNS) {
                    let y = &right.rows[columns.start * features..columns.end * features];
                    let unit_rows = View::new(unit, [rows.len(), features], (unit_row, 1));
                    let y = View::dense(y, columns.len(), features).transposed();
                    multiply(geometry.tiny(), unit_rows, y, dots, stride, false);
                    let block = Block {
                        pair: self,
                        rows: rows.clone(),
                        columns: columns.clone(),
                        unit,
                        unit_row,
                        scale: &scale[columns.clone()],
                        bias: &bias[columns.clone()],
                        stride,
                    };
                    body(&block, &mut dots[..rows.len() * stride]);
                }
            }
        });
    }
}

impl<T: Float> Embeddings<'_, T> {
    /// Writes the normalised rows.
    fn unit(&self, rows: Range<usize>, features: usize, unit: &mut [T], unit_row: usize) {
        parallel::rows(unit, unit_row, features, |first, unit| {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (row, unit) in (rows.start + first..).zip(unit.chunks_exact_mut(unit_row)) {
                        let inverse = self.inverse[row];
                        for (u, &x) in unit.iter_mut().zip(&self.rows[row * features..][..features])
                        {
                            *u = x * inverse;
                        }
                    }
                },
            );
        });
    }
}

impl<T: Float> Block<'_, T> {
    /// Calls the body with each strip of the dot products: its index, its rows in the batch, and its part.
    fn strips(&self, dots: &mut [T], body: impl Fn(usize, Range<usize>, &mut [T]) + Sync) {
        let (rows, dots) = (self.rows.clone(), parallel::Shared::new(dots));
        parallel::tasks(rows.len().div_ceil(STRIP), |strip| {
            let strip_rows =
                rows.start + strip * STRIP..rows.end.min(rows.start + (strip + 1) * STRIP);
            let (start, length) = (strip * STRIP * self.stride, strip_rows.len() * self.stride);
            // SAFETY: each strip has its own rows.
            body(strip, strip_rows, unsafe { dots.part(start, length) });
        });
    }

    /// Replaces a row's dot products by logits, negative infinity for excluded columns, and returns its positive
    /// logit if it is in the block.
    fn logits(&self, row: usize, dots: &mut [T]) -> Option<T> {
        let geometry = self.pair.geometry;
        if !self.pair.valid(row) {
            dots.fill(T::NEG_INFINITY);
            return None;
        }
        simd::vectorised(
            #[inline(always)]
            || {
                for ((s, &scale), &bias) in dots.iter_mut().zip(self.scale).zip(self.bias) {
                    *s = *s * scale + bias;
                }
            },
        );
        let positive = self.inside(geometry.positive(row)).map(|column| dots[column]);
        if geometry.leaves_out_diagonal()
            && let Some(column) = self.inside(row)
        {
            dots[column] = T::NEG_INFINITY;
        }
        positive
    }

    /// The index in the block of a column of the batch.
    fn inside(&self, column: usize) -> Option<usize> {
        self.columns.contains(&column).then(|| column - self.columns.start)
    }
}
