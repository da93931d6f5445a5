//! Products of blocks that fit in a core's caches, and the exponential, for ops that fuse a product with what
//! stands before and behind it: attention, InfoNCE, graph convolution.
//!
//! Everything here runs on the thread that calls it and sums in a fixed order.

use super::simd::{self, Isa, Vector, Work};
use crate::Float;

/// The number of columns of a product is a multiple of this: whole vectors, whatever the instruction set.
pub const PAD: usize = 16;

/// Columns of a panel of [`pack_transposed`].
pub const PANEL: usize = 32;

/// A number of columns rounded up to whole vectors.
pub fn padded(columns: usize) -> usize {
    columns.next_multiple_of(PAD)
}

/// result = left · right, or result += left · right.
#[derive(Debug)]
pub struct Product<'a, T> {
    /// Rows of `left` and of the result.
    pub rows: usize,
    /// Columns of `left`, rows of `right`.
    pub depth: usize,
    /// Columns of `right` and of the result, a multiple of [`PAD`].
    pub columns: usize,
    /// Element (i, k) stands at `i * left_row + k * left_column`, so either order of axes will do.
    pub left: &'a [T],
    /// Distance of two rows of `left`.
    pub left_row: usize,
    /// Distance of two columns of `left`.
    pub left_column: usize,
    /// Rows of contiguous columns.
    pub right: &'a [T],
    /// Distance of two rows of `right`.
    pub right_row: usize,
    /// Rows of contiguous columns.
    pub result: &'a mut [T],
    /// Distance of two rows of the result.
    pub result_row: usize,
    /// Whether to add to the result.
    pub add: bool,
}

impl<T: Float> Product<'_, T> {
    /// Computes it. The sum over depth runs in order, so equal calls give equal bits.
    ///
    /// # Panics
    /// Where a slice is too short for what is said of it.
    pub fn compute(self) {
        if self.rows == 0 || self.columns == 0 {
            return;
        }
        let last = self.rows - 1;
        assert!(self.columns.is_multiple_of(PAD), "{} columns", self.columns);
        assert!(self.result.len() >= last * self.result_row + self.columns);
        if self.depth > 0 {
            let depth = self.depth - 1;
            assert!(self.left.len() > last * self.left_row + depth * self.left_column);
            assert!(self.right.len() >= depth * self.right_row + self.columns);
        }
        simd::run(self);
    }
}

impl<T: Float> Work for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let lanes = T::On::<I>::LANES;
        let result = self.result.as_mut_ptr();
        let mut column = 0;
        while column < self.columns {
            // A column count is a multiple of PAD, so one or two whole vectors are always left.
            let wide = self.columns - column >= 2 * lanes;
            let mut row = 0;
            while row < self.rows {
                let left = self.rows - row;
                // SAFETY: `compute` checked that the slices hold every row and column of the tile, and `run`
                // that the instruction set is present.
                row += unsafe {
                    match (wide, left >= I::tile_rows(2), I::tile_rows(2)) {
                        (true, true, 12) => tile::<T, I, 12, 2>(&self, result, row, column),
                        (true, true, 6) => tile::<T, I, 6, 2>(&self, result, row, column),
                        (true, _, _) if left >= 4 => tile::<T, I, 4, 2>(&self, result, row, column),
                        (true, _, _) if left >= 2 => tile::<T, I, 2, 2>(&self, result, row, column),
                        (true, _, _) => tile::<T, I, 1, 2>(&self, result, row, column),
                        (false, true, 12) => tile::<T, I, 12, 1>(&self, result, row, column),
                        (false, _, _) if left >= 4 => {
                            tile::<T, I, 4, 1>(&self, result, row, column)
                        }
                        (false, _, _) => tile::<T, I, 1, 1>(&self, result, row, column),
                    }
                };
            }
            column += if wide { 2 * lanes } else { lanes };
        }
    }
}

