//! The gradient of the kernels: 36 products of transformed inputs and transformed output gradients. Their sums over
//! all tiles are transformed back once.

use super::transform::{self, PATCH, TAPS, TILE};
use super::{PRODUCTS, Plane, Tiles, apart, spread};
use crate::Float;
use crate::cpu::gemm::{Panels, tiny::Panel};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::{self, Isa, Vector, Work};
use crate::cpu::{reduce, scratch};
use crate::op::Gradient;
use crate::ops::conv3d::cpu::Geometry;
use std::ops::Range;

/// Tiles of a block, over which sums are kept in registers.
const BLOCK: usize = 32;
/// Input channels of a task: their sums and a block's transforms fit in L2.
const CHANNELS: usize = 64;
/// The fewest tasks of a call, if it has as many blocks.
const TASKS: usize = 16;

pub(in crate::ops::conv3d) fn grad_weight<T: Float>(
    geometry: &Geometry,
    input: &[T],
    grad_output: &[T],
    gradient: Gradient<'_, T>,
) {
    let [channels, out] = geometry.channels;
    let images = geometry.batch;
    let plane = |data, extents: [usize; 3], channels| Plane {
        data,
        extents: [extents[1], extents[2]],
        channels,
    };
    let input = plane(input, geometry.input, channels);
    let grad_output = plane(grad_output, geometry.output, out);
    let padding = [geometry.padding[1], geometry.padding[2]];
    let tiles = Tiles { images, extents: grad_output.extents };
    let layout = Panels::new::<T>(out);
    let blocks = tiles.count().div_ceil(BLOCK);
    let pieces = channels.div_ceil(CHANNELS);
    let each = pieces * layout.count();
    let slices = TASKS.div_ceil(each).min(blocks).max(1);
    let size = TAPS * TAPS * channels * out;
    let run = |target: &Shared<T>, add: bool| {
        parallel::tasks(slices * each, |task| {
            let (slice, rest) = (task / each, task % each);
            let (piece, panel) = (rest / layout.count(), rest % layout.count());
            let channels = piece * CHANNELS..channels.min((piece + 1) * CHANNELS);
            let width = layout.width(panel);
            let sums = PRODUCTS * channels.len() * width;
            let patches = PRODUCTS * apart(BLOCK * channels.len());
            let gradients = PRODUCTS * apart(BLOCK * width);
            let zeros = input.channels.max(out);
            scratch::with::<T, _>(zeros + sums + patches + gradients, |numbers| {
                let (zeros, numbers) = numbers.split_at_mut(zeros);
                zeros.fill(T::ZERO);
                let (sums, numbers) = numbers.split_at_mut(sums);
                let (patches, gradients) = numbers.split_at_mut(patches);
                let piece = Piece {
                    input,
                    grad_output,
                    padding,
                    tiles,
                    layout,
                    channels,
                    panel,
                    blocks: slice * blocks / slices..(slice + 1) * blocks / slices,
                    zeros,
                    sums,
                    patches,
                    gradients,
                    // SAFETY: each task writes its own channels of its own slice.
                    target: unsafe { target.pointer(slice * size) },
                    add,
                };
                piece.run();
            });
        });
    };
    if slices == 1 {
        return run(&Shared::new(gradient.data), gradient.add);
    }
    scratch::with::<T, _>(slices * size, |partial| {
        run(&Shared::new(partial), false);
        reduce::slices(partial, gradient.data, gradient.add);
    });
}

/// The kernels between some input channels and a panel of output channels, from some blocks of tiles.
struct Piece<'a, T> {
    input: Plane<'a, T>,
    grad_output: Plane<'a, T>,
    padding: [usize; 2],
    tiles: Tiles,
    layout: Panels,
    channels: Range<usize>,
    panel: usize,
    blocks: Range<usize>,
    zeros: &'a [T],
    /// For each product: input channels x columns of the panel.
    sums: &'a mut [T],
    /// For each product: tiles x input channels.
    patches: &'a mut [T],
    /// For each product: tiles x columns of the panel.
    gradients: &'a mut [T],
    target: *mut T,
    add: bool,
}

