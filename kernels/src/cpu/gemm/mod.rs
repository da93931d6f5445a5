//! The matrix product that linear layers, convolutions and attention share.
//!
//! A is read through pointers: a [`Rows`] gives the address of each group of contiguous numbers of a row. A
//! dense matrix has one group for each row; a convolution has one for each tap, so it needs no im2col copy. B is
//! packed into panels as wide as a register tile. An epilogue (bias, ReLU, accumulation) is applied to the
//! result before it is written to any row of the output.
//!
//! - [`product`]: C = A·B, one task for each block of rows (and range of columns).
//! - [`product_transposed`]: C = Aᵀ·B, the gradient of weights: the sum runs over the rows, in slices.
//! - [`serial`]: a small product inside a task of another op; [`tiny`]: one whose operands are packed already.
//!
//! The split into tasks and the order of every sum are functions of the shapes only.

mod kernel;
mod panels;
mod rows;
pub mod tiny;
mod transposed;

pub use rows::{Target, product};
pub use transposed::product_transposed;

use std::ops::Range;

use crate::Float;
use crate::cpu::scratch;
use crate::cpu::simd::{self, Isa, Work};
use kernel::{ByColumns, ByRows, Finish, Place, Stretch, tiles};
pub(crate) use panels::{Panels, transpose};

/// A matrix whose rows consist of `groups` pieces of `width` contiguous numbers.
///
/// # Safety
/// [`point`](Rows::point) must write pointers to `width` readable numbers, valid as long as the value.
pub unsafe trait Rows<T>: Sync {
    /// The number of blocks of rows; a block is one unit of work.
    fn blocks(&self) -> usize;
    /// The rows of a block. Blocks must be in order and cover every row once.
    fn block(&self, block: usize) -> Range<usize>;
    /// The number of pieces in a row.
    fn groups(&self) -> usize;
    /// The count of numbers in a piece.
    fn width(&self) -> usize;
    /// Writes, for each of these rows of one block, the address (with its provenance exposed) of its piece of this
    /// group, or `zeros` where the piece is all zeros. Returns whether any piece is not all zeros.
    fn point(
        &self,
        rows: Range<usize>,
        group: usize,
        zeros: usize,
        addresses: &mut [usize],
    ) -> bool;
}

/// A strided matrix view of a slice: element (row, column) is `data[row * strides.0 + column * strides.1]`.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    strides: (usize, usize),
    /// The most rows in a block.
    most: usize,
}

impl<'a, T: Float> View<'a, T> {
    /// A matrix of these extents. One of the strides must be 1.
    ///
    /// # Panics
    /// If the slice is too short for it, or if neither stride is 1.
    pub fn new(data: &'a [T], [rows, columns]: [usize; 2], strides: (usize, usize)) -> Self {
        if rows > 0 && columns > 0 {
            let last = (rows - 1) * strides.0 + (columns - 1) * strides.1;
            assert!(
                last < data.len(),
                "view of {rows}x{columns} by {strides:?}: the slice has only {} numbers",
                data.len()
            );
        }
        let contiguous = strides.1 == 1 || strides.0 == 1 || columns == 1 || rows == 1;
        assert!(contiguous, "view: got strides {strides:?}; one of them must be 1");
        let most = (NUMBERS / columns.max(1)).clamp(LEAST, MOST).min(rows.div_ceil(2));
        View { data, rows, columns, strides, most: if rows <= THIN { THIN } else { most } }
    }

    /// This matrix as one block of rows.
    fn in_one_block(self) -> Self {
        View { most: usize::MAX, ..self }
    }

    /// A dense row-major matrix.
    pub fn dense(data: &'a [T], rows: usize, columns: usize) -> Self {
        View::new(data, [rows, columns], (columns, 1))
    }

    /// The transposed view.
    pub fn transposed(self) -> Self {
        let strides = (self.strides.1, self.strides.0);
        View::new(self.data, [self.columns, self.rows], strides)
    }

    /// Rows of a block: all rows if they are few, otherwise an even share.
    fn block_rows(&self) -> usize {
        let blocks = self.rows.div_ceil(self.most).max(1);
        self.rows.div_ceil(blocks).max(1).next_multiple_of(TILES)
    }

