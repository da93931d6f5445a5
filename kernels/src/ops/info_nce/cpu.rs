//! Logits come in tiles of [`ROWS`] rows by [`COLUMNS`] columns that stay in cache. Forward takes each tile once for
//! both directions of a pair; the columns' log-sums are partial ones of a fixed number of row groups, merged
//! in order. Backward gives each block of rows of one modality to one task, which runs through all
//! other modalities and writes its gradient once: twice the logits, but no partial gradients.

use super::{Denominator, InfoNce, Reduction};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::small::{self, Product};
use crate::cpu::{scratch, simd};
use crate::op::{Backward, Forward, Gradient};
use crate::{Float, Shape};

/// Rows of a tile.
const ROWS: usize = 32;
/// Columns of a tile: whole panels of packed columns.
const COLUMNS: usize = 16 * small::PANEL;
/// The most groups of row tiles that a pair is split into, each with its own partial log-sums of columns.
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
        }
    }

    fn packed_len(&self) -> usize {
        small::packed_len(self.rows, self.features)
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

    /// 0 for the columns of a pair, negative infinity for others and for what fills up the last panel.
    fn column_bias<T: Float>(&self, m: usize, n: usize, bias: &mut [T]) {
        for (column, bias) in bias.iter_mut().enumerate() {
            let valid = column < self.rows && self.valid(m, n, column);
            *bias = if valid { T::ZERO } else { T::NEG_INFINITY };
        }
    }
}

/// The unit embeddings of all modalities.
struct Unit<'a, T> {
    /// `[M][rows][stride]`.
    rows: &'a [T],
    /// `[M]` of packed columns; empty where not asked for.
    packed: &'a [T],
}

impl<T: Float> Unit<'_, T> {
    fn rows(&self, geometry: &Geometry<'_>, m: usize, first: usize) -> &[T] {
        &self.rows[(m * geometry.rows + first) * geometry.stride..]
    }

    fn packed(&self, geometry: &Geometry<'_>, m: usize) -> &[T] {
        &self.packed[m * geometry.packed_len()..(m + 1) * geometry.packed_len()]
    }

    /// The logits of a tile of rows of `m` with columns of `n`; excluded ones are negative infinity. `positives` gets those
    /// of the tile's rows whose positive is among the columns.
    #[allow(clippy::too_many_arguments, reason = "a tile and its two places")]
    fn logits(
        &self,
        geometry: &Geometry<'_>,
        (m, first_row, rows): (usize, usize, usize),
        (n, first_column, columns): (usize, usize, usize),
        bias: &[T],
        tile: &mut [T],
        positives: &mut [T],
    ) {
        small::product_packed(
            rows,
            geometry.features,
            self.rows(geometry, m, first_row),
            geometry.stride,
            self.packed(geometry, n),
            first_column,
            columns,
            tile,
            COLUMNS,
        );
        let scale = T::from_f64(1.0 / geometry.op.temperature);
        let width = columns.next_multiple_of(small::PANEL);
        for (r, tile) in tile.chunks_exact_mut(COLUMNS).take(rows).enumerate() {
            let tile = &mut tile[..width];
            let row = first_row + r;
            if !geometry.valid(m, n, row) {
                tile.fill(T::NEG_INFINITY);
                positives[r] = T::ZERO;
                continue;
            }
            simd::vectorised(|| {
                for (s, &b) in tile.iter_mut().zip(&bias[first_column..]) {
                    *s = *s * scale + b;
                }
            });
            if let Some(p) =
                geometry.positive(row).checked_sub(first_column).filter(|&p| p < columns)
            {
                positives[r] = tile[p];
            }
            if geometry.leaves_out_diagonal()
                && let Some(d) = row.checked_sub(first_column).filter(|&d| d < columns)
            {
                tile[d] = T::NEG_INFINITY;
            }
        }
    }
}

