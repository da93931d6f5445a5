use super::super::InfoNce;
use super::{Block, Geometry, Pair, ROWS, multiply, odd};
use crate::Float;
use crate::cpu::gemm::{View, product_transposed, serial};
use crate::cpu::{math, parallel, scratch, simd, small};
use crate::op::{Backward, Gradient};

/// The largest difference of log-sum-exps for which the exponential of it is computed as a product of two factors.
const SPREAD: f64 = 60.0;

pub(in super::super) fn backward<T: Float>(op: &InfoNce, mut call: Backward<'_, T>) {
    let geometry = Geometry::new(*op, call.shapes, call.indices);
    let (inverse, log_sums) = (call.saved[0], call.saved[1]);
    let (rows, features, pairs) = (geometry.rows, geometry.features, geometry.pairs());
    let scale = call.grad_output[0].to_f64() / (2 * pairs.len()).max(1) as f64 / op.temperature;
    // Gradients that are written, not added, are summed in place.
    let apart = |g: &Gradient<T>| if g.add { rows * features } else { 0 };
    let lengths: Vec<usize> = call.gradients.iter().map(|g| g.as_ref().map_or(0, apart)).collect();
    scratch::with::<T, _>(lengths.iter().sum(), |mut memory| {
        let mut sums: Vec<Option<&mut [T]>> = Vec::new();
        let mut targets: Vec<Option<&mut [T]>> = Vec::new();
        for (gradient, &length) in call.gradients.iter_mut().zip(&lengths) {
            let (own, rest) = std::mem::take(&mut memory).split_at_mut(length);
            memory = rest;
            let data = gradient.as_mut().map(|gradient| &mut *gradient.data);
            let (sum, target) = if length > 0 { (Some(own), data) } else { (data, None) };
            sums.push(sum);
            targets.push(target);
        }
        for sums in sums.iter_mut().flatten() {
            parallel::rows(sums, 1, 1, |_, sums| sums.fill(T::ZERO));
        }
        for (m, n, pair_rows) in pairs {
            let of_direction = |m, n| &log_sums[geometry.ordered(m, n) * rows..][..rows];
            let log_sums = [of_direction(m, n), of_direction(n, m)];
            let weights = Weights {
                pair: Pair::new(&geometry, call.inputs, inverse, [m, n]),
                weight: T::from_f64(scale * geometry.row_weight(pair_rows)),
                log_sums,
                middle: middle(log_sums),
            };
            let (before, from) = sums.split_at_mut(n);
            weights.add_gradients(before[m].as_deref_mut(), from[0].as_deref_mut());
        }
        for (m, (sums, target)) in sums.into_iter().zip(targets).enumerate() {
            let Some(sums) = sums else { continue };
            let inverse = &inverse[m * rows..][..rows];
            parallel::rows(sums, features, 4 * features, |first, sums| {
                simd::vectorised(
                    #[inline(always)]
                    || through_length(&call.inputs[m][first * features..], &inverse[first..], sums),
                );
            });
            let Some(target) = target else { continue };
            parallel::rows(target, 1, 2, |start, target| {
                for (t, &sum) in target.iter_mut().zip(&sums[start..]) {
                    *t += sum;
                }
            });
        }
    });
}

/// Adds rows at stride `stride`, each times its factor.
fn add_scaled<T: Float>(to: &mut [T], width: usize, numbers: &[T], rows: &[T], stride: usize) {
    parallel::rows(to, width, width, |first, to| {
        let scaled = rows[first * stride..].chunks_exact(stride).zip(&numbers[first..]);
        simd::vectorised(
            #[inline(always)]
            || {
                for (to, (row, &number)) in to.chunks_exact_mut(width).zip(scaled) {
                    for (to, &x) in to.iter_mut().zip(row) {
                        *to += number * x;
                    }
                }
            },
        );
    });
}

/// Removes from each row of a gradient, already divided by the embedding's norm, the component along the embedding.
#[inline(always)]
fn through_length<T: Float>(x: &[T], inverse: &[T], gradient: &mut [T]) {
    let features = x.len() / inverse.len();
    let rows = x.chunks_exact(features).zip(gradient.chunks_exact_mut(features));
    for ((x, gradient), &inverse) in rows.zip(inverse) {
        let along = small::sum(
            features,
            #[inline(always)]
            |i| x[i] * inverse * gradient[i],
        );
        for (g, &x) in gradient.iter_mut().zip(x) {
            *g -= x * inverse * along;
        }
    }
}

/// A number within half of [`SPREAD`] of all log-sum-exps, if there is one.
fn middle<T: Float>(log_sums: [&[T]; 2]) -> Option<T> {
    let [mut low, mut high] = [f64::INFINITY, f64::NEG_INFINITY];
    for &sum in log_sums.into_iter().flatten() {
        low = low.min(sum.to_f64());
        high = high.max(sum.to_f64());
    }
    (high - low < SPREAD).then(|| T::from_f64(0.5 * (low + high)))
}

