//! Products of small matrices that stand packed in the first caches already.

use super::kernel::{ByColumns, ByRows, Finish, Place, Stretch, tiles};
use crate::Float;
use crate::cpu::simd::{self, Isa, Vector, Work};

/// The right side and the result of a small product: one panel of `vectors` vectors a row, rows side by side.
#[derive(Debug, Clone, Copy)]
pub struct Panel<T> {
    /// B's rows, as many as the sum is long.
    pub b: *const T,
    /// C's rows.
    pub c: *mut T,
    /// Vectors a row: as many as a panel has.
    pub vectors: usize,
    /// Whether to add to what stands in C.
    pub add: bool,
}

impl<T: Float> Panel<T> {
    /// C (+)= A·B, with row `i` of A the `depth` numbers `start` numbers behind address `table[i]`.
    ///
    /// # Safety
    /// A, B and C have their rows, and nobody else uses C's.
    pub unsafe fn rows(self, table: &[usize], start: usize, depth: usize) {
        simd::run(Rows(self, table, Stretch { table: 0, start, length: depth, depth: 0 }));
    }

    /// C (+)= Aᵀ·B: row `k` of A, of `rows` numbers, starts at `a + k * stride`; there are `depth`.
    ///
    /// # Safety
    /// As for [`rows`](Self::rows).
    pub unsafe fn columns(self, a: *const T, stride: usize, rows: usize, depth: usize) {
        simd::run(Columns { panel: self, a, stride, rows, depth });
    }

    fn finish(&self) -> Finish<'static, T> {
        Finish { output: self.c, column_stride: 1, add: self.add, bias: None, relu: false }
    }
}

struct Rows<'a, T>(Panel<T>, &'a [usize], Stretch);

impl<T: Float> Work for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Rows(panel, table, stretch) = self;
        let (finish, stretches) = (panel.finish(), &[stretch]);
        let ldb = panel.vectors * T::On::<I>::LANES;
        let to = Place { finish: &finish, place: |row| row * ldb, column: 0, count: ldb };
        let kernel = |row| ByRows { table, row, stretches, b: panel.b, ldb, to };
        // SAFETY: by the contract of `Panel::rows`.
        unsafe { tiles::<I, _>(table.len(), panel.vectors, kernel) };
    }
}

struct Columns<T> {
    panel: Panel<T>,
    a: *const T,
    stride: usize,
    rows: usize,
    depth: usize,
}

impl<T: Float> Work for Columns<T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Columns { panel, a, stride, rows, depth } = self;
        let finish = panel.finish();
        let ldb = panel.vectors * T::On::<I>::LANES;
        let to = Place { finish: &finish, place: |row| row * ldb, column: 0, count: ldb };
        let a = |k: usize| a.wrapping_add(k * stride);
        let kernel = |row| ByColumns { a, row, depth, b: panel.b, ldb, to };
        // SAFETY: by the contract of `Panel::columns`.
        unsafe { tiles::<I, _>(rows, panel.vectors, kernel) };
    }
}
