//! The micro-kernel: a tile of the product in registers.
//!
//! Each step of the sum loads the vectors of a row of B once and broadcasts one number of A for each row of the
//! tile. Tiles of 8 rows of three vectors or 6 of four need 11 or 10 loads for 24 multiply-adds, and reach the
//! peak of AVX-512; 12 rows of two vectors need 14 loads and reach nine tenths of it.

use crate::Float;
use crate::cpu::simd::{self, Isa, Vector, Work};

/// Prefetch distance in rows of B: a panel is in L2, and the hardware prefetcher does not follow the tiles through
/// it.
const AHEAD: usize = 4;
/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// The tile sizes of the instruction set in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registers {
    /// Numbers in a vector.
    pub(super) lanes: usize,
    /// The most vectors in a row of a tile.
    pub(super) vectors: usize,
}

impl Registers {
    pub(super) fn of<T: Float>() -> Self {
        struct Ask<T>(std::marker::PhantomData<T>);
        impl<T: Float> Work for Ask<T> {
            type Output = Registers;
            #[inline(always)]
            unsafe fn run<I: Isa>(self) -> Registers {
                Registers { lanes: T::On::<I>::LANES, vectors: I::TILE_VECTORS }
            }
        }
        crate::cpu::simd::run(Ask(std::marker::PhantomData::<T>))
    }
}

/// A part of a product's sum: for each row of the block, `length` contiguous numbers of A times `length` rows of B.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Stretch {
    /// Index of the first row pointer in the table.
    pub(super) table: usize,
    /// Offset of the first number from each pointer.
    pub(super) start: usize,
    /// The number of numbers.
    pub(super) length: usize,
    /// The first row of B.
    pub(super) depth: usize,
}

/// Runs the tiles of a panel of `vectors` vectors over `rows` rows. Few sizes, since each is compiled for every
/// instruction set.
///
/// # Safety
/// The contracts of the tiles that `kernel` returns for each first row must hold.
#[inline(always)]
pub(super) unsafe fn tiles<I: Isa, K: simd::Tile>(
    rows: usize,
    vectors: usize,
    kernel: impl Fn(usize) -> K,
) {
    let most = I::tile_rows(vectors);
    let mut row = 0;
    while row < rows {
        let count = match rows - row {
            left if left >= most => most,
            4.. => 4,
            2.. => 2,
            _ => 1,
        };
        // SAFETY: by the contract above.
        unsafe { I::tile(count, vectors, kernel(row)) };
        row += count;
    }
}

/// Unrolls a block for each index below a constant, so that arrays with that index are in registers.
macro_rules! unrolled {
    ($i:ident < $count:ident $body:block) => {
        unrolled!(@ $i $count $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $i:ident $count:ident $body:block $($number:literal)*) => {
        $(if $number < $count {
            const $i: usize = $number;
            $body
        })*
    };
}

/// Prefetches the cache line that starts with this vector of a row of B, if one does.
#[inline(always)]
fn ask<T: Float, I: Isa>(row: *const T, vector: usize) {
    let number = vector * <T::On<I> as Vector<T>>::LANES;
    if (number * size_of::<T>()).is_multiple_of(LINE) {
        simd::prefetch(row.wrapping_add(number));
    }
}

/// The sum over all stretches of A's rows times B, for rows of the pointer table from `row` on.
///
/// To run it, every pointer must lead to its stretch's numbers, and B must have its rows, at stride `ldb`, of as
/// many vectors as the tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByRows<'a, T, P> {
    pub(super) table: &'a [usize],
    pub(super) row: usize,
    pub(super) stretches: &'a [Stretch],
    pub(super) b: *const T,
    pub(super) ldb: usize,
    pub(super) to: Place<'a, T, P>,
}

impl<T: Float, P: Fn(usize) -> usize> simd::Tile for ByRows<'_, T, P> {
    #[inline(always)]
    unsafe fn run<I: Isa, const R: usize, const V: usize>(self) {
        // SAFETY: by the contract of the type.
        unsafe {
            let zero = T::On::<I>::splat(T::ZERO);
            let mut sums = [[zero; V]; R];
            for s in self.stretches {
                let pointers = &self.table[s.table + self.row..][..R];
                let a: [*const T; R] = std::array::from_fn(|i| {
                    std::ptr::with_exposed_provenance::<T>(pointers[i]).add(s.start)
                });
                let mut b = self.b.add(s.depth * self.ldb);
                for k in 0..s.length {
                    unrolled!(J < V { ask::<T, I>(b.wrapping_add(AHEAD * self.ldb), J); });
                    let mut columns = [zero; V];
                    unrolled!(J < V { columns[J] = T::On::<I>::load(b.add(J * T::On::<I>::LANES)); });
                    unrolled!(N < R {
                        let number = T::On::<I>::splat(*a[N].add(k));
                        unrolled!(J < V { sums[N][J] = number.mul_add(columns[J], sums[N][J]); });
                    });
                    b = b.add(self.ldb);
                }
            }
            self.to.put::<I, R, V>(self.row, sums);
        }
    }
}

