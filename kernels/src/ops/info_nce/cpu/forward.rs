use super::super::InfoNce;
use super::{Geometry, Pair, STRIP, STRIPS, inverse_lengths};
use crate::Float;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::{math, scratch, simd, small};
use crate::op::Forward;

pub(in super::super) fn forward<T: Float>(op: &InfoNce, call: Forward<'_, T>) {
    let geometry = Geometry::new(*op, call.shapes, call.indices);
    let [inverse, log_sums, losses] = call.saved else { return };
    inverse_lengths(&geometry, call.inputs, inverse);
    log_sums.fill(T::ZERO);
    losses.fill(T::ZERO);
    let (rows, modalities, pairs) = (geometry.rows, geometry.modalities, geometry.pairs());
    let (shared_sums, shared_losses) = (Shared::new(log_sums), Shared::new(losses));
    // Pairs in parallel: a pair of a small batch is one task.
    parallel::tasks(pairs.len(), |pair| {
        let (m, n, count) = pairs[pair];
        let groups = rows.div_ceil(STRIP).min(STRIPS);
        scratch::with::<T, _>(rows * (3 + 2 * groups), |state| {
            let pair = Pair::new(&geometry, call.inputs, inverse, [m, n]);
            // SAFETY: an ordered pair belongs to one unordered pair only.
            let of_direction =
                |m, n| unsafe { shared_sums.part(geometry.ordered(m, n) * rows, rows) };
            let (of_rows, of_columns) = (of_direction(m, n), of_direction(n, m));
            let positives = gather(&pair, state, of_rows, of_columns);
            let weight = geometry.row_weight(count);
            for (m, n, log_sums) in [(m, n, of_rows), (n, m, of_columns)] {
                let mut loss = 0.0;
                for (row, log_sum) in log_sums.iter_mut().enumerate() {
                    if geometry.valid(m, n, row) {
                        // The positive of a column is in the row whose positive it is.
                        let own = if m < n { row } else { geometry.positive(row) };
                        loss += log_sum.to_f64() - positives[own].to_f64();
                    } else {
                        *log_sum = T::ZERO;
                    }
                }
                // SAFETY: as above.
                let of_pair = unsafe { shared_losses.part(m * modalities + n, 1) };
                of_pair[0] = T::from_f64(loss * weight);
            }
        });
    });
    let total: f64 = losses.iter().map(|loss| loss.to_f64()).sum();
    call.output[0] = T::from_f64(total / (2 * pairs.len()).max(1) as f64);
}

/// The log-sum-exps of a pair's rows and columns, and the positive logits of its rows.
fn gather<'a, T: Float>(
    pair: &Pair<'_, T>,
    state: &'a mut [T],
    of_rows: &mut [T],
    of_columns: &mut [T],
) -> &'a [T] {
    let rows = of_rows.len();
    // Maxima and sums of the rows; those of the columns, one for each strip of a block.
    let groups = (state.len() / rows - 3) / 2;
    let (positives, others) = state.split_at_mut(rows);
    let (maxima, sums) = others.split_at_mut((1 + groups) * rows);
    maxima.fill(pair.geometry.highest.map_or(T::NEG_INFINITY, T::from_f64));
    sums.fill(T::ZERO);
    let (shared_positives, shared_maxima, shared_sums) =
        (Shared::new(positives), Shared::new(maxima), Shared::new(sums));
    pair.blocks(|block, dots| {
        block.strips(dots, |strip, of_strip, logits| {
            let (first, count) = (of_strip.start, of_strip.len());
            let (start, width) = ((1 + strip) * rows + block.columns.start, block.columns.len());
            // SAFETY: strips of a block have different rows and different indices.
            let mut sums = unsafe {
                Sums {
                    row_max: shared_maxima.part(first, count),
                    row_sum: shared_sums.part(first, count),
                    column_max: shared_maxima.part(start, width),
                    column_sum: shared_sums.part(start, width),
                }
            };
            // SAFETY: as above.
            let positives = unsafe { shared_positives.part(first, count) };
            for ((row, positive), logits) in
                of_strip.zip(positives).zip(logits.chunks_exact_mut(block.stride))
            {
                if let Some(logit) = block.logits(row, &mut logits[..width]) {
                    *positive = logit;
                }
            }
            if pair.geometry.highest.is_some() {
                for (r, logits) in logits.chunks_exact_mut(block.stride).enumerate() {
                    simd::vectorised(
                        #[inline(always)]
                        || sums.add(r, &mut logits[..width]),
                    );
                }
            } else {
                simd::vectorised(
                    #[inline(always)]
                    || sums.merge(logits, block.stride),
                );
            }
        });
    });
    let (row_max, column_max) = maxima.split_at(rows);
    let (row_sum, column_sum) = sums.split_at(rows);
    for ((log_sum, &max), &sum) in of_rows.iter_mut().zip(row_max).zip(row_sum) {
        *log_sum = max + sum.ln();
    }
    simd::vectorised(
        #[inline(always)]
        || merge_groups(column_max, column_sum, of_columns),
    );
    positives
}