/// The body for each row of a tile. The compiler does not unroll a loop over the rows of the largest tile, and
/// then keeps its sums in memory.
macro_rules! unrolled {
    ($r:ident below $rows:ident, $body:block) => {
        unrolled!($r, $rows, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    ($r:ident, $rows:ident, $body:block, $($n:literal)*) => {
        $(if $n < $rows {
            let $r = $n;
            $body
        })*
    };
}

/// `ROWS` rows by `WIDTH` vectors of the result, held in registers over the whole depth. Returns `ROWS`.
#[inline(always)]
unsafe fn tile<T: Float, I: Isa, const ROWS: usize, const WIDTH: usize>(
    product: &Product<'_, T>,
    result: *mut T,
    row: usize,
    column: usize,
) -> usize {
    let lanes = T::On::<I>::LANES;
    // SAFETY: the caller gives a tile inside the slices, and runs where the instruction set is present.
    unsafe {
        let left = product.left.as_ptr().wrapping_add(row * product.left_row);
        let right = product.right.as_ptr().wrapping_add(column);
        let result = result.add(row * product.result_row + column);
        let mut sums = [[T::On::<I>::splat(T::ZERO); WIDTH]; ROWS];
        for k in 0..product.depth {
            let right = right.add(k * product.right_row);
            let left = left.wrapping_add(k * product.left_column);
            let b: [T::On<I>; WIDTH] =
                std::array::from_fn(|w| T::On::<I>::load(right.add(w * lanes)));
            unrolled!(r below ROWS, {
                let a = T::On::<I>::splat(*left.add(r * product.left_row));
                sums[r][0] = a.mul_add(b[0], sums[r][0]);
                if WIDTH == 2 {
                    sums[r][WIDTH - 1] = a.mul_add(b[WIDTH - 1], sums[r][WIDTH - 1]);
                }
            });
        }
        unrolled!(r below ROWS, {
            for (w, &sum) in sums[r].iter().enumerate() {
                let to = result.add(r * product.result_row + w * lanes);
                let sum = if product.add { T::On::<I>::load(to).add(sum) } else { sum };
                sum.store(to);
            }
        });
    }
    ROWS
}

/// How many numbers [`pack_transposed`] writes.
pub fn packed_len(rows: usize, depth: usize) -> usize {
    rows.next_multiple_of(PANEL) * depth
}

/// Rows of `depth` numbers, `row` apart, turned into panels of [`PANEL`] columns: `[panels][depth][PANEL]`.
/// Columns beyond the last row are 0.
pub fn pack_transposed<T: Float>(
    rows: usize,
    depth: usize,
    from: &[T],
    row: usize,
    packed: &mut [T],
) {
    if depth == 0 {
        return;
    }
    for (panel, packed) in packed.chunks_exact_mut(depth * PANEL).enumerate() {
        let first = panel * PANEL;
        let count = rows.saturating_sub(first).min(PANEL);
        if count < PANEL {
            packed.fill(T::ZERO);
        }
        for column in 0..count {
            let start = (first + column) * row;
            let from = &from[start..start + depth];
            for (to, &x) in packed.chunks_exact_mut(PANEL).zip(from) {
                to[column] = x;
            }
        }
    }
}

/// result = left · rightᵀ for rows `first..first + count` of what [`pack_transposed`] packed; `first` is a
/// multiple of [`PANEL`], and the result has whole panels of columns.
#[allow(clippy::too_many_arguments, reason = "two matrices with their strides, and a part of one")]
pub fn product_packed<T: Float>(
    rows: usize,
    depth: usize,
    left: &[T],
    left_row: usize,
    packed: &[T],
    first: usize,
    count: usize,
    result: &mut [T],
    result_row: usize,
) {
    for panel in 0..count.div_ceil(PANEL) {
        Product {
            rows,
            depth,
            columns: PANEL,
            left,
            left_row,
            left_column: 1,
            right: &packed[(first / PANEL + panel) * depth * PANEL..],
            right_row: PANEL,
            result: &mut result[panel * PANEL..],
            result_row,
            add: false,
        }
        .compute();
    }
}

/// Copies rows of `width` numbers into rows of `to_row`, which may be wider: the rest is 0.
pub fn copy_padded<T: Float>(
    rows: usize,
    width: usize,
    from: &[T],
    from_row: usize,
    to: &mut [T],
    to_row: usize,
) {
    for row in 0..rows {
        let to = &mut to[row * to_row..(row + 1) * to_row];
        to[..width].copy_from_slice(&from[row * from_row..row * from_row + width]);
        to[width..].fill(T::ZERO);
    }
}

/// e^x for x up to 88, 0 below -87 in f32: for logits from which their maximum or log-sum was subtracted.
/// Free of branches and calls in f32, so that loops of it are vectorised; error below 2 units in the last
/// place. NaN stays NaN.
#[inline(always)]
pub fn exp<T: Float>(x: T) -> T {
    if size_of::<T>() == size_of::<f32>() {
        bytemuck::cast(exp_f32(bytemuck::cast(x)))
    } else {
        x.exp()
    }
}

/// Range reduction to ±ln 2 / 2 and the polynomial of Cephes' `expf`.
#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    // Adding it leaves the nearest whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LOWEST: f32 = -87.3;
    let clamped = if x < LOWEST { LOWEST } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    // ln 2 in two parts, so that the first product is exact.
    let r = clamped - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut y = 1.987_569_1e-4f32;
    y = y * r + 1.398_199_9e-3;
    y = y * r + 8.333_452e-3;
    y = y * r + 4.166_579_6e-2;
    y = y * r + 1.666_666_5e-1;
    y = y * r + 0.5;
    y = y * (r * r) + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < LOWEST { 0.0 } else { y * power }
}

/// The largest of many numbers; a NaN loses. Negative infinity of none.
#[inline(always)]
pub fn max<T: Float>(x: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [T::NEG_INFINITY; PAD];
    let chunks = x.chunks_exact(PAD);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, x);
    }
    lanes.into_iter().fold(T::NEG_INFINITY, larger)
}