/// The sum over `depth` rows of A, from number `row` on, times those of B.
///
/// To run it, `a` must return pointers to the rows of A, and B must have as many rows, at stride `ldb`, of as many
/// vectors as the tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByColumns<'a, T, A, P> {
    pub(super) a: A,
    pub(super) row: usize,
    pub(super) depth: usize,
    pub(super) b: *const T,
    pub(super) ldb: usize,
    pub(super) to: Place<'a, T, P>,
}

impl<T: Float, A, P> simd::Tile for ByColumns<'_, T, A, P>
where
    A: Fn(usize) -> *const T,
    P: Fn(usize) -> usize,
{
    #[inline(always)]
    unsafe fn run<I: Isa, const R: usize, const V: usize>(self) {
        // SAFETY: by the contract of the type.
        unsafe {
            let zero = T::On::<I>::splat(T::ZERO);
            let mut sums = [[zero; V]; R];
            let mut b = self.b;
            for k in 0..self.depth {
                let a = (self.a)(k).add(self.row);
                // The next tile's numbers: the rows are too far apart for the hardware prefetcher.
                simd::prefetch(a.wrapping_add(R));
                let mut columns = [zero; V];
                unrolled!(J < V { columns[J] = T::On::<I>::load(b.add(J * T::On::<I>::LANES)); });
                unrolled!(N < R {
                    let number = T::On::<I>::splat(*a.add(N));
                    unrolled!(J < V { sums[N][J] = number.mul_add(columns[J], sums[N][J]); });
                });
                b = b.add(self.ldb);
            }
            self.to.put::<I, R, V>(self.row, sums);
        }
    }
}

/// The output of a tile and its epilogue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'a, T> {
    /// The output's first number.
    pub(super) output: *mut T,
    /// Stride of the output's columns: 1 unless the output is transposed.
    pub(super) column_stride: usize,
    /// Whether to add to the output's old values.
    pub(super) add: bool,
    /// Added to each column.
    pub(super) bias: Option<&'a [T]>,
    /// Whether to apply ReLU.
    pub(super) relu: bool,
}

/// The output of a panel's tiles: row `i` starts at `place(i)`, from column `column` on, `count` columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a, T, P> {
    pub(super) finish: &'a Finish<'a, T>,
    pub(super) place: P,
    pub(super) column: usize,
    pub(super) count: usize,
}

impl<T: Float, P: Fn(usize) -> usize> Place<'_, T, P> {
    /// Writes a tile from registers to the output.
    ///
    /// # Safety
    /// The processor has the instruction set; the rows and columns are inside the output and no other task uses them.
    #[inline(always)]
    unsafe fn put<I: Isa, const R: usize, const V: usize>(
        self,
        row: usize,
        sums: [[T::On<I>; V]; R],
    ) {
        let lanes = T::On::<I>::LANES;
        let Finish { output, column_stride, add, bias, relu } = *self.finish;
        // SAFETY: by the contract above, and the bias has the columns.
        unsafe {
            if column_stride != 1 || self.count != V * lanes {
                let mut tile = [[T::On::<I>::splat(T::ZERO); V]; R];
                unrolled!(N < R {
                    unrolled!(J < V { tile[N][J] = sums[N][J]; });
                });
                let numbers = tile.as_ptr().cast::<T>();
                let numbers = std::slice::from_raw_parts(numbers, R * V * lanes);
                return self.pieces(row, numbers, V * lanes);
            }
            unrolled!(N < R {
                let to = output.add((self.place)(row + N) + self.column);
                if add {
                    unrolled!(J < V {
                        sums[N][J].add(T::On::<I>::load(to.add(J * lanes))).store(to.add(J * lanes));
                    });
                } else {
                    unrolled!(J < V { sums[N][J].store(to.add(J * lanes)); });
                }
            });
            if bias.is_none() && !relu {
                return;
            }
            let zero = T::On::<I>::splat(T::ZERO);
            for i in 0..R {
                for j in 0..V {
                    let column = self.column + j * lanes;
                    let to = output.add((self.place)(row + i) + column);
                    let mut value = T::On::<I>::load(to);
                    if let Some(bias) = bias {
                        value = value.add(T::On::<I>::load(bias.as_ptr().add(column)));
                    }
                    if relu {
                        value = value.max(zero);
                    }
                    value.store(to);
                }
            }
        }
    }

    /// Writes a tile number by number: one with partial vectors or strided columns.
    ///
    /// # Safety
    /// As for [`put`](Self::put).
    #[inline(never)]
    unsafe fn pieces(self, first: usize, tile: &[T], width: usize) {
        let Finish { output, column_stride, add, bias, relu } = *self.finish;
        for (i, row) in tile.chunks_exact(width).enumerate() {
            let place = (self.place)(first + i);
            for (j, &value) in row[..self.count].iter().enumerate() {
                let column = self.column + j;
                // SAFETY: by the contract above.
                let to = unsafe { &mut *output.add(place + column * column_stride) };
                let mut value = if add { value + *to } else { value };
                if let Some(bias) = bias {
                    value += bias[column];
                }
                *to = if relu { value.max(T::ZERO) } else { value };
            }
        }
    }
}