/// The running maxima and sums of a strip. Sums are of e^(logit - maximum).
struct Sums<'a, T> {
    row_max: &'a mut [T],
    row_sum: &'a mut [T],
    column_max: &'a mut [T],
    column_sum: &'a mut [T],
}

impl<T: Float> Sums<'_, T> {
    /// Adds a row of logits to sums whose maxima are known before. Overwrites the logits.
    #[inline(always)]
    fn add(&mut self, row: usize, logits: &mut [T]) {
        let shift = self.row_max[row];
        for (s, sum) in logits.iter_mut().zip(self.column_sum.iter_mut()) {
            *s = math::exp(*s - shift);
            *sum += *s;
        }
        self.row_sum[row] += small::sum(logits.len(), |j| logits[j]);
    }

    /// Adds rows of logits with running maxima.
    #[inline(always)]
    fn merge(&mut self, logits: &[T], stride: usize) {
        let columns = self.column_max.len();
        let rows = logits.chunks_exact(stride).map(
            #[inline(always)]
            |row| &row[..columns],
        );
        let of_rows = self.row_max.iter_mut().zip(self.row_sum.iter_mut());
        for ((max, sum), logits) in of_rows.zip(rows.clone()) {
            let shift = raise(max, sum, small::max(logits));
            *sum += small::sum(columns, |j| math::exp(logits[j] - shift));
        }
        scratch::with::<T, _>(columns, |shifts| {
            shifts.copy_from_slice(self.column_max);
            for row in rows.clone() {
                for (max, &s) in shifts.iter_mut().zip(row) {
                    *max = if s > *max { s } else { *max };
                }
            }
            let of_columns = self.column_max.iter_mut().zip(self.column_sum.iter_mut());
            for ((max, sum), shift) in of_columns.zip(shifts.iter_mut()) {
                *shift = raise(max, sum, *shift);
            }
            for row in rows {
                for ((sum, &shift), &s) in self.column_sum.iter_mut().zip(&*shifts).zip(row) {
                    *sum += math::exp(s - shift);
                }
            }
        });
    }
}

/// Raises a running maximum and returns the shift of all further exponents.
#[inline(always)]
fn raise<T: Float>(max: &mut T, sum: &mut T, to: T) -> T {
    let new = if to > *max { to } else { *max };
    let shift = if new == T::NEG_INFINITY { T::ZERO } else { new };
    *sum *= math::exp(*max - shift);
    *max = new;
    shift
}

/// Log-sum-exps of columns from the maxima and sums of the groups, in order.
#[inline(always)]
fn merge_groups<T: Float>(maxima: &[T], sums: &[T], log_sums: &mut [T]) {
    let rows = log_sums.len();
    for (column, log_sum) in log_sums.iter_mut().enumerate() {
        let (mut max, mut total) = (T::NEG_INFINITY, T::ZERO);
        for at in (column..maxima.len()).step_by(rows) {
            let shift = raise(&mut max, &mut total, maxima[at]);
            total += sums[at] * math::exp(maxima[at] - shift);
        }
        *log_sum = max + total.ln();
    }
}
