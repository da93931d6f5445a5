//! Logits come in tiles of [`ROWS`] rows by [`COLUMNS`] columns, which with their embeddings stay in L2. Nothing that
//! grows with the square of the batch is ever stored: forward keeps log-sums alone, backward computes the logits again.
//!
//! Both passes take each tile once for both directions of a pair. In [`forward`] the log-sums of columns are partial
//! ones of a fixed number of row groups, merged in order. In [`backward`] rows and columns are cut into equally many
//! blocks; the tasks of a round have different blocks of both, so that each adds to gradients of its own, and the rounds
//! follow each other in a fixed order.

mod backward;
mod forward;

pub(super) use backward::backward;
pub(super) use forward::forward;

use super::{Denominator, InfoNce, Reduction};
use crate::cpu::small::{self, WIDE_PANEL};
use crate::cpu::{parallel, simd};
use crate::{Float, Shape};

/// Rows of a tile: whole tiles of registers.
const ROWS: usize = 48;
/// Columns of a tile: whole panels of packed columns.
const COLUMNS: usize = 2 * WIDE_PANEL;
/// Rows and columns below which a group or a block would spend its time packing.
const FEWEST: usize = 128;
/// The most groups of rows in forward, and the most blocks of rows and of columns in backward.
const GROUPS: usize = 16;
/// Embeddings shorter than this count as zero.
const SHORTEST: f64 = 1e-12;

/// A call's sizes and rules, without its numbers.
struct Geometry<'a> {
    op: InfoNce,
    modalities: usize,
    /// Rows of an embedding: samples times views.
    rows: usize,
    samples: usize,
    features: usize,
    /// Distance of two rows of unit embeddings: whole vectors, and off the powers of two that share cache sets.
    stride: usize,
    present: Option<&'a [u32]>,
    /// The highest logit there can be, where e^(lowest - highest) is still a normal number of f32 by far: then it
    /// is subtracted from every logit, and sums of exponentials need no running maximum.
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
            stride: small::padded(features) + small::PAD,
            present: op.masked.then(|| indices[0]),
            highest: (op.temperature >= 0.025).then(|| 1.0 / op.temperature),
        }
    }

    /// Whether a row is of a sample that both modalities have.
    fn valid(&self, m: usize, n: usize, row: usize) -> bool {
        let sample = row % self.samples;
        let has = |present: &[u32], m: usize| present[m * self.samples + sample] != 0;
        self.present.is_none_or(|present| has(present, m) && has(present, n))
    }

    /// How many rows a pair has, or none if it is left out.
    fn pair_rows(&self, m: usize, n: usize) -> Option<usize> {
        let rows = (0..self.rows).filter(|&row| self.valid(m, n, row)).count();
        (rows >= 2 * self.op.views()).then_some(rows)
    }

    /// The unordered pairs with their numbers of rows.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize, Option<usize>)> + '_ {
        (0..self.modalities)
            .flat_map(move |m| (m + 1..self.modalities).map(move |n| (m, n, self.pair_rows(m, n))))
    }

    /// Where an ordered pair stands in the saved log-sums.
    fn ordered(&self, m: usize, n: usize) -> usize {
        m * (self.modalities - 1) + if n < m { n } else { n - 1 }
    }

    /// How many groups of rows make tasks: a power of two that follows from the rows alone.
    fn groups(&self) -> usize {
        let groups = (self.rows / FEWEST).clamp(1, GROUPS);
        1 << groups.ilog2()
    }

    /// The rows of a group.
    fn group(&self, group: usize) -> std::ops::Range<usize> {
        let groups = self.groups();
        group * self.rows / groups..(group + 1) * self.rows / groups
    }

    /// The column of the positive of a row, and the row of the positive of a column.
    fn positive(&self, row: usize) -> usize {
        match self.op.denominator {
            Denominator::Authors { .. } => (row + self.samples) % self.rows,
            _ => row,
        }
    }

    /// Whether a row's log-sum leaves out the column of the same number.
    fn leaves_out_diagonal(&self) -> bool {
        self.op.denominator != Denominator::IncludePositive
    }

    /// What the loss of a row counts in the loss of a pair with so many rows.
    fn row_weight(&self, pair_rows: usize) -> f64 {
        let half = self.op.denominator == (Denominator::Authors { half: true });
        let halved = if half { 0.5 } else { 1.0 };
        match self.op.reduction {
            Reduction::Mean => halved / pair_rows as f64,
            Reduction::Sum => halved,
        }
    }

    /// 0 for the columns of a pair from `first` on, negative infinity for others and for what fills up a tile.
    fn column_bias<T: Float>(&self, m: usize, n: usize, first: usize, bias: &mut [T]) {
        for (column, bias) in (first..).zip(bias) {
            let valid = column < self.rows && self.valid(m, n, column);
            *bias = if valid { T::ZERO } else { T::NEG_INFINITY };
        }
    }
}