struct Transform<'a, 'b, T>(&'b mut Piece<'a, T>, Range<usize>);

impl<T: Float> Work for Transform<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        // SAFETY: the processor has the instruction set, by the contract of `run`.
        unsafe { self.0.transform::<I>(self.1) };
    }
}

struct Finish<'a, 'b, T>(&'b Piece<'a, T>);

impl<T: Float> Work for Finish<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        // SAFETY: as above; the target's channels belong to this task only.
        unsafe { self.0.finish::<I>() };
    }
}

impl<T: Float> Piece<'_, T> {
    fn run(mut self) {
        let (width, vectors) = (self.layout.width(self.panel), self.layout.vectors(self.panel));
        let channels = self.channels.len();
        for (number, block) in self.blocks.clone().enumerate() {
            let range = block * BLOCK..self.tiles.count().min((block + 1) * BLOCK);
            simd::run(Transform(&mut self, range.clone()));
            for product in 0..PRODUCTS {
                let b = self.gradients[product * apart(BLOCK * width)..].as_ptr();
                let c = self.sums[product * channels * width..].as_mut_ptr();
                let a = self.patches[product * apart(BLOCK * channels)..].as_ptr();
                let panel = Panel { b, c, vectors, add: number > 0 };
                // SAFETY: the buffers have the rows and columns of each product.
                unsafe { panel.columns(a, channels, channels, range.len()) };
            }
        }
        simd::run(Finish(&self));
    }

    #[inline(always)]
    unsafe fn transform<I: Isa>(&mut self, range: Range<usize>) {
        let channels = self.channels.len();
        let (width, column) = (self.layout.width(self.panel), self.layout.start(self.panel));
        for (row, tile) in range.enumerate() {
            let (image, [y, x]) = self.tiles.locate(tile);
            let first =
                [y as isize - self.padding[0] as isize, x as isize - self.padding[1] as isize];
            let patch = self.input.square::<PATCH>(image, first, self.zeros);
            let outputs =
                self.grad_output.square::<TILE>(image, [y as isize, x as isize], self.zeros);
            // SAFETY: the buffers fit 36 products of a block's tiles.
            unsafe {
                let to = self.patches.as_mut_ptr().add(row * channels);
                let range = self.channels.clone();
                spread!(input: PATCH, T, I, &patch, range, to, apart(BLOCK * channels));
                let to = self.gradients.as_mut_ptr().add(row * width);
                let range = column..column + width;
                spread!(grad_output: TILE, T, I, &outputs, range, to, apart(BLOCK * width));
            }
        }
    }

    /// Transforms the sums and writes the gradient of the kernels.
    #[inline(always)]
    unsafe fn finish<I: Isa>(&self) {
        let (width, column) = (self.layout.width(self.panel), self.layout.start(self.panel));
        let stride = self.channels.len() * width;
        let (channels, out) = (self.input.channels, self.grad_output.channels);
        for (row, channel) in self.channels.clone().enumerate() {
            for c in (0..width).step_by(T::On::<I>::LANES) {
                let sums = self.sums[row * width + c..].as_ptr();
                // SAFETY: the sums are initialised, and the gradient has nine taps of the channels.
                unsafe {
                    let zero = T::On::<I>::splat(T::ZERO);
                    let to = self.target.add(channel * out + column + c);
                    transform::both!(
                        grad_kernel: PATCH -> TAPS, T, I,
                        |i, j| T::On::<I>::load(sums.add((i * PATCH + j) * stride)),
                        |i, j, value| {
                            let to = to.add((i * TAPS + j) * channels * out);
                            let old = if self.add { T::On::<I>::load(to) } else { zero };
                            value.add(old).store(to);
                        },
                    );
                }
            }
        }
    }
}
