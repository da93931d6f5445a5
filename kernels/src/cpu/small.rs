//! Helpers of fused ops (attention, InfoNCE): padded copies, products with packed rows, maxima and sums.
//!
//! Every function runs on the calling thread and sums in a fixed order.

use super::gemm::{View, serial};
use crate::Float;

/// The number of columns of a product must be a multiple of this: whole vectors on every instruction set.
pub const PAD: usize = 16;

/// Columns of a panel of packed columns: two of the widest vectors.
pub const PANEL: usize = 32;

/// Depth of a panel that [`product_packed`] keeps in L1.
const DEPTH: usize = 128;
/// Numbers of a row that [`pack_transposed`] transposes at a time.
const CHUNK: usize = 64;

/// A number of columns rounded up to whole vectors.
pub fn padded(columns: usize) -> usize {
    columns.next_multiple_of(PAD)
}

/// The count of numbers that [`pack_transposed`] writes.
pub fn packed_len(rows: usize, depth: usize) -> usize {
    rows.next_multiple_of(PANEL) * depth
}

/// Transposes rows of `depth` numbers, at stride `row`, into panels of `PANEL` columns: `[panels][depth][PANEL]`.
/// Columns past the last row are 0.
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
        // A few numbers of all rows at a time, so that the written panel stays in L1.
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

/// result = left · rightᵀ for rows `first..first + count` of the right side that [`pack_transposed`] packed. `first`
/// must be a multiple of `PANEL`; the result has whole panels of columns.
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
        // A depth for which a panel's part stays in L1 for all rows.
        for start in (0..depth).step_by(DEPTH) {
            let part = DEPTH.min(depth - start);
            serial(
                View::new(&left[start..], [rows, part], (left_row, 1)),
                View::dense(&packed[start * PANEL..], part, PANEL),
                &mut result[panel * PANEL..],
                result_row,
                start > 0,
            );
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

/// The maximum, ignoring NaN; negative infinity of an empty slice.
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
    // Pairwise by halves: a short dependency chain.
    let mut width = PAD / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = larger(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of `term(i)` for i below `count`, in [`PAD`] partial sums.
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
    // Pairwise by halves: a short dependency chain.
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
