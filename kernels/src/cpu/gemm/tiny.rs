//! Products of small packed matrices that are in the L1 or L2 cache.

use super::kernel::{ByColumns, ByRows, Finish, Place, Stretch, tiles};
use crate::Float;
use crate::cpu::simd::{self, Isa, Vector, Work};

/// The right side and the result of a small product: one panel of contiguous rows of `vectors` vectors.
#[derive(Debug, Clone, Copy)]
pub struct Panel<T> {
    /// B's rows, one for each term of the sum.
    pub b: *const T,
    /// C's rows.
    pub c: *mut T,
    /// Vectors in a row: as many as a panel has.
    pub vectors: usize,
    /// Whether to add to C.
    pub add: bool,
}

impl<T: Float> Panel<T> {
    /// C (+)= A·B. Row `i` of A is the `depth` numbers that start `start` numbers after address `table[i]`.
    ///
    /// # Safety
    /// The pointers lead to all rows of A, B and C, and no other task uses C.
    pub unsafe fn rows(self, table: &[usize], start: usize, depth: usize) {
        simd::run(Rows(self, table, Stretch { table: 0, start, length: depth, depth: 0 }));
    }

    /// C (+)= Aᵀ·B. Row `k` of A, of `rows` numbers, starts at `a + k * stride`; A has `depth` rows.
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