    #[inline(always)]
    fn pack(&self, rows: Range<usize>, to: &mut Packing<'_, T>) {
        if self.strides.1 == 1 || self.columns == 1 {
            for row in rows {
                to.row(&self.data[row * self.strides.0..][..self.columns]);
            }
        } else if self.strides.0 == 1 {
            to.transposed(&self.data[rows.start..], self.strides.1, rows.len());
        } else {
            // A strided row.
            for row in rows {
                to.transposed(&self.data[row * self.strides.0..], self.strides.1, 1);
            }
        }
    }
}

/// The most numbers of a block of a dense matrix: they stay in L2 while all panels of B are multiplied with them.
const NUMBERS: usize = 144 * 1024;
/// The fewest rows of a block, to reuse each panel that comes from L3.
const LEAST: usize = 120;
/// The most rows of a block.
const MOST: usize = 480;
/// The rows of a block are a multiple of this: whole tiles of every height.
const TILES: usize = 24;
/// A dense matrix of at most this many rows is one block. B is then not packed beforehand, since it is read once.
const THIN: usize = 192;

// SAFETY: the constructor checked that the rows are inside the slice, which outlives the view.
unsafe impl<T: Float> Rows<T> for View<'_, T> {
    fn blocks(&self) -> usize {
        self.rows.div_ceil(self.block_rows())
    }

    fn block(&self, block: usize) -> Range<usize> {
        let rows = self.block_rows();
        block * rows..self.rows.min((block + 1) * rows)
    }

    fn groups(&self) -> usize {
        1
    }

    fn width(&self) -> usize {
        assert!(
            self.strides.1 == 1 || self.columns == 1,
            "product: the rows of A must be contiguous"
        );
        self.columns
    }

    fn point(&self, rows: Range<usize>, _: usize, _: usize, addresses: &mut [usize]) -> bool {
        for (row, address) in rows.zip(addresses) {
            *address = self.data[row * self.strides.0..].as_ptr().expose_provenance();
        }
        true
    }
}

/// The right operand of a product, which [`pack`](Matrix::pack) copies into panels.
pub trait Matrix<T>: Sync {
    /// Rows and columns.
    fn extents(&self) -> [usize; 2];
    /// Copies these rows to `to`, in order.
    fn pack(&self, rows: Range<usize>, to: &mut Packing<'_, T>);
}

impl<T: Float> Matrix<T> for View<'_, T> {
    fn extents(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    #[inline(always)]
    fn pack(&self, rows: Range<usize>, to: &mut Packing<'_, T>) {
        View::pack(self, rows, to);
    }
}

/// The target of [`Matrix::pack`]: packed panels.
#[derive(Debug)]
pub struct Packing<'a, T> {
    layout: Panels,
    panels: Range<usize>,
    /// The depth of the panels, and the rows filled so far.
    depth: usize,
    filled: usize,
    out: &'a mut [T],
}

impl<'a, T: Float> Packing<'a, T> {
    fn new(layout: Panels, panels: Range<usize>, depth: usize, out: &'a mut [T]) -> Self {
        Packing { layout, panels, depth, filled: 0, out }
    }

    /// Appends one row, with all columns of the matrix.
    #[inline(always)]
    pub fn row(&mut self, row: &[T]) {
        self.layout.put_row(self.panels.clone(), self.depth, self.filled, row, self.out);
        self.filled += 1;
    }

    /// Appends `count` rows of a transposed matrix: element (row, column) is at `column * stride + row`.
    #[inline(always)]
    pub fn transposed(&mut self, data: &[T], stride: usize, count: usize) {
        let panels = self.panels.clone();
        self.layout.put_transposed(panels, self.depth, self.filled, data, stride, count, self.out);
        self.filled += count;
    }
}

/// C = A·B or C += A·B on the calling thread, for small products inside the tasks of other ops.
///
/// C is row-major in `c`, with row stride `ldc`. A is [m, k], B [k, n].
///
/// # Panics
/// If the extents do not match or `c` is too short.
pub fn serial<T: Float>(a: View<'_, T>, b: View<'_, T>, c: &mut [T], ldc: usize, accumulate: bool) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows, "product of {m}x{k} and {}x{n}", b.rows);
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            c.chunks_mut(ldc).take(m).for_each(|row| row[..n].fill(T::ZERO));
        }
        return;
    }
    assert!((m - 1) * ldc + n <= c.len(), "product of {m}x{n} by {ldc} into {}", c.len());
    let layout = Panels::new::<T>(n);
    // If B's rows are contiguous, its full panels need no copy.
    let direct = b.strides.1 == 1 || n == 1;
    let whole = (0..layout.count()).filter(|&p| layout.filled(p) == layout.width(p)).count();
    let packed = if direct { whole..layout.count() } else { 0..layout.count() };
    scratch::with::<T, _>(layout.size(&packed, k), |buffer| {
        scratch::with::<usize, _>(m.max(k), |addresses| {
            simd::run(Serial {
                a,
                b,
                c: c.as_mut_ptr(),
                ldc,
                accumulate,
                layout,
                packed,
                buffer,
                addresses,
            });
        });
    });
}