/// The reciprocal length of each row, 0 for one that is too short to have a direction.
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

/// A modality's embeddings: the rows as they came, and their reciprocal lengths.
#[derive(Clone, Copy)]
struct Embeddings<'a, T> {
    rows: &'a [T],
    inverse: &'a [T],
}

impl<'a, T: Float> Embeddings<'a, T> {
    fn new(geometry: &Geometry<'_>, inputs: &[&'a [T]], inverse: &'a [T], m: usize) -> Self {
        Embeddings { rows: inputs[m], inverse: &inverse[m * geometry.rows..][..geometry.rows] }
    }

    /// Unit embeddings of some rows, in rows of the geometry's stride.
    fn unit(&self, geometry: &Geometry<'_>, first: usize, count: usize, unit: &mut [T]) {
        let (features, stride) = (geometry.features, geometry.stride);
        simd::vectorised(
            #[inline(always)]
            || {
                for (row, unit) in unit.chunks_exact_mut(stride).take(count).enumerate() {
                    let x = &self.rows[(first + row) * features..][..features];
                    let inverse = self.inverse[first + row];
                    let (used, rest) = unit.split_at_mut(features);
                    for (u, &x) in used.iter_mut().zip(x) {
                        *u = x * inverse;
                    }
                    rest.fill(T::ZERO);
                }
            },
        );
    }

    /// The unit embeddings of some columns, and packed for [`logits`].
    fn columns(
        &self,
        geometry: &Geometry<'_>,
        first: usize,
        count: usize,
        unit: &mut [T],
        packed: &mut [T],
    ) {
        self.unit(geometry, first, count, unit);
        let packed = &mut packed[..small::packed_len::<WIDE_PANEL>(count, geometry.features)];
        small::pack_transposed::<_, WIDE_PANEL>(
            count,
            geometry.features,
            unit,
            geometry.stride,
            packed,
        );
    }
}

/// A tile of logits: rows of modality `m` against columns of modality `n`.
#[derive(Clone, Copy)]
struct Tile {
    m: usize,
    n: usize,
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

impl Tile {
    /// Computes the logits in rows of [`COLUMNS`]; excluded ones are negative infinity. `bias` is that of the tile's
    /// columns. `positives` gets those of the tile's rows whose positive is among the columns.
    fn logits<T: Float>(
        self,
        geometry: &Geometry<'_>,
        (unit, packed): (&[T], &[T]),
        bias: &[T],
        tile: &mut [T],
        positives: &mut [T],
    ) {
        let Tile { m, n, row, rows, column, columns } = self;
        let (features, stride) = (geometry.features, geometry.stride);
        small::product_packed::<_, WIDE_PANEL>(
            rows, features, unit, stride, packed, 0, columns, tile, COLUMNS,
        );
        let scale = T::from_f64(1.0 / geometry.op.temperature);
        let width = columns.next_multiple_of(WIDE_PANEL);
        simd::vectorised(
            #[inline(always)]
            || {
                for tile in tile.chunks_exact_mut(COLUMNS).take(rows) {
                    let (used, rest) = tile.split_at_mut(width);
                    for (s, &b) in used.iter_mut().zip(bias) {
                        *s = *s * scale + b;
                    }
                    rest.fill(T::NEG_INFINITY);
                }
            },
        );
        for (r, tile) in tile.chunks_exact_mut(COLUMNS).take(rows).enumerate() {
            let row = row + r;
            if !geometry.valid(m, n, row) {
                tile.fill(T::NEG_INFINITY);
                positives[r] = T::ZERO;
                continue;
            }
            let inside = |at: &usize| *at < columns;
            if let Some(p) = geometry.positive(row).checked_sub(column).filter(inside) {
                positives[r] = tile[p];
            }
            if geometry.leaves_out_diagonal()
                && let Some(d) = row.checked_sub(column).filter(inside)
            {
                tile[d] = T::NEG_INFINITY;
            }
        }
    }
}
