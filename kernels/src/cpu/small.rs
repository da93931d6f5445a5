//! Products of blocks that fit in a core's caches, for ops that fuse a product with what stands before and behind
//! it: attention, graph convolution.
//!
//! Everything here runs on the thread that calls it and sums in a fixed order.

use super::simd::{self, Isa, Vector, Work};
use crate::Float;

/// The number of columns of a product is a multiple of this: whole vectors, whatever the instruction set.
pub const PAD: usize = 16;

/// Columns of a panel of packed columns: two of the widest vectors.
pub const PANEL: usize = 32;

/// Depth of a panel that [`product_packed`] keeps in L1.
const DEPTH: usize = 128;
/// Numbers of a row that [`pack_transposed`] turns at a time.
const CHUNK: usize = 64;

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
    /// Element (i, k) stands at `i * left_row + k * left_column`. One of the two is 1, so either order of axes will
    /// do.
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
        let contiguous = self.left_column == 1 || self.left_row == 1;
        assert!(contiguous || self.depth < 2 || self.rows < 2, "left by neither rows nor columns");
        simd::run(self);
    }
}

impl<T: Float> Work for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(mut self) {
        let lanes = T::On::<I>::LANES;
        let result = self.result.as_mut_ptr();
        // One row or one column alone has no second to stand anywhere.
        if self.rows == 1 {
            self.left_row = 1;
        } else if self.depth < 2 {
            self.left_column = 1;
        }
        let mut column = 0;
        while column < self.columns {
            let vectors = (self.columns - column) / lanes;
            let width = match vectors {
                // Four are two and two.
                3 | 5.. if const { I::TILE_VECTORS > 2 } => 3,
                2.. => 2,
                _ => 1,
            };
            // SAFETY: `compute` checked that the slices hold every row and column, and `run` that the
            // instruction set is present.
            unsafe {
                match (width, self.left_column == 1) {
                    (3, true) => strip::<T, I, 3, true>(&self, result, column),
                    (3, false) => strip::<T, I, 3, false>(&self, result, column),
                    (2, true) => strip::<T, I, 2, true>(&self, result, column),
                    (2, false) => strip::<T, I, 2, false>(&self, result, column),
                    (_, true) => strip::<T, I, 1, true>(&self, result, column),
                    (_, false) => strip::<T, I, 1, false>(&self, result, column),
                }
            }
            column += width * lanes;
        }
    }
}

/// All rows of a few vectors of columns, in the tallest tiles there are.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn strip<T: Float, I: Isa, const WIDTH: usize, const BY_ROWS: bool>(
    product: &Product<'_, T>,
    result: *mut T,
    column: usize,
) {
    let mut row = 0;
    while row < product.rows {
        let left = product.rows - row;
        // SAFETY: as promised; no tile is taller than the rows that are left.
        row += unsafe {
            match left {
                12.. if const { I::TILE_VECTORS > 2 && WIDTH < 3 } => {
                    tile::<T, I, 12, WIDTH, BY_ROWS>(product, result, row, column)
                }
                8.. if const { I::TILE_VECTORS > 2 } => {
                    tile::<T, I, 8, WIDTH, BY_ROWS>(product, result, row, column)
                }
                6.. if const { WIDTH < 3 } => {
                    tile::<T, I, 6, WIDTH, BY_ROWS>(product, result, row, column)
                }
                4.. => tile::<T, I, 4, WIDTH, BY_ROWS>(product, result, row, column),
                2.. => tile::<T, I, 2, WIDTH, BY_ROWS>(product, result, row, column),
                _ => tile::<T, I, 1, WIDTH, BY_ROWS>(product, result, row, column),
            }
        };
    }
}