/// Converts the logits of a pair to the gradients of its dot products.
struct Weights<'a, T> {
    pair: Pair<'a, T>,
    /// The weight of a row's loss, divided by the temperature.
    weight: T,
    /// Log-sum-exps of the rows and of the columns.
    log_sums: [&'a [T]; 2],
    middle: Option<T>,
}

impl<T: Float> Weights<'_, T> {
    /// Adds the gradients of both modalities of the pair, without the part through the norm.
    fn add_gradients(&self, mut of_rows: Option<&mut [T]>, mut of_columns: Option<&mut [T]>) {
        if of_rows.is_none() && of_columns.is_none() {
            return;
        }
        let [left, right] = self.pair.sides;
        let (rows, features) = (self.pair.geometry.rows, self.pair.geometry.features);
        let (tiny, padded) = (self.pair.geometry.tiny(), odd(features));
        let sums_length = rows.min(ROWS) * padded;
        let copy_length = if tiny { rows * padded } else { 0 };
        scratch::with::<T, _>(2 * rows + sums_length + copy_length, |memory| {
            let (direct, memory) = memory.split_at_mut(rows);
            let (factors, memory) = memory.split_at_mut(rows);
            let (sums, copy) = memory.split_at_mut(sums_length);
            self.factors(direct, factors);
            if tiny {
                // A product without packing reads the columns directly: the copy's stride avoids cache set conflicts.
                small::copy_padded(rows, features, right.rows, features, copy, padded);
            }
            self.pair.blocks(|block, dots| {
                block.strips(dots, |_, of_strip, logits| {
                    for (row, logits) in of_strip.zip(logits.chunks_exact_mut(block.stride)) {
                        let logits = &mut logits[..block.columns.len()];
                        block.logits(row, logits);
                        self.weigh(block, row, direct, factors, logits);
                    }
                });
                let (these, columns) = (block.rows.clone(), block.columns.clone());
                let of_block = columns.start * features..columns.end * features;
                let weights = View::new(dots, [these.len(), columns.len()], (block.stride, 1));
                if let Some(gradient) = &mut of_rows {
                    let y = if tiny {
                        View::new(copy, [rows, features], (padded, 1))
                    } else {
                        View::dense(&right.rows[of_block.clone()], columns.len(), features)
                    };
                    multiply(tiny, weights, y, sums, padded, columns.start > 0);
                    if columns.end == rows {
                        let gradient = &mut gradient[these.start * features..these.end * features];
                        add_scaled(gradient, features, &left.inverse[these], sums, padded);
                    }
                }
                if let Some(gradient) = &mut of_columns {
                    let gradient = &mut gradient[of_block];
                    let (unit, unit_row) = (block.unit, block.unit_row);
                    if tiny {
                        let unit = View::new(unit, [block.rows.len(), features], (unit_row, 1));
                        serial(weights.transposed(), unit, gradient, features, true);
                    } else {
                        let place = |row: usize| row * unit_row;
                        product_transposed(&weights, unit, features, &place, gradient, true);
                    }
                }
            });
        });
    }

    /// `direct`: the weight of each column's exponentials, divided by the column's norm, so that columns need no
    /// normalisation. `factors`: `direct` times e^(middle - log-sum-exp), or the log-sum-exp if there is no middle.
    fn factors(&self, direct: &mut [T], factors: &mut [T]) {
        let inverse = self.pair.sides[1].inverse;
        let columns = self.log_sums[1].iter().zip(inverse);
        for ((direct, factor), (&sum, &inverse)) in direct.iter_mut().zip(factors).zip(columns) {
            *direct = self.weight * inverse;
            *factor = self.middle.map_or(sum, |middle| *direct * math::exp(middle - sum));
        }
    }

    /// Replaces a row of logits by the gradients of the dot products of unit rows and unit columns, divided by the
    /// norms of the columns.
    fn weigh(
        &self,
        block: &Block<'_, T>,
        row: usize,
        direct: &[T],
        factors: &[T],
        logits: &mut [T],
    ) {
        let columns = block.columns.clone();
        let (direct, factors) = (&direct[columns.clone()], &factors[columns]);
        let row_sum = self.log_sums[0][row];
        let of_columns = direct.iter().zip(factors);
        if let Some(middle) = self.middle {
            // e^(s - row) + e^(s - column) with one exponential.
            let of_row = math::exp(row_sum - middle);
            simd::vectorised(
                #[inline(always)]
                || {
                    for (s, (&direct, &factor)) in logits.iter_mut().zip(of_columns) {
                        *s = math::exp(*s - row_sum) * (direct + of_row * factor);
                    }
                },
            );
        } else {
            simd::vectorised(
                #[inline(always)]
                || {
                    for (s, (&direct, &column_sum)) in logits.iter_mut().zip(of_columns) {
                        *s = direct * (math::exp(*s - row_sum) + math::exp(*s - column_sum));
                    }
                },
            );
        }
        let positive = block.inside(self.pair.geometry.positive(row));
        if let Some(column) = positive.filter(|_| self.pair.valid(row)) {
            logits[column] -= direct[column] + direct[column];
        }
    }
}
