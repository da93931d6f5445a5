//! Packed panels: B in pieces as wide as a register tile, which the sum reads sequentially.

use super::kernel::Registers;
use crate::Float;

/// Numbers that are copied at a time: a cache line of f32.
const STEP: usize = 16;

/// The split of B's columns into panels of `vectors` vectors; the last one may be narrower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels {
    columns: usize,
    lanes: usize,
    vectors: usize,
}

impl Panels {
    pub(crate) fn new<T: Float>(columns: usize) -> Self {
        let Registers { lanes, vectors: most } = Registers::of::<T>();
        let all = columns.div_ceil(lanes);
        let vectors = match all {
            _ if most < 4 || all <= most => all.min(most),
            _ if all.is_multiple_of(3) => 3,
            _ if all.is_multiple_of(4) => 4,
            // Avoid a last panel of one vector, which is the slowest.
            _ if all % 3 == 2 || all % 4 == 1 => 3,
            _ => 4,
        };
        Panels { columns, lanes, vectors }
    }

    /// The number of panels.
    pub(crate) fn count(&self) -> usize {
        self.columns.div_ceil(self.vectors * self.lanes)
    }

    /// The first column of a panel. Times the depth, it is the offset of the packed panel.
    #[inline(always)]
    pub(crate) fn start(&self, panel: usize) -> usize {
        panel * self.vectors * self.lanes
    }

    /// The columns of a panel, without padding.
    #[inline(always)]
    pub(crate) fn filled(&self, panel: usize) -> usize {
        (self.columns - self.start(panel)).min(self.vectors * self.lanes)
    }

    /// Vectors in a row of the panel.
    #[inline(always)]
    pub(crate) fn vectors(&self, panel: usize) -> usize {
        self.filled(panel).div_ceil(self.lanes)
    }

    /// Numbers in a row of the panel: its columns and zero padding.
    #[inline(always)]
    pub(crate) fn width(&self, panel: usize) -> usize {
        self.vectors(panel) * self.lanes
    }

    /// The count of numbers in the panels `panels` at this depth.
    pub(crate) fn size(&self, panels: &std::ops::Range<usize>, depth: usize) -> usize {
        if panels.is_empty() {
            return 0;
        }
        (self.start(panels.end - 1) + self.width(panels.end - 1) - self.start(panels.start)) * depth
    }

    /// Copies one row into every packed panel.
    #[inline(always)]
    pub(crate) fn put_row<T: Float>(
        &self,
        panels: std::ops::Range<usize>,
        depth: usize,
        k: usize,
        row: &[T],
        out: &mut [T],
    ) {
        let first = self.start(panels.start);
        for panel in panels {
            let (start, filled, width) = (self.start(panel), self.filled(panel), self.width(panel));
            let out = &mut out[(start - first) * depth + k * width..][..width];
            // Pieces of constant length: a `memcpy` call for each row would cost more than the copy.
            let (to, to_rest) = out.as_chunks_mut::<STEP>();
            let (from, from_rest) = row[start..start + filled].as_chunks::<STEP>();
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
            let to = to.as_flattened_mut().iter_mut().chain(to_rest).skip(from.len() * STEP);
            let rest = from_rest.iter().copied().chain(std::iter::repeat(T::ZERO));
            for (to, value) in to.zip(rest) {
                *to = value;
            }
        }
    }

    /// Copies rows `0..count` of a transposed matrix (column `c` at `c * stride`) into packed panels.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "a matrix, a range and a place")]
    pub(crate) fn put_transposed<T: Float>(
        &self,
        panels: std::ops::Range<usize>,
        depth: usize,
        k: usize,
        data: &[T],
        stride: usize,
        count: usize,
        out: &mut [T],
    ) {
        let first = self.start(panels.start);
        for panel in panels {
            let (start, filled, width) = (self.start(panel), self.filled(panel), self.width(panel));
            let out = &mut out[(start - first) * depth + k * width..][..count * width];
            let address = |column: usize| data[(start + column) * stride..][..count].as_ptr();
            // SAFETY: each address leads to its numbers, and `out` has `count` rows as wide as the panel.
            unsafe { transpose(filled, count, address, out.as_mut_ptr(), width) };
            if filled < width {
                for row in out.chunks_exact_mut(width) {
                    row[filled..].fill(T::ZERO);
                }
            }
        }
    }
}

/// Transposes `rows` rows of `columns` numbers into the columns of a matrix with row stride `stride`.
///
/// # Safety
/// Each row's address must lead to its numbers, and `to` to `columns` rows of `rows` numbers that no other task uses.
#[inline(always)]
pub(crate) unsafe fn transpose<T: Float>(
    rows: usize,
    columns: usize,
    address: impl Fn(usize) -> *const T,
    to: *mut T,
    stride: usize,
) {
    for row in (0..rows).step_by(STEP) {
        let high = STEP.min(rows - row);
        for column in (0..columns).step_by(STEP) {
            let wide = STEP.min(columns - column);
            // SAFETY: by the contract above.
            unsafe {
                let to = to.add(column * stride + row);
                if high == STEP && wide == STEP {
                    let square = std::array::from_fn(
                        #[inline(always)]
                        |r| address(row + r).add(column).cast::<[T; STEP]>().read_unaligned(),
                    );
                    for (c, turned) in transposed(square).into_iter().enumerate() {
                        to.add(c * stride).cast::<[T; STEP]>().write_unaligned(turned);
                    }
                    continue;
                }
                for r in 0..high {
                    let from = address(row + r).add(column);
                    for c in 0..wide {
                        *to.add(c * stride + r) = *from.add(c);
                    }
                }
            }
        }
    }
}

/// Transposes a square in registers: four steps, each of which interleaves the first half of the rows with the
/// second.
#[inline(always)]
fn transposed<T: Float>(mut square: [[T; STEP]; STEP]) -> [[T; STEP]; STEP] {
    for _ in 0..STEP.ilog2() {
        let mut next = square;
        for i in 0..STEP / 2 {
            for j in 0..STEP / 2 {
                next[2 * i][2 * j] = square[i][j];
                next[2 * i][2 * j + 1] = square[i + STEP / 2][j];
                next[2 * i + 1][2 * j] = square[i][j + STEP / 2];
                next[2 * i + 1][2 * j + 1] = square[i + STEP / 2][j + STEP / 2];
            }
        }
        square = next;
    }
    square
}