/// Sum of `term(i)` for i below `count`, in [`PAD`] lanes.
#[inline(always)]
pub fn sum<T: Float>(count: usize, term: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::ZERO; PAD];
    let mut at = 0;
    while at + PAD <= count {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(at + lane);
        }
        at += PAD;
    }
    for (lane, sum) in lanes.iter_mut().enumerate().take(count - at) {
        *sum += term(at + lane);
    }
    // Halves onto halves, so that no lane waits for all the others.
    let mut width = PAD / 2;
    while width > 0 {
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] += other;
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::philox::Philox;

    #[test]
    fn exponential_is_within_two_units() {
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error < 2.4e-7, "e^{x}: {error:e}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0f32), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn products_of_every_edge() {
        let stream = Philox::new(1, "block");
        let numbers = |part: u64, count: usize| -> Vec<f64> {
            (0..count).map(|i| stream.at(part).normal(i as u64)).collect()
        };
        for rows in [1, 2, 3, 5, 14, 19, 33] {
            for (depth, columns) in [(0, 16), (1, 48), (7, 32), (33, 80)] {
                let left = numbers(0, rows * depth);
                let right = numbers(1, depth * columns);
                for (transposed, add) in [(false, false), (true, true)] {
                    let (left_row, left_column) = if transposed { (1, rows) } else { (depth, 1) };
                    let mut result = vec![0.5; rows * columns];
                    Product {
                        rows,
                        depth,
                        columns,
                        left: &left,
                        left_row,
                        left_column,
                        right: &right,
                        right_row: columns,
                        result: &mut result,
                        result_row: columns,
                        add,
                    }
                    .compute();
                    for i in 0..rows {
                        for j in 0..columns {
                            let sum: f64 = (0..depth)
                                .map(|k| {
                                    left[i * left_row + k * left_column] * right[k * columns + j]
                                })
                                .sum();
                            let expected = sum + if add { 0.5 } else { 0.0 };
                            assert!((result[i * columns + j] - expected).abs() < 1e-12);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn packed_products() {
        let stream = Philox::new(2, "block");
        let (rows, others, depth) = (5, 70, 9);
        let left: Vec<f32> = (0..rows * depth).map(|i| stream.normal(i as u64) as f32).collect();
        let right: Vec<f32> =
            (0..others * depth).map(|i| stream.at(1).normal(i as u64) as f32).collect();
        let mut packed = vec![f32::NAN; packed_len(others, depth)];
        pack_transposed(others, depth, &right, depth, &mut packed);
        let mut result = vec![f32::NAN; rows * 64];
        product_packed(rows, depth, &left, depth, &packed, 32, 38, &mut result, 64);
        for i in 0..rows {
            for j in 0..64 {
                let other = 32 + j;
                let expected: f32 = if other < others {
                    (0..depth).map(|k| left[i * depth + k] * right[other * depth + k]).sum()
                } else {
                    0.0
                };
                assert!((result[i * 64 + j] - expected).abs() < 1e-5);
            }
        }
    }
}
