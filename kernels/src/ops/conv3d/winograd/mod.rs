//! Convolutions with 3x3 taps and stride 1 in a quarter of the multiplications: F(4x4, 3x3) of Winograd's minimal
//! filtering (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
//!
//! Tiles of 4x4 outputs, cut from patches of 6x6 inputs, become 36 matrix products over the channels. A task
//! transforms the patches of some tiles, then for one panel of output channels at a time the kernels, multiplies,
//! and transforms back, so that what lies between stays in its cache. Nothing is stored between calls.
//!
//! In f32 the root mean square error of outputs and gradients is 1e-6 to 2e-6 of their own, and the worst below 5e-5,
//! against some 1e-7 of the direct sum; the test `transforms_lose_few_digits` holds it below 3e-6 and 1e-4.

mod convolve;
mod grad_weight;
mod transform;

use super::cpu::Geometry;
use crate::Float;
use transform::{PATCH, TAPS, TILE};

pub(super) use convolve::{Destination, forward, grad_input};
pub(super) use grad_weight::grad_weight;

/// Products of a tile.
const PRODUCTS: usize = PATCH * PATCH;
/// Tiles are not worth transforming for fewer channels.
const CHANNELS: usize = 32;
/// Vectors must be whole on every instruction set.
const LANES: usize = 16;

/// Whether the transforms pay, and can be done: 3x3 taps that do not reach beyond an image, whole vectors of many
/// channels, and outputs that fill half of their tiles at least.
pub(super) fn suits(geometry: &Geometry) -> bool {
    let Geometry { kernel, stride, dilation, padding, output, input, channels, .. } = *geometry;
    let plain = kernel == [1, TAPS, TAPS]
        && stride == [1; 3]
        && dilation == [1; 3]
        && padding[0] == 0
        && padding[1] < TAPS
        && padding[2] < TAPS;
    let fits = |extents: [usize; 3]| {
        let covered: usize = extents[1..].iter().map(|e| e.div_ceil(TILE) * TILE).product();
        2 * extents[1] * extents[2] >= covered
    };
    let whole = channels.iter().all(|c| c.is_multiple_of(LANES) && *c >= CHANNELS);
    plain && whole && fits(output) && fits(input)
}

/// Images and the patches of tiles in them.
#[derive(Debug, Clone, Copy)]
struct Plane<'a, T> {
    data: &'a [T],
    /// Rows and columns of an image.
    extents: [usize; 2],
    channels: usize,
}

/// The tiles of some images: images, then rows, then columns of tiles.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    images: usize,
    /// Rows and columns of pixels that the tiles cover.
    extents: [usize; 2],
}

impl Tiles {
    fn grid(&self) -> [usize; 2] {
        self.extents.map(|extent| extent.div_ceil(TILE))
    }

    fn count(&self) -> usize {
        let [rows, columns] = self.grid();
        self.images * rows * columns
    }

    /// Image, and first row and column of pixels, of a tile.
    #[inline(always)]
    fn locate(&self, tile: usize) -> (usize, [usize; 2]) {
        let [rows, columns] = self.grid();
        let (image, within) = (tile / (rows * columns), tile % (rows * columns));
        (image, [within / columns * TILE, within % columns * TILE])
    }
}

/// Numbers between the matrices of two products: an odd number of cache lines, so that the 36 places of a channel
/// do not meet in one set of the first cache.
fn apart(numbers: usize) -> usize {
    numbers.next_multiple_of(LANES) | LANES
}

impl<T: Float> Plane<'_, T> {
    /// The numbers of a square of pixels, from `first` on: a pointer to each, or to `zeros` outside of the image.
    #[inline(always)]
    fn square<const SIDE: usize>(
        &self,
        image: usize,
        first: [isize; 2],
        zeros: &[T],
    ) -> [[*const T; SIDE]; SIDE] {
        let [height, width] = self.extents;
        std::array::from_fn(|i| {
            let row = first[0] + i as isize;
            std::array::from_fn(|j| {
                let column = first[1] + j as isize;
                let inside =
                    (0..height as isize).contains(&row) && (0..width as isize).contains(&column);
                if !inside {
                    return zeros.as_ptr();
                }
                let pixel = (image * height + row as usize) * width + column as usize;
                self.data[pixel * self.channels..][..self.channels].as_ptr()
            })
        })
    }
}

/// Transforms a square of pixels, the channels of `range`, and writes number `c` of product `p` to
/// `to + p * stride + c`. A macro as `both` is.
macro_rules! spread {
    ($transform:ident: $side:ident, $t:ty, $i:ty, $square:expr, $range:expr, $to:expr, $stride:expr) => {
        let (square, to, stride) = ($square, $to, $stride);
        let range: std::ops::Range<usize> = $range;
        for c in (0..range.len()).step_by(<$t as crate::cpu::simd::Vectors>::On::<$i>::LANES) {
            let at = range.start + c;
            transform::both!(
                $transform: $side -> PATCH, $t, $i,
                |i, j| <$t as crate::cpu::simd::Vectors>::On::<$i>::load(square[i][j].add(at)),
                |i, j, value| value.store(to.add((i * PATCH + j) * stride + c)),
            );
        }
    };
}
use spread;
