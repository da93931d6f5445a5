//! The tiles of a product that stand in registers while the sum runs.
//!
//! A tile has up to 14 rows of one, two or three vectors. Each step of the sum loads the vectors of a row of B
//! once and broadcasts one number of A for each row of the tile: 16 loads for 28 multiply-adds, so that the
//! multipliers and not the load ports are the limit.

use crate::Float;
use crate::cpu::simd::{Isa, Vector, Work};

/// The numbers of the largest tile: 14 rows of two vectors of AVX-512, or 8 of three.
const TILE: usize = 14 * 32;

/// A finished tile on its way to the output.
#[repr(align(64))]
pub(super) struct Tile<T>(pub(super) [T; TILE]);

/// What the tiles look like on the instruction set at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registers {
    /// Numbers a vector holds.
    pub(super) lanes: usize,
    /// Whether tiles of three vectors a row pay.
    pub(super) triple: bool,
}

impl Registers {
    pub(super) fn of<T: Float>() -> Self {
        struct Ask<T>(std::marker::PhantomData<T>);
        impl<T: Float> Work for Ask<T> {
            type Output = Registers;
            #[inline(always)]
            unsafe fn run<I: Isa>(self) -> Registers {
                Registers { lanes: T::On::<I>::LANES, triple: I::TILE_ROWS >= 12 }
            }
        }
        crate::cpu::simd::run(Ask(std::marker::PhantomData::<T>))
    }
}

/// A stretch of the sum of a product of rows: for each row of the block, `length` numbers of A that lie side
/// by side, against as many rows of B.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Stretch {
    /// Where the pointers of the block's rows start in the table.
    pub(super) table: usize,
    /// The first number behind each pointer.
    pub(super) start: usize,
    /// How many numbers.
    pub(super) length: usize,
    /// The first row of B.
    pub(super) depth: usize,
}

/// Rows of the next tile when `left` remain: few sizes, for each is compiled for every instruction set.
#[inline(always)]
pub(super) fn step(most: usize, left: usize) -> usize {
    if left >= most {
        most
    } else if left >= 4 {
        4
    } else {
        1
    }
}

/// tile = the sum over all stretches of A's rows times B, for `R` rows of the pointer table from `row` on.
///
/// # Safety
/// The instruction set is present; every pointer leads to its stretch's numbers; B has its rows, `ldb` apart,
/// of `V` vectors each.
#[inline(always)]
pub(super) unsafe fn rows<T: Float, I: Isa, const R: usize, const V: usize>(
    table: &[usize],
    row: usize,
    stretches: &[Stretch],
    b: *const T,
    ldb: usize,
    tile: &mut Tile<T>,
) {
    // SAFETY: by the contract above.
    unsafe {
        let mut sums = [[T::On::<I>::splat(T::ZERO); V]; R];
        for s in stretches {
            let pointers = &table[s.table + row..][..R];
            let a: [*const T; R] = std::array::from_fn(|i| {
                std::ptr::with_exposed_provenance::<T>(pointers[i]).add(s.start)
            });
            let mut b = b.add(s.depth * ldb);
            for k in 0..s.length {
                let columns: [T::On<I>; V] =
                    std::array::from_fn(|j| T::On::<I>::load(b.add(j * T::On::<I>::LANES)));
                for (sums, a) in sums.iter_mut().zip(a) {
                    let broadcast = T::On::<I>::splat(*a.add(k));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = broadcast.mul_add(column, *sum);
                    }
                }
                b = b.add(ldb);
            }
        }
        put::<T, I, R, V>(&sums, tile);
    }
}

/// tile = the sum over `depth` rows of `R` columns of A, behind a pointer a row, times that row of B.
///
/// # Safety
/// The instruction set is present; `a` gives pointers to `R` numbers for each row below `depth`; B has as many
/// rows, `ldb` apart, of `V` vectors each.
#[inline(always)]
pub(super) unsafe fn columns<T: Float, I: Isa, const R: usize, const V: usize>(
    a: impl Fn(usize) -> *const T,
    depth: usize,
    b: *const T,
    ldb: usize,
    tile: &mut Tile<T>,
) {
    // SAFETY: by the contract above.
    unsafe {
        let mut sums = [[T::On::<I>::splat(T::ZERO); V]; R];
        let mut b = b;
        for k in 0..depth {
            let a = a(k);
            let columns: [T::On<I>; V] =
                std::array::from_fn(|j| T::On::<I>::load(b.add(j * T::On::<I>::LANES)));
            for (i, sums) in sums.iter_mut().enumerate() {
                let broadcast = T::On::<I>::splat(*a.add(i));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = broadcast.mul_add(column, *sum);
                }
            }
            b = b.add(ldb);
        }
        put::<T, I, R, V>(&sums, tile);
    }
}

