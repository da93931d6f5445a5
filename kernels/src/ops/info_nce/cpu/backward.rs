use super::super::InfoNce;
use super::{COLUMNS, Embeddings, Geometry, ROWS, Tile};
use crate::Float;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::small::{self, Product, WIDE_PANEL};
use crate::cpu::{math, scratch, simd};
use crate::op::{Backward, Gradient};

/// How far log-sums may lie apart for e^(one - the other) to be computed as a product of two factors.
const SPREAD: f64 = 60.0;

pub(in super::super) fn backward<T: Float>(op: &InfoNce, mut call: Backward<'_, T>) {
    let geometry = Geometry::new(*op, call.shapes, call.indices);
    let (inverse, log_sums) = (call.saved[0], call.saved[1]);
    let (rows, features) = (geometry.rows, geometry.features);
    let pairs = geometry.pairs().filter(|(_, _, count)| count.is_some()).count();
    let scale = call.grad_output[0].to_f64() / (2 * pairs).max(1) as f64 / op.temperature;
    let padded = small::padded(features);
    // Gradients of unit embeddings are summed up in place where nothing stands there and their rows are whole vectors.
    let apart = |g: &Gradient<T>| if g.add || padded > features { rows * padded } else { 0 };
    let lengths: Vec<usize> = call.gradients.iter().map(|g| g.as_ref().map_or(0, apart)).collect();
    scratch::with::<T, _>(lengths.iter().sum(), |mut memory| {
        let mut sums: Vec<Option<Shared<T>>> = Vec::new();
        for (gradient, &length) in call.gradients.iter_mut().zip(&lengths) {
            let (own, rest) = std::mem::take(&mut memory).split_at_mut(length);
            memory = rest;
            sums.push(gradient.as_mut().map(|gradient| {
                let sums = if length > 0 { own } else { &mut *gradient.data };
                parallel::rows(sums, 1, 1, |_, sums| sums.fill(T::ZERO));
                Shared::new(sums)
            }));
        }
        let of = |m| Embeddings::new(&geometry, call.inputs, inverse, m);
        for (m, n, pair_rows) in geometry.pairs() {
            let Some(pair_rows) = pair_rows else { continue };
            let gradients = [sums[m].as_ref(), sums[n].as_ref()];
            if gradients.iter().all(Option::is_none) {
                continue;
            }
            let weight = T::from_f64(scale * geometry.row_weight(pair_rows));
            let of_direction = |m, n| &log_sums[geometry.ordered(m, n) * rows..][..rows];
            let direct = [of_direction(m, n), of_direction(n, m)];
            let pair = Pair {
                geometry: &geometry,
                places: [m, n],
                sides: [of(m), of(n)],
                gradients,
                weight,
                log_sums: direct,
                middle: middle(direct),
            };
            let blocks = geometry.groups();
            for round in 0..blocks {
                parallel::tasks(blocks, |block| pair.blocks(block, (block + round) % blocks));
            }
        }
        for (m, (sums, gradient)) in sums.iter().zip(&mut call.gradients).enumerate() {
            let (Some(sums), Some(gradient)) = (sums, gradient) else { continue };
            let x = of(m);
            let (own, add) = ((lengths[m] > 0).then(|| Shared::new(gradient.data)), gradient.add);
            let rows_a_task = parallel::rows_a_task(4 * features);
            parallel::tasks(rows.div_ceil(rows_a_task), |task| {
                for row in task * rows_a_task..rows.min((task + 1) * rows_a_task) {
                    // SAFETY: each row belongs to one task, and lies inside both.
                    unsafe {
                        let sums =
                            sums.pointer(row * if own.is_some() { padded } else { features });
                        let to = own.as_ref().map_or(sums, |own| own.pointer(row * features));
                        let call = Length {
                            sums,
                            to,
                            x: &x.rows[row * features..][..features],
                            inverse: x.inverse[row],
                            add,
                        };
                        simd::run(call);
                    }
                }
            });
        }
    });
}

/// The way of an embedding's gradient through its length, given that of its unit embedding: written or added.
struct Length<'a, T> {
    /// As many numbers as x has. `to` may be the same.
    sums: *const T,
    to: *mut T,
    x: &'a [T],
    inverse: T,
    add: bool,
}

impl<T: Float> simd::Work for Length<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: simd::Isa>(self) {
        let Length { sums, to, x, inverse, add } = self;
        // SAFETY: by the contract above; each number is read before it is written.
        unsafe {
            let along = small::sum(
                x.len(),
                #[inline(always)]
                |i| x[i] * inverse * *sums.add(i),
            );
            for (i, &x) in x.iter().enumerate() {
                let old = if add { *to.add(i) } else { T::ZERO };
                *to.add(i) = old + inverse * (*sums.add(i) - x * inverse * along);
            }
        }
    }
}

/// A number from which all log-sums are near enough to be exponents, if there is one.
fn middle<T: Float>(log_sums: [&[T]; 2]) -> Option<T> {
    let [mut low, mut high] = [f64::INFINITY, f64::NEG_INFINITY];
    for &sum in log_sums.into_iter().flatten() {
        low = low.min(sum.to_f64());
        high = high.max(sum.to_f64());
    }
    (high - low < SPREAD).then(|| T::from_f64(0.5 * (low + high)))
}

