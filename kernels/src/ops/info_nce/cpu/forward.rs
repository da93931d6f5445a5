use super::super::InfoNce;
use super::{COLUMNS, Embeddings, GROUPS, Geometry, ROWS, Tile, inverse_lengths};
use crate::Float;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::small::{self, WIDE_PANEL};
use crate::cpu::{math, scratch, simd};
use crate::op::Forward;
use std::ops::Range;

pub(in super::super) fn forward<T: Float>(op: &InfoNce, call: Forward<'_, T>) {
    let geometry = Geometry::new(*op, call.shapes, call.indices);
    let [inverse, log_sums, losses] = call.saved else { return };
    inverse_lengths(&geometry, call.inputs, inverse);
    log_sums.fill(T::ZERO);
    losses.fill(T::ZERO);
    let (rows, modalities, groups) = (geometry.rows, geometry.modalities, geometry.groups());
    let pairs: Vec<_> = geometry.pairs().filter(|(_, _, count)| count.is_some()).collect();
    // Positives of the rows, maxima and sums of the rows, and of the columns those of each group.
    let a_pair = rows * (3 + 2 * groups);
    scratch::with::<T, _>(pairs.len() * a_pair, |state| {
        let (shared_state, shared_sums) = (Shared::new(state), Shared::new(log_sums));
        parallel::tasks(pairs.len() * groups, |task| {
            let (pair, group) = (task / groups, task % groups);
            let (m, n, _) = pairs[pair];
            let span = geometry.group(group);
            let start = pair * a_pair;
            // SAFETY: rows of a pair belong to one group, and each group has its own partial sums.
            let part = |kind: usize, first: usize, count: usize| unsafe {
                shared_state.part(start + kind * rows + first, count)
            };
            let sums = Sums {
                positives: part(0, span.start, span.len()),
                row_max: part(1, span.start, span.len()),
                row_sum: part(2, span.start, span.len()),
                column_max: part(3 + group, 0, rows),
                column_sum: part(3 + groups + group, 0, rows),
            };
            let of = |m| Embeddings::new(&geometry, call.inputs, inverse, m);
            // SAFETY: as above.
            let log_sums =
                unsafe { shared_sums.part(geometry.ordered(m, n) * rows + span.start, span.len()) };
            sums.group(&geometry, (m, of(m)), (n, of(n)), span.start, log_sums);
        });
        for (&(m, n, count), state) in pairs.iter().zip(state.chunks_exact(a_pair)) {
            let (positives, partial) = state.split_at(3 * rows);
            let (maxima, sums) = partial.split_at(groups * rows);
            let column_sums = &mut log_sums[geometry.ordered(n, m) * rows..][..rows];
            simd::vectorised(
                #[inline(always)]
                || merge_groups(rows, maxima, sums, column_sums),
            );
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
    let total: f64 = losses.iter().map(|loss| loss.to_f64()).sum();
    call.output[0] = T::from_f64(total / (2 * pairs.len()).max(1) as f64);
}

/// What a group of rows gathers of one pair. Sums are of e^(logit - maximum).
struct Sums<'a, T> {
    positives: &'a mut [T],
    row_max: &'a mut [T],
    row_sum: &'a mut [T],
    /// Of all columns, over the group's rows.
    column_max: &'a mut [T],
    column_sum: &'a mut [T],
}

impl<T: Float> Sums<'_, T> {
    /// The tiles of the group's rows with all columns, and the log-sums of the rows.
    fn group(
        mut self,
        geometry: &Geometry<'_>,
        (m, left): (usize, Embeddings<'_, T>),
        (n, right): (usize, Embeddings<'_, T>),
        first: usize,
        log_sums: &mut [T],
    ) {
        let start = geometry.highest.map_or(T::NEG_INFINITY, T::from_f64);
        self.row_max.fill(start);
        self.column_max.fill(start);
        self.row_sum.fill(T::ZERO);
        self.column_sum.fill(T::ZERO);
        let packed_len = small::packed_len::<WIDE_PANEL>(COLUMNS, geometry.features);
        let lengths = [COLUMNS * geometry.stride, packed_len, ROWS * COLUMNS, 2 * COLUMNS];
        scratch::with::<T, _>(lengths.iter().sum(), |memory| {
            let (unit, memory) = memory.split_at_mut(lengths[0]);
            let (packed, memory) = memory.split_at_mut(lengths[1]);
            let (logits, memory) = memory.split_at_mut(lengths[2]);
            let (bias, shifts) = memory.split_at_mut(COLUMNS);
            let count = self.row_sum.len();
            for column in (0..geometry.rows).step_by(COLUMNS) {
                let columns = (geometry.rows - column).min(COLUMNS);
                geometry.column_bias(m, n, column, bias);
                right.columns(geometry, column, columns, unit, packed);
                for row in (0..count).step_by(ROWS) {
                    let rows = (count - row).min(ROWS);
                    let tile = Tile { m, n, row: first + row, rows, column, columns };
                    left.unit(geometry, tile.row, rows, unit);
                    let positives = &mut self.positives[row..row + rows];
                    tile.logits(geometry, (unit, packed), bias, logits, positives);
                    let logits = &mut logits[..rows * COLUMNS];
                    if geometry.highest.is_some() {
                        simd::vectorised(
                            #[inline(always)]
                            || self.add(row, column..column + columns, logits),
                        );
                    } else {
                        simd::vectorised(
                            #[inline(always)]
                            || self.merge(row, column..column + columns, logits, shifts),
                        );
                    }
                }
            }
        });
        let sums = self.row_max.iter().zip(&*self.row_sum);
        for (log_sum, (&max, &sum)) in log_sums.iter_mut().zip(sums) {
            *log_sum = max + sum.ln();
        }
    }

    /// Takes a tile of logits into sums whose maxima are known beforehand.
    #[inline(always)]
    fn add(&mut self, row: usize, columns: Range<usize>, tile: &[T]) {
        let shift = self.column_max[columns.start];
        let of_columns = &mut self.column_sum[columns];
        for (r, logits) in tile.chunks_exact(COLUMNS).enumerate() {
            let mut powers = [T::ZERO; COLUMNS];
            for (power, &s) in powers.iter_mut().zip(logits) {
                *power = math::exp(s - shift);
            }
            for (sum, &power) in of_columns.iter_mut().zip(&powers) {
                *sum += power;
            }
            self.row_sum[row + r] += small::sum(COLUMNS, |i| powers[i]);
        }
    }

    /// The same with running maxima.
    #[inline(always)]
    fn merge(&mut self, row: usize, columns: Range<usize>, tile: &[T], shifts: &mut [T]) {
        for (r, logits) in tile.chunks_exact(COLUMNS).enumerate() {
            let logits = &logits[..columns.len()];
            merge_row(logits, &mut self.row_max[row + r], &mut self.row_sum[row + r]);
        }
        let maxima = &mut self.column_max[columns.clone()];
        merge_columns(tile, maxima, &mut self.column_sum[columns], shifts);
    }
}

/// Takes more logits of one row into its running maximum and sum of exponentials.
#[inline(always)]
fn merge_row<T: Float>(logits: &[T], max: &mut T, sum: &mut T) {
    let largest = small::max(logits);
    let new = if largest > *max { largest } else { *max };
    let shift = if new == T::NEG_INFINITY { T::ZERO } else { new };
    let more = small::sum(logits.len(), |j| math::exp(logits[j] - shift));
    *sum = *sum * math::exp(*max - shift) + more;
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
        *sum *= math::exp(*max - *shift);
        *max = new;
    }
    for row in tile.chunks_exact(COLUMNS) {
        for ((sum, &shift), &s) in sums.iter_mut().zip(shifts.iter()).zip(row) {
            *sum += math::exp(s - shift);
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
        let sum: T = parts.map(|(&m, &s)| s * math::exp(m - shift)).sum();
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