/// Lends the body the unit embeddings.
fn with_unit<T: Float, R>(
    geometry: &Geometry<'_>,
    inputs: &[&[T]],
    inverse_lengths: &[T],
    body: impl FnOnce(Unit<'_, T>) -> R,
) -> R {
    let (rows, features, stride) = (geometry.rows, geometry.features, geometry.stride);
    let padded_rows = rows.next_multiple_of(small::PANEL);
    scratch::with::<T, _>(geometry.modalities * rows * stride, |unit| {
        scratch::with::<T, _>(geometry.modalities * padded_rows * features, |packed| {
            let (shared_unit, shared_packed) = (Shared::new(unit), Shared::new(packed));
            let panels = padded_rows / small::PANEL;
            parallel::tasks(geometry.modalities * panels, |task| {
                let (m, panel) = (task / panels, task % panels);
                let first = panel * small::PANEL;
                let count = (rows - first).min(small::PANEL);
                // SAFETY: each task has its own rows and its own panel.
                let (unit, packed) = unsafe {
                    (
                        shared_unit.part((m * rows + first) * stride, count * stride),
                        shared_packed.part(task * small::PANEL * features, small::PANEL * features),
                    )
                };
                simd::vectorised(|| {
                    for (r, unit) in unit.chunks_exact_mut(stride).enumerate() {
                        let x = &inputs[m][(first + r) * features..][..features];
                        let inverse = inverse_lengths[m * rows + first + r];
                        for (u, &x) in unit.iter_mut().zip(x) {
                            *u = x * inverse;
                        }
                        unit[features..].fill(T::ZERO);
                    }
                    small::pack_transposed(count, features, unit, stride, packed);
                });
            });
            body(Unit { rows: unit, packed })
        })
    })
}

/// The reciprocal length of each row, 0 for one that is too short to have a direction.
fn inverse_lengths<T: Float>(geometry: &Geometry<'_>, inputs: &[&[T]], inverse: &mut [T]) {
    let features = geometry.features;
    for (x, inverse) in inputs.iter().zip(inverse.chunks_exact_mut(geometry.rows)) {
        parallel::rows(inverse, 1, features, |first, inverse| {
            simd::vectorised(|| {
                for (r, inverse) in inverse.iter_mut().enumerate() {
                    let x = &x[(first + r) * features..][..features];
                    let length = small::sum(features, |i| x[i].to_f64() * x[i].to_f64()).sqrt();
                    *inverse = T::from_f64(if length < SHORTEST { 0.0 } else { 1.0 / length });
                }
            });
        });
    }
}

pub(super) fn forward<T: Float>(op: &InfoNce, call: Forward<'_, T>) {
    let geometry = Geometry::new(*op, call.shapes, call.indices);
    let [inverse, log_sums, losses] = call.saved else { return };
    inverse_lengths(&geometry, call.inputs, inverse);
    log_sums.fill(T::ZERO);
    losses.fill(T::ZERO);
    let (rows, modalities) = (geometry.rows, geometry.modalities);
    let pairs: Vec<_> = geometry.pairs().filter(|(_, _, count)| count.is_some()).collect();
    let tiles = rows.div_ceil(ROWS);
    let groups = tiles.min(GROUPS);
    // Positives of the rows, and of the columns the partial maxima and sums of each group.
    let a_pair = rows * (1 + 2 * groups);
    with_unit(&geometry, call.inputs, inverse, |unit| {
        scratch::with::<T, _>(pairs.len() * a_pair, |state| {
            let (shared_state, shared_sums) = (Shared::new(state), Shared::new(log_sums));
            parallel::tasks(pairs.len() * groups, |task| {
                let (pair, group) = (task / groups, task % groups);
                let (m, n, _) = pairs[pair];
                let span =
                    group * tiles / groups * ROWS..rows.min((group + 1) * tiles / groups * ROWS);
                let start = pair * a_pair;
                // SAFETY: rows of a pair belong to one group, and each group has its own partial sums.
                let (positives, column_max, column_sum, row_sums) = unsafe {
                    (
                        shared_state.part(start + span.start, span.len()),
                        shared_state.part(start + (1 + group) * rows, rows),
                        shared_state.part(start + (1 + groups + group) * rows, rows),
                        shared_sums.part(geometry.ordered(m, n) * rows + span.start, span.len()),
                    )
                };
                rows_of_a_group(
                    &geometry,
                    &unit,
                    (m, n),
                    span.start,
                    positives,
                    row_sums,
                    (column_max, column_sum),
                );
            });
            for (&(m, n, count), state) in pairs.iter().zip(state.chunks_exact(a_pair)) {
                let (positives, partial) = state.split_at(rows);
                let (maxima, sums) = partial.split_at(groups * rows);
                let column_sums = &mut log_sums[geometry.ordered(n, m) * rows..][..rows];
                simd::vectorised(|| merge_groups(rows, maxima, sums, column_sums));
                let weight = geometry.row_weight(count.unwrap_or(1));
                for (m, n) in [(m, n), (n, m)] {
                    let log_sums = &mut log_sums[geometry.ordered(m, n) * rows..][..rows];
                    let mut loss = 0.0;
                    for (row, log_sum) in log_sums.iter_mut().enumerate() {
                        if geometry.valid(m, n, row) {
                            // The positive of a column is that of the row it is the positive of.
                            let own = if m < n { row } else { geometry.positive(row) };
                            loss += log_sum.to_f64() - positives[own].to_f64();
                        } else {
                            *log_sum = T::ZERO;
                        }
                    }
                    losses[m * modalities + n] = T::from_f64(loss * weight);
                }
            }
        });
    });
    let total: f64 = losses.iter().map(|loss| loss.to_f64()).sum();
    call.output[0] = T::from_f64(total / (2 * pairs.len()).max(1) as f64);
}

/// The tiles of a group of rows, all columns: positives and log-sums of its rows, partial log-sums of the columns.
fn rows_of_a_group<T: Float>(
    geometry: &Geometry<'_>,
    unit: &Unit<'_, T>,
    (m, n): (usize, usize),
    first: usize,
    positives: &mut [T],
    row_sums: &mut [T],
    (column_max, column_sum): (&mut [T], &mut [T]),
) {
    let padded = geometry.rows.next_multiple_of(small::PANEL);
    column_max.fill(T::NEG_INFINITY);
    column_sum.fill(T::ZERO);
    scratch::with::<T, _>(padded + ROWS * COLUMNS + COLUMNS, |memory| {
        let (bias, memory) = memory.split_at_mut(padded);
        let (tile, shifts) = memory.split_at_mut(ROWS * COLUMNS);
        geometry.column_bias(m, n, bias);
        let chunks = positives.chunks_mut(ROWS).zip(row_sums.chunks_mut(ROWS));
        for (t, (positives, row_sums)) in chunks.enumerate() {
            let rows = positives.len();
            let mut maxima = [T::NEG_INFINITY; ROWS];
            let mut sums = [T::ZERO; ROWS];
            for column in (0..geometry.rows).step_by(COLUMNS) {
                let columns = (geometry.rows - column).min(COLUMNS);
                let place = (m, first + t * ROWS, rows);
                unit.logits(geometry, place, (n, column, columns), bias, tile, positives);
                let tile = &tile[..rows * COLUMNS];
                simd::vectorised(|| {
                    for ((row, max), sum) in
                        tile.chunks_exact(COLUMNS).zip(&mut maxima).zip(&mut sums)
                    {
                        merge_row(&row[..columns], max, sum);
                    }
                    merge_columns(
                        tile,
                        &mut column_max[column..column + columns],
                        &mut column_sum[column..column + columns],
                        shifts,
                    );
                });
            }
            for (log_sum, (max, sum)) in row_sums.iter_mut().zip(maxima.into_iter().zip(sums)) {
                *log_sum = max + sum.ln();
            }
        }
    });
}

/// Takes more logits of one row into its running maximum and sum of exponentials.
#[inline(always)]
fn merge_row<T: Float>(logits: &[T], max: &mut T, sum: &mut T) {
    let largest = small::max(logits);
    let new = if largest > *max { largest } else { *max };
    let shift = if new == T::NEG_INFINITY { T::ZERO } else { new };
    let more = small::sum(logits.len(), |j| small::exp(logits[j] - shift));
    *sum = *sum * small::exp(*max - shift) + more;
    *max = new;
}

/// Takes more rows of logits into the running maximum and sum of each column.
#[inline(always)]
fn merge_columns<T: Float>(tile: &[T], maxima: &mut [T], sums: &mut [T], shifts: &mut [T]) {
    let columns = maxima.len();
    let shifts = &mut shifts[..columns];
    shifts.copy_from_slice(maxima);
    for row in tile.chunks_exact(COLUMNS) {
        for (max, &s) in shifts.iter_mut().zip(row) {
            *max = if s > *max { s } else { *max };
        }
    }
    for ((shift, max), sum) in shifts.iter_mut().zip(maxima.iter_mut()).zip(sums.iter_mut()) {
        let new = *shift;
        *shift = if new == T::NEG_INFINITY { T::ZERO } else { new };
        *sum *= small::exp(*max - *shift);
        *max = new;
    }
    for row in tile.chunks_exact(COLUMNS) {
        for ((sum, &shift), &s) in sums.iter_mut().zip(shifts.iter()).zip(row) {
            *sum += small::exp(s - shift);
        }
    }
}

/// Log-sums of columns from the maxima and sums of the groups, in their order.
#[inline(always)]
fn merge_groups<T: Float>(rows: usize, maxima: &[T], sums: &[T], log_sums: &mut [T]) {
    for (column, log_sum) in log_sums.iter_mut().enumerate() {
        let of_group = |x: &[T]| x.iter().skip(column).step_by(rows).copied().collect_groups();
        let (maxima, count) = of_group(maxima);
        let (sums, _) = of_group(sums);
        let max = maxima[..count].iter().fold(T::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let shift = if max == T::NEG_INFINITY { T::ZERO } else { max };
        let parts = maxima.iter().zip(&sums).take(count);
        let sum: T = parts.map(|(&m, &s)| s * small::exp(m - shift)).sum();
        *log_sum = shift + sum.ln();
    }
}

/// The few numbers of one column, side by side.
trait Groups<T> {
    fn collect_groups(self) -> ([T; GROUPS], usize);
}

impl<T: Float, I: Iterator<Item = T>> Groups<T> for I {
    #[inline(always)]
    fn collect_groups(self) -> ([T; GROUPS], usize) {
        let mut groups = [T::ZERO; GROUPS];
        let mut count = 0;
        for (group, x) in groups.iter_mut().zip(self) {
            *group = x;
            count += 1;
        }
        (groups, count)
    }
}

pub(super) fn backward<T: Float>(op: &InfoNce, mut call: Backward<'_, T>) {
    let geometry = Geometry::new(*op, call.shapes, call.indices);
    let (inverse, log_sums) = (call.saved[0], call.saved[1]);
    let (rows, features) = (geometry.rows, geometry.features);
    let pairs = geometry.pairs().filter(|(_, _, count)| count.is_some()).count();
    let scale = call.grad_output[0].to_f64() / (2 * pairs).max(1) as f64 / op.temperature;
    let gradients: Vec<(usize, bool, Shared<T>)> = call
        .gradients
        .iter_mut()
        .enumerate()
        .filter_map(|(m, gradient)| {
            let Gradient { data, add } = gradient.as_mut()?;
            Some((m, *add, Shared::new(data)))
        })
        .collect();
    if gradients.is_empty() {
        return;
    }
    let tiles = rows.div_ceil(ROWS);
    with_unit(&geometry, call.inputs, inverse, |unit| {
        parallel::tasks(gradients.len() * tiles, |task| {
            let (m, add, ref gradient) = gradients[task / tiles];
            let first = task % tiles * ROWS;
            let count = (rows - first).min(ROWS);
            let padded = rows.next_multiple_of(small::PANEL);
            scratch::with::<T, _>(padded + ROWS * COLUMNS + ROWS * geometry.stride, |memory| {
                let (bias, memory) = memory.split_at_mut(padded);
                let (tile, grad_unit) = memory.split_at_mut(ROWS * COLUMNS);
                grad_unit.fill(T::ZERO);
                for n in (0..geometry.modalities).filter(|&n| n != m) {
                    let Some(pair_rows) = geometry.pair_rows(m, n) else { continue };
                    let weight = T::from_f64(scale * geometry.row_weight(pair_rows));
                    geometry.column_bias(m, n, bias);
                    rows_against(
                        &geometry,
                        &unit,
                        (m, first, count),
                        n,
                        bias,
                        weight,
                        log_sums,
                        tile,
                        grad_unit,
                    );
                }
                // SAFETY: these rows are this task's.
                let gradient = unsafe { gradient.part(first * features, count * features) };
                simd::vectorised(|| {
                    for (r, gradient) in gradient.chunks_exact_mut(features).enumerate() {
                        let z = &unit.rows(&geometry, m, first + r)[..features];
                        let g = &grad_unit[r * geometry.stride..][..features];
                        let along = small::sum(features, |i| z[i] * g[i]);
                        let inverse = inverse[m * rows + first + r];
                        for ((out, &z), &g) in gradient.iter_mut().zip(z).zip(g) {
                            let old = if add { *out } else { T::ZERO };
                            *out = old + inverse * (g - z * along);
                        }
                    }
                });
            });
        });
    });
}

/// Adds to the gradient of a tile's unit embeddings what they get from both directions of one pair.
#[allow(clippy::too_many_arguments, reason = "a tile, its pair and its memory")]
fn rows_against<T: Float>(
    geometry: &Geometry<'_>,
    unit: &Unit<'_, T>,
    place: (usize, usize, usize),
    n: usize,
    bias: &[T],
    weight: T,
    log_sums: &[T],
    tile: &mut [T],
    grad_unit: &mut [T],
) {
    let (m, first, count) = place;
    let rows = geometry.rows;
    let row_sums = &log_sums[geometry.ordered(m, n) * rows..][..rows];
    let column_sums = &log_sums[geometry.ordered(n, m) * rows..][..rows];
    let mut positives = [T::ZERO; ROWS];
    for column in (0..rows).step_by(COLUMNS) {
        let columns = (rows - column).min(COLUMNS);
        unit.logits(geometry, place, (n, column, columns), bias, tile, &mut positives);
        for (r, tile) in tile.chunks_exact_mut(COLUMNS).take(count).enumerate() {
            let row = first + r;
            let row_sum = row_sums[row];
            let tile = &mut tile[..columns];
            simd::vectorised(|| {
                for (s, &column_sum) in tile.iter_mut().zip(&column_sums[column..]) {
                    *s = weight * (small::exp(*s - row_sum) + small::exp(*s - column_sum));
                }
            });
            let positive = geometry.positive(row).checked_sub(column).filter(|&p| p < columns);
            if let Some(p) = positive.filter(|_| geometry.valid(m, n, row)) {
                tile[p] -= weight + weight;
            }
        }
        Product {
            rows: count,
            depth: columns,
            columns: small::padded(geometry.features),
            left: tile,
            left_row: COLUMNS,
            left_column: 1,
            right: unit.rows(geometry, n, column),
            right_row: geometry.stride,
            result: grad_unit,
            result_row: geometry.stride,
            add: true,
        }
        .compute();
    }
}