struct Serial<'a, T> {
    a: View<'a, T>,
    b: View<'a, T>,
    c: *mut T,
    ldc: usize,
    accumulate: bool,
    layout: Panels,
    packed: Range<usize>,
    buffer: &'a mut [T],
    addresses: &'a mut [usize],
}

impl<T: Float> Work for Serial<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let k = self.a.columns;
        if !self.packed.is_empty() {
            self.b.pack(0..k, &mut Packing::new(self.layout, self.packed.clone(), k, self.buffer));
        }
        let by_rows = self.a.strides.1 == 1 || k == 1;
        let (count, stride) =
            if by_rows { (self.a.rows, self.a.strides.0) } else { (k, self.a.strides.1) };
        for (i, address) in self.addresses[..count].iter_mut().enumerate() {
            *address = self.a.data[i * stride..].as_ptr().expose_provenance();
        }
        for panel in 0..self.layout.count() {
            let (b, ldb) = if self.packed.contains(&panel) {
                let offset = self.layout.start(panel) - self.layout.start(self.packed.start);
                (self.buffer[offset * k..].as_ptr(), self.layout.width(panel))
            } else {
                (self.b.data[self.layout.start(panel)..].as_ptr(), self.b.strides.0)
            };
            let finish = Finish {
                output: self.c,
                column_stride: 1,
                add: self.accumulate,
                bias: None,
                relu: false,
            };
            let to = Place {
                finish: &finish,
                place: |row: usize| row * self.ldc,
                column: self.layout.start(panel),
                count: self.layout.filled(panel),
            };
            let (table, rows) = (&self.addresses[..], self.a.rows);
            let vectors = self.layout.vectors(panel);
            // SAFETY: `serial` checked that A's rows or columns, B's panel and C's rows are inside their slices.
            unsafe {
                if by_rows {
                    let stretches = &[Stretch { table: 0, start: 0, length: k, depth: 0 }];
                    tiles::<I, _>(rows, vectors, |row| ByRows {
                        table,
                        row,
                        stretches,
                        b,
                        ldb,
                        to,
                    });
                } else {
                    let a = |k: usize| std::ptr::with_exposed_provenance::<T>(table[k]);
                    tiles::<I, _>(rows, vectors, |row| ByColumns { a, row, depth: k, b, ldb, to });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::philox::Philox;

    fn numbers<T: Float>(count: usize, stream: &str) -> Vec<T> {
        let stream = Philox::new(3, stream);
        (0..count).map(|i| T::from_f64(stream.normal(i as u64))).collect()
    }

    /// A·B + start, by the definition.
    fn naive<T: Float>(a: &[T], b: &[T], start: T, [m, n, k]: [usize; 3]) -> Vec<f64> {
        let cell = |i: usize| {
            let (row, column) = (i / n, i % n);
            let term = |l: usize| a[row * k + l].to_f64() * b[l * n + column].to_f64();
            start.to_f64() + (0..k).map(term).sum::<f64>()
        };
        (0..m * n).map(cell).collect()
    }

    fn transpose<T: Float>(data: &[T], rows: usize, columns: usize) -> Vec<T> {
        (0..rows * columns).map(|i| data[i % rows * columns + i / rows]).collect()
    }

    fn close<T: Float>(got: &[T], expected: &[f64], k: usize, tolerance: f64, what: &str) {
        let worst =
            got.iter().zip(expected).map(|(g, e)| (g.to_f64() - e).abs()).fold(0.0, f64::max);
        assert!(worst <= tolerance * (k as f64).sqrt().max(1.0), "{what}: off by {worst:e}");
    }

    const EXTENTS: [[usize; 3]; 14] = [
        [1, 1, 1],
        [3, 5, 7],
        [12, 32, 40],
        [27, 48, 50],
        [61, 96, 13],
        [130, 144, 90],
        [7, 100, 300],
        [5, 17, 5000],
        [33, 300, 4100],
        [401, 33, 800],
        [2500, 40, 20],
        [250, 3, 1600],
        [50, 1100, 40],
        [500, 70, 30],
    ];

    fn every_product<T: Float>(tolerance: f64) {
        for extents @ [m, n, k] in EXTENTS {
            let (a, b) = (numbers::<T>(m * k, "a"), numbers::<T>(k * n, "b"));
            let bias = numbers::<T>(n, "bias");
            let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
            let nan = T::from_f64(f64::NAN);
            let start = T::from_f64(0.5);
            let written = naive(&a, &b, T::ZERO, extents);
            let added = naive(&a, &b, start, extents);
            let (rows, columns) = (View::dense(&a, m, k), View::dense(&b, k, n));
            let (rows_t, columns_t) =
                (View::dense(&at, k, m).transposed(), View::dense(&bt, n, k).transposed());

            for (a, b, what) in [
                (rows, columns, "serial"),
                (rows_t, columns, "serial, A transposed"),
                (rows, columns_t, "serial, B transposed"),
                (rows_t, columns_t, "serial, both transposed"),
            ] {
                let mut c = vec![nan; m * n];
                serial(a, b, &mut c, n, false);
                close(&c, &written, k, tolerance, what);
                c.fill(start);
                serial(a, b, &mut c, n, true);
                close(&c, &added, k, tolerance, what);
            }

            for (b, what) in [(columns, "product"), (columns_t, "product, B transposed")] {
                let mut c = vec![nan; m * n];
                product(&rows, &b, &Target::new(&mut c, false), &|row| row * n);
                close(&c, &written, k, tolerance, what);
                c.fill(start);
                let target = Target::new(&mut c, true).activated(Some(&bias), true);
                product(&rows, &b, &target, &|row| row * n);
                let expected: Vec<f64> = added
                    .iter()
                    .enumerate()
                    .map(|(i, v)| (v + bias[i % n].to_f64()).max(0.0))
                    .collect();
                close(&c, &expected, k, tolerance, what);
                let mut c = vec![nan; m * n];
                product(&rows, &b, &Target::new(&mut c, false).column_stride(m), &|row| row);
                close(&transpose(&c, n, m), &written, k, tolerance, "product, C transposed");
            }

            // The sum runs over rows here: A is [k, m].
            let mut c = vec![nan; m * n];
            let a = View::dense(&at, k, m);
            product_transposed(&a, &b, n, &|row| row * n, &mut c, false);
            close(&c, &written, k, tolerance, "transposed product");
            c.fill(start);
            product_transposed(&a, &b, n, &|row| row * n, &mut c, true);
            close(&c, &added, k, tolerance, "transposed product");
        }
    }

    #[test]
    fn serial_products_of_parts() {
        for [m, n, k] in [[1, 16, 0], [9, 48, 5], [14, 80, 33], [19, 33, 7], [5, 1, 1], [1, 5, 9]] {
            // Strided rows and columns.
            let (a_row, b_row, c_row) = (k + 3, n + 5, n + 2);
            let a = numbers::<f64>(m * a_row, "a");
            let b = numbers::<f64>((k * b_row).max(n), "b");
            let a_turned = transpose(&a, m, a_row);
            let by_rows = View::new(&a, [m, k], (a_row, 1));
            let by_columns = View::new(&a_turned, [m, k], (1, m));
            let right = View::new(&b, [k, n], (b_row, 1));
            for (left, add) in [(by_rows, false), (by_columns, true), (by_rows, true)] {
                let mut c = vec![0.5; m * c_row];
                serial(left, right, &mut c, c_row, add);
                for (at, &got) in c.iter().enumerate() {
                    let (i, j) = (at / c_row, at % c_row);
                    let sum: f64 =
                        (0..k).map(|l| a[i * a_row + l] * b[l * b_row + j.min(n - 1)]).sum();
                    let expected = if j >= n { 0.5 } else { sum + if add { 0.5 } else { 0.0 } };
                    assert!((got - expected).abs() < 1e-12, "{m}x{n}x{k} at {i}, {j}");
                }
            }
        }
    }

    #[test]
    fn products_follow_the_definition_in_f64() {
        every_product::<f64>(1e-12);
    }

    #[test]
    fn products_follow_the_definition_in_f32() {
        every_product::<f32>(1e-5);
    }
}
