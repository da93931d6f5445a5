//! Winograd convolution, F(4x4, 3x3): 3x3 taps and stride 1 with a quarter of the multiplications (Lavin and Gray
//! 2016, "Fast Algorithms for Convolutional Neural Networks").
//!
//! Tiles of 4x4 outputs, from patches of 6x6 inputs, become 36 matrix products over the channels. A task transforms
//! the patches of some tiles; then, for one panel of output channels at a time, it transforms the kernels,
//! multiplies, and transforms back, so that all intermediate results stay in its cache. Nothing is stored between
//! calls.
//!
//! In f32 the root mean square error of outputs and gradients, relative to their root mean square, is 1e-6 to 2e-6,
//! and the largest error below 5e-5; for the direct sum it is about 1e-7. The test `transforms_lose_few_digits`
//! requires 3e-6 and 1e-4.

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
/// The fewest channels for which the transforms pay.
const CHANNELS: usize = 32;
/// The channels must be a multiple of this: whole vectors on every instruction set.
const LANES: usize = 16;

/// Whether the transforms are possible and pay: 3x3 taps with padding of at most 2, whole vectors of many channels,
/// and outputs that fill at least half of their tiles.
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

/// The stride between the matrices of two products: an odd number of cache lines, so that the 36 elements of a
/// channel map to different sets of L1.
fn apart(numbers: usize) -> usize {
    numbers.next_multiple_of(LANES) | LANES
}

impl<T: Float> Plane<'_, T> {
    /// Pointers to a square of pixels from `first` on; to `zeros` outside of the image.
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

/// Transforms the channels `range` of a square of pixels, and writes element `c` of product `p` to `to + p * stride +
/// c`. A macro, as `both` is.
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
