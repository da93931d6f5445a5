//! B cut into panels as wide as a tile, so that the sum reads it in one stream.

use super::kernel::Registers;
use crate::Float;

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
            out[..filled].copy_from_slice(&row[start..start + filled]);
            out[filled..].fill(T::ZERO);
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
        const STEP: usize = 16;
        let first = self.start(panels.start);
        for panel in panels {
            let (start, filled, width) = (self.start(panel), self.filled(panel), self.width(panel));
            let out = &mut out[(start - first) * depth + k * width..][..count * width];
            for (step, out) in out.chunks_mut(STEP * width).enumerate() {
                let rows = out.len() / width;
                for column in 0..filled {
                    let data = &data[(start + column) * stride + step * STEP..][..rows];
                    for (row, &value) in data.iter().enumerate() {
                        out[row * width + column] = value;
                    }
                }
                for row in out.chunks_exact_mut(width) {
                    row[filled..].fill(T::ZERO);
                }
            }
        }
    }
}