/// # Safety
/// The instruction set is present.
#[inline(always)]
unsafe fn put<T: Float, I: Isa, const R: usize, const V: usize>(
    sums: &[[T::On<I>; V]; R],
    tile: &mut Tile<T>,
) {
    assert!(R * V * T::On::<I>::LANES <= TILE);
    for (i, row) in sums.iter().enumerate() {
        for (j, sum) in row.iter().enumerate() {
            // SAFETY: inside the tile, by the assertion.
            unsafe { sum.store(tile.0.as_mut_ptr().add((i * V + j) * T::On::<I>::LANES)) };
        }
    }
}

/// Where a tile goes and what is done to it on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'a, T> {
    /// The output's first number.
    pub(super) output: *mut T,
    /// How far apart the columns of the output are: 1 but for transposed outputs.
    pub(super) column_stride: usize,
    /// Whether to add to what stands there.
    pub(super) add: bool,
    /// What is added to each column.
    pub(super) bias: Option<&'a [T]>,
    /// Whether negative numbers become 0.
    pub(super) relu: bool,
}

impl<T: Float> Finish<'_, T> {
    /// Writes the rows of a tile to the places of the output, from column `column` on, `count` columns.
    ///
    /// # Safety
    /// The instruction set is present; the places and columns are inside the output and nobody else's.
    #[inline(always)]
    pub(super) unsafe fn put<I: Isa, const V: usize>(
        &self,
        tile: &Tile<T>,
        places: impl Iterator<Item = usize>,
        column: usize,
        count: usize,
    ) {
        let lanes = T::On::<I>::LANES;
        for (i, place) in places.enumerate() {
            let row = &tile.0[i * V * lanes..][..V * lanes];
            // SAFETY: by the contract above, and the tile and the bias have the columns.
            unsafe {
                if self.column_stride == 1 && count == V * lanes {
                    let output = self.output.add(place + column);
                    for j in 0..V {
                        let mut value = T::On::<I>::load(row.as_ptr().add(j * lanes));
                        if self.add {
                            value = value.add(T::On::<I>::load(output.add(j * lanes)));
                        }
                        if let Some(bias) = self.bias {
                            value =
                                value.add(T::On::<I>::load(bias.as_ptr().add(column + j * lanes)));
                        }
                        if self.relu {
                            value = value.max(T::On::<I>::splat(T::ZERO));
                        }
                        value.store(output.add(j * lanes));
                    }
                } else {
                    for (j, &value) in row[..count].iter().enumerate() {
                        let output = self.output.add(place + (column + j) * self.column_stride);
                        let mut value = value;
                        if self.add {
                            value += *output;
                        }
                        if let Some(bias) = self.bias {
                            value += bias[column + j];
                        }
                        *output = if self.relu { value.max(T::ZERO) } else { value };
                    }
                }
            }
        }
    }
}

/// Calls a kernel with its number of rows as a constant. The `const` conditions keep the tiles that an
/// instruction set has no use for from being compiled.
macro_rules! with_rows {
    ($rows:expr, $i:ident, $v:ident, $kernel:ident, $most:literal, ($($argument:expr),* $(,)?)) => {
        match $rows {
            4 => $kernel::<T, $i, 4, $v>($($argument),*),
            1 => $kernel::<T, $i, 1, $v>($($argument),*),
            _ => {
                if const { $v == 3 } {
                    $kernel::<T, $i, 8, $v>($($argument),*)
                } else if const { $i::TILE_ROWS == 12 } {
                    $kernel::<T, $i, $most, $v>($($argument),*)
                } else if const { $i::TILE_ROWS == 6 } {
                    $kernel::<T, $i, 6, $v>($($argument),*)
                }
            }
        }
    };
}
pub(super) use with_rows;

/// The most rows of a tile whose rows each have a pointer.
#[inline(always)]
pub(super) fn most_rows<I: Isa, const V: usize>() -> usize {
    if V == 3 { 8 } else { I::TILE_ROWS }
}

/// The most rows of a tile whose rows lie side by side in A.
#[inline(always)]
pub(super) fn most_columns<I: Isa, const V: usize>() -> usize {
    match (V, I::TILE_ROWS) {
        (3, _) => 8,
        (_, 12) => 14,
        (_, rows) => rows,
    }
}