/// A pair of modalities whose gradients are computed together.
struct Pair<'a, T> {
    geometry: &'a Geometry<'a>,
    places: [usize; 2],
    sides: [Embeddings<'a, T>; 2],
    /// Of the unit embeddings, added to.
    gradients: [Option<&'a Shared<T>>; 2],
    /// What a row's loss counts, over the temperature.
    weight: T,
    /// Of rows and of columns.
    log_sums: [&'a [T]; 2],
    middle: Option<T>,
}

impl<T: Float> Pair<'_, T> {
    /// Adds to the gradients of a block of rows and a block of columns what they get from each other.
    fn blocks(&self, row_block: usize, column_block: usize) {
        let geometry = self.geometry;
        let (features, stride) = (geometry.features, geometry.stride);
        let (rows, columns) = (geometry.group(row_block), geometry.group(column_block));
        let lengths = [
            COLUMNS * stride,
            small::packed_len::<WIDE_PANEL>(COLUMNS, features),
            ROWS * stride,
            ROWS * COLUMNS,
            COLUMNS,
            COLUMNS,
        ];
        scratch::with::<T, _>(lengths.iter().sum(), |mut memory| {
            let [unit_columns, packed, unit_rows, logits, bias, factors] = lengths.map(|length| {
                let (part, rest) = std::mem::take(&mut memory).split_at_mut(length);
                memory = rest;
                part
            });
            let [m, n] = self.places;
            for column in columns.clone().step_by(COLUMNS) {
                let count = (columns.end - column).min(COLUMNS);
                geometry.column_bias(m, n, column, bias);
                self.sides[1].columns(geometry, column, count, unit_columns, packed);
                self.column_factors(column, &mut factors[..count]);
                for row in rows.clone().step_by(ROWS) {
                    let tile = Tile {
                        m,
                        n,
                        row,
                        rows: (rows.end - row).min(ROWS),
                        column,
                        columns: count,
                    };
                    self.sides[0].unit(geometry, row, tile.rows, unit_rows);
                    tile.logits(geometry, (unit_rows, packed), bias, logits, &mut [T::ZERO; ROWS]);
                    self.weigh(tile, &factors[..count], logits);
                    self.put(0, row, tile.rows, count, (logits, [COLUMNS, 1]), unit_columns);
                    self.put(1, column, count, tile.rows, (logits, [1, COLUMNS]), unit_rows);
                }
            }
        });
    }

    /// e^(middle - log-sum) of columns, or their log-sums where there is no middle.
    fn column_factors(&self, column: usize, factors: &mut [T]) {
        let log_sums = &self.log_sums[1][column..][..factors.len()];
        for (factor, &sum) in factors.iter_mut().zip(log_sums) {
            *factor = self.middle.map_or(sum, |middle| math::exp(middle - sum));
        }
    }

    /// Turns logits into the gradients of the dot products of unit embeddings.
    fn weigh(&self, tile: Tile, factors: &[T], logits: &mut [T]) {
        let weight = self.weight;
        for (r, logits) in logits.chunks_exact_mut(COLUMNS).take(tile.rows).enumerate() {
            let row_sum = self.log_sums[0][tile.row + r];
            let logits = &mut logits[..factors.len()];
            if let Some(middle) = self.middle {
                // e^(s - row) + e^(s - column) with one exponential.
                let factor = weight * math::exp(row_sum - middle);
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for (s, &of_column) in logits.iter_mut().zip(factors) {
                            *s = math::exp(*s - row_sum) * (weight + factor * of_column);
                        }
                    },
                );
            } else {
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for (s, &column_sum) in logits.iter_mut().zip(factors) {
                            *s = weight * (math::exp(*s - row_sum) + math::exp(*s - column_sum));
                        }
                    },
                );
            }
            let [m, n] = self.places;
            let row = tile.row + r;
            let positive = self.geometry.positive(row).checked_sub(tile.column);
            if let Some(p) =
                positive.filter(|&p| p < tile.columns && self.geometry.valid(m, n, row))
            {
                logits[p] -= weight + weight;
            }
        }
    }

    /// Adds a tile, in either order of its axes, times the other side's unit embeddings to a side's gradient.
    fn put(
        &self,
        side: usize,
        first: usize,
        rows: usize,
        depth: usize,
        (left, [left_row, left_column]): (&[T], [usize; 2]),
        right: &[T],
    ) {
        let Some(gradient) = self.gradients[side] else { return };
        let columns = small::padded(self.geometry.features);
        Product {
            rows,
            depth,
            columns,
            left,
            left_row,
            left_column,
            right,
            right_row: self.geometry.stride,
            // SAFETY: in a round each task has rows and columns that no other has.
            result: unsafe { gradient.part(first * columns, rows * columns) },
            result_row: columns,
            add: true,
        }
        .compute();
    }
}
