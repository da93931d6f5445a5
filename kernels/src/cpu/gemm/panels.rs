//! B cut into panels as wide as a tile, so that the sum reads it in one stream.

use super::kernel::Registers;
use crate::Float;

/// Numbers that are copied at a time: a cache line of f32.
const STEP: usize = 16;

/// How the columns of B are cut: panels of `vectors` vectors, the last perhaps narrower.
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
            // The fewest vectors in a narrow last panel are the dearest.
            _ if all % 3 == 2 || all % 4 == 1 => 3,
            _ => 4,
        };
        Panels { columns, lanes, vectors }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.columns.div_ceil(self.vectors * self.lanes)
    }

    /// The first column of a panel. Times the depth, it is also where a packed panel starts.
    #[inline(always)]
    pub(crate) fn start(&self, panel: usize) -> usize {
        panel * self.vectors * self.lanes
    }

    /// How many columns of a panel there really are.
    #[inline(always)]
    pub(crate) fn filled(&self, panel: usize) -> usize {
        (self.columns - self.start(panel)).min(self.vectors * self.lanes)
    }

    /// Vectors a row of the panel.
    #[inline(always)]
    pub(crate) fn vectors(&self, panel: usize) -> usize {
        self.filled(panel).div_ceil(self.lanes)
    }

    /// Numbers a row of the panel: its columns and zeros.
    #[inline(always)]
    pub(crate) fn width(&self, panel: usize) -> usize {
        self.vectors(panel) * self.lanes
    }

    /// Numbers that panels `panels` of this depth take.
    pub(crate) fn size(&self, panels: &std::ops::Range<usize>, depth: usize) -> usize {
        if panels.is_empty() {
            return 0;
        }
        (self.start(panels.end - 1) + self.width(panels.end - 1) - self.start(panels.start)) * depth
    }

    /// Copies one row into its place in every packed panel.
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
            // Pieces of a known length, for a call a row costs more than the copy.
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
            // SAFETY: each address has its numbers, and `out` has `count` rows as wide as the panel.
            unsafe { transpose(filled, count, address, out.as_mut_ptr(), width) };
            if filled < width {
                for row in out.chunks_exact_mut(width) {
                    row[filled..].fill(T::ZERO);
                }
            }
        }
    }
}

/// Copies `rows` rows of `columns` numbers into columns of a matrix whose rows are `stride` apart.
///
/// # Safety
/// Each row's address leads to its numbers, and `to` to `columns` rows of `rows` numbers that are nobody else's.
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

/// A square transposed: four times the first half of its rows is interleaved with the second, which vectors do many
/// numbers at a time.
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