/// The body for each row of a tile. The compiler does not unroll a loop over the rows of the largest tile, and
/// then keeps its sums in memory.
macro_rules! unrolled {
    ($r:ident below $rows:ident, $body:block) => {
        unrolled!($r, $rows, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    ($r:ident, $rows:ident, $body:block, $($n:literal)*) => {
        $(if $n < $rows {
            let $r = $n;
            $body
        })*
    };
}

/// `ROWS` rows by `WIDTH` vectors of the result, held in registers over the whole depth. Returns `ROWS`. `left` goes
/// by rows, with a pointer a row, or by columns, with one pointer for all of them.
///
/// # Safety
/// The tile is inside the slices, the instruction set is present, and `left`'s rows or columns are contiguous as
/// `BY_ROWS` says.
#[inline(always)]
unsafe fn tile<T: Float, I: Isa, const ROWS: usize, const WIDTH: usize, const BY_ROWS: bool>(
    product: &Product<'_, T>,
    result: *mut T,
    row: usize,
    column: usize,
) -> usize {
    let lanes = T::On::<I>::LANES;
    // SAFETY: by the contract above; pointers beyond a slice are made, but not read.
    unsafe {
        let left = product.left.as_ptr().wrapping_add(row * product.left_row);
        let pointers: [*const T; ROWS] = std::array::from_fn(|r| {
            left.wrapping_add(if BY_ROWS { r * product.left_row } else { r })
        });
        let mut right = product.right.as_ptr().wrapping_add(column);
        let result = result.add(row * product.result_row + column);
        let mut sums = [[T::On::<I>::splat(T::ZERO); WIDTH]; ROWS];
        for k in 0..product.depth {
            let step = if BY_ROWS { k } else { k * product.left_column };
            let b: [T::On<I>; WIDTH] =
                std::array::from_fn(|w| T::On::<I>::load(right.add(w * lanes)));
            unrolled!(r below ROWS, {
                let a = T::On::<I>::splat(*pointers[r].add(step));
                sums[r][0] = a.mul_add(b[0], sums[r][0]);
                if WIDTH > 1 {
                    sums[r][WIDTH / 2] = a.mul_add(b[WIDTH / 2], sums[r][WIDTH / 2]);
                }
                if WIDTH == 3 {
                    sums[r][WIDTH - 1] = a.mul_add(b[WIDTH - 1], sums[r][WIDTH - 1]);
                }
            });
            right = right.wrapping_add(product.right_row);
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

/// Rows of `depth` numbers, `row` apart, turned into panels of `PANEL` columns: `[panels][depth][PANEL]`.
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
        // A few numbers of all rows at a time, so that what is written stays in L1.
        for start in (0..depth).step_by(CHUNK) {
            let chunk = CHUNK.min(depth - start);
            let packed = &mut packed[start * PANEL..(start + chunk) * PANEL];
            for column in 0..count {
                let from = &from[(first + column) * row + start..][..chunk];
                for (to, &x) in packed.chunks_exact_mut(PANEL).zip(from) {
                    to[column] = x;
                }
            }
        }
    }
}

/// result = left · rightᵀ for rows `first..first + count` of what [`pack_transposed`] packed; `first` is a
/// multiple of `PANEL`, and the result has whole panels of columns.
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
        let packed = &packed[(first / PANEL + panel) * depth * PANEL..];
        // As deep as a panel's part stays in L1 for all rows.
        for start in (0..depth).step_by(DEPTH) {
            Product {
                rows,
                depth: DEPTH.min(depth - start),
                columns: PANEL,
                left: &left[start..],
                left_row,
                left_column: 1,
                right: &packed[start * PANEL..],
                right_row: PANEL,
                result: &mut result[panel * PANEL..],
                result_row,
                add: start > 0,
            }
            .compute();
        }
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
    // Halves onto halves, so that no lane waits for all the others.
    let mut width = PAD / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = larger(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
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
    fn products_of_every_edge() {
        let stream = Philox::new(1, "block");
        let numbers = |part: u64, count: usize| -> Vec<f64> {
            (0..count).map(|i| stream.at(part).normal(i as u64)).collect()
        };
        for rows in [1, 2, 3, 5, 9, 14, 19, 30] {
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
