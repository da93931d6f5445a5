//! The forward pass, and the gradient of the input, which is a convolution of the output's gradient with the flipped
//! kernels.

use super::transform::{self, PATCH, TAPS, TILE};
use super::{PRODUCTS, Plane, Tiles, apart, spread};
use crate::Float;
use crate::cpu::gemm::{Panels, tiny::Panel, transpose};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::scratch;
use crate::cpu::simd::{self, Isa, Vector, Work};
use crate::ops::conv3d::cpu::Geometry;
use std::ops::Range;

/// Tiles of a block: the transforms of their patches and the products of a panel fit in L2.
const BLOCK: usize = 48;
/// The most input channels whose kernels are transformed together.
const DEPTH: usize = 96;
/// The fewest tasks for each thread, if there are enough panels. Each task transforms the patches of its block again,
/// so there are only as many as keep all threads busy. The results do not depend on their number.
const TASKS: usize = 2;
/// The most bytes of transformed kernels that all blocks share. More would not stay in the cache; then each block
/// transforms its own.
const SHARED: usize = 8 << 20;
/// The fewest blocks for which sharing pays.
const BLOCKS: usize = 4;

/// The target of the outputs and their epilogue.
#[derive(Debug)]
pub(in crate::ops::conv3d) struct Destination<'a, T> {
    pub(in crate::ops::conv3d) data: &'a mut [T],
    pub(in crate::ops::conv3d) add: bool,
    pub(in crate::ops::conv3d) bias: Option<&'a [T]>,
    pub(in crate::ops::conv3d) relu: bool,
}

pub(in crate::ops::conv3d) fn forward<T: Float>(
    geometry: &Geometry,
    input: &[T],
    weight: &[T],
    to: Destination<'_, T>,
) {
    let [channels, out] = geometry.channels;
    let [_, height, width] = geometry.input;
    let input = Plane { data: input, extents: [height, width], channels };
    let padding = [geometry.padding[1], geometry.padding[2]];
    let extents = [geometry.output[1], geometry.output[2]];
    convolve(input, padding, weight, out, Tiles { images: geometry.batch, extents }, to);
}

pub(in crate::ops::conv3d) fn grad_input<T: Float>(
    geometry: &Geometry,
    grad_output: &[T],
    weight: &[T],
    to: Destination<'_, T>,
) {
    let [channels, out] = geometry.channels;
    let [_, height, width] = geometry.output;
    let input = Plane { data: grad_output, extents: [height, width], channels: out };
    let padding = [TAPS - 1 - geometry.padding[1], TAPS - 1 - geometry.padding[2]];
    let tiles = Tiles { images: geometry.batch, extents: [geometry.input[1], geometry.input[2]] };
    scratch::with::<T, _>(weight.len(), |turned| {
        turn(weight, [channels, out], turned);
        convolve(input, padding, turned, channels, tiles, to);
    });
}

/// Taps in the opposite order, and input and output channels exchanged.
fn turn<T: Float>(weight: &[T], [channels, out]: [usize; 2], turned: &mut [T]) {
    const SIDE: usize = 16;
    let size = channels * out;
    parallel::rows(turned, SIDE * channels, 2 * SIDE * channels, |first, rows| {
        simd::vectorised(
            #[inline(always)]
            || {
                for (strip, rows) in rows.chunks_exact_mut(SIDE * channels).enumerate() {
                    let row = (first + strip) * SIDE;
                    let (tap, column) = (TAPS * TAPS - 1 - row / out, row % out);
                    let weight = &weight[tap * size..][..size];
                    let from = |c: usize| weight[c * out + column..][..SIDE].as_ptr();
                    // SAFETY: each channel has these elements from the column on, and the strip has a row for each.
                    unsafe { transpose(channels, SIDE, from, rows.as_mut_ptr(), channels) };
                }
            },
        );
    });
}

/// The kernels of a convolution, `[9, channels, out]`, and the split of their channels.
#[derive(Debug, Clone, Copy)]
struct Kernels<'a, T> {
    weight: &'a [T],
    channels: usize,
    out: usize,
    /// The panels of the output channels.
    panels: Panels,
    /// The input channels of a piece.
    depth: usize,
}

impl<'a, T: Float> Kernels<'a, T> {
    fn new(weight: &'a [T], channels: usize, out: usize) -> Self {
        let pieces = channels.div_ceil(DEPTH);
        let depth = channels.div_ceil(pieces).next_multiple_of(super::LANES);
        Kernels { weight, channels, out, panels: Panels::new::<T>(out), depth }
    }

    fn pieces(&self) -> usize {
        self.channels.div_ceil(self.depth)
    }

    /// The input channels of a piece.
    #[inline(always)]
    fn piece(&self, piece: usize) -> Range<usize> {
        piece * self.depth..self.channels.min((piece + 1) * self.depth)
    }

    /// The stride between the products of a panel's piece.
    #[inline(always)]
    fn stride(&self, panel: usize, piece: usize) -> usize {
        apart(self.piece(piece).len() * self.panels.width(panel))
    }

    /// The offset of the transforms of a panel's piece, when all are stored.
    #[inline(always)]
    fn place(&self, panel: usize, piece: usize) -> usize {
        (panel * self.pieces() + piece) * self.room()
    }

    /// The buffer size for the transforms of any piece of any panel.
    fn room(&self) -> usize {
        PRODUCTS * apart(self.depth * self.panels.width(0))
    }

    /// Transforms a piece of a panel: for each product, input channels x columns of the panel.
    #[inline(always)]
    unsafe fn transform<I: Isa>(&self, panel: usize, piece: usize, to: &mut [T]) {
        let range = self.piece(piece);
        let (column, width) = (self.panels.start(panel), self.panels.width(panel));
        let (taps, stride) = (self.channels * self.out, self.stride(panel, piece));
        assert!(to.len() >= PRODUCTS * stride);
        for (k, channel) in range.enumerate() {
            let weight = self.weight[channel * self.out + column..].as_ptr();
            for c in (0..width).step_by(T::On::<I>::LANES) {
                // SAFETY: every tap of the channel has the panel's columns, and the buffer fits the products.
                unsafe {
                    let to = to.as_mut_ptr().add(k * width + c);
                    transform::both!(
                        kernel: TAPS -> PATCH, T, I,
                        |i, j| T::On::<I>::load(weight.add((i * TAPS + j) * taps + c)),
                        |i, j, value| value.store(to.add((i * PATCH + j) * stride)),
                    );
                }
            }
        }
    }
}

/// One piece of a panel of kernels, to be transformed.
struct Transform<'a, T>(&'a Kernels<'a, T>, usize, usize, &'a mut [T]);

impl<T: Float> Work for Transform<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        let Transform(kernels, panel, piece, to) = self;
        // SAFETY: the processor has the instruction set, by the contract of `run`.
        unsafe { kernels.transform::<I>(panel, piece, to) };
    }
}

/// to = epilogue(the convolution of `input` with `weight`, [9, channels, out]).
fn convolve<T: Float>(
    input: Plane<'_, T>,
    padding: [usize; 2],
    weight: &[T],
    out: usize,
    tiles: Tiles,
    to: Destination<'_, T>,
) {
    let kernels = Kernels::new(weight, input.channels, out);
    let size = kernels.room() * kernels.panels.count() * kernels.pieces();
    let blocks = tiles.count().div_ceil(BLOCK);
    let call = Call { input, padding, kernels, tiles, to, blocks };
    if blocks < BLOCKS || size * size_of::<T>() > SHARED {
        return call.run(None);
    }
    scratch::with::<T, _>(size, |transformed| {
        let shared = Shared::new(transformed);
        let pieces = kernels.pieces();
        parallel::tasks(kernels.panels.count() * pieces, |task| {
            let (panel, piece) = (task / pieces, task % pieces);
            // SAFETY: each task has its own piece of its own panel.
            let to = unsafe { shared.part(kernels.place(panel, piece), kernels.room()) };
            simd::run(Transform(&kernels, panel, piece, to));
        });
        call.run(Some(transformed));
    });
}

/// A convolution, before its split into tasks.
struct Call<'a, T> {
    input: Plane<'a, T>,
    padding: [usize; 2],
    kernels: Kernels<'a, T>,
    tiles: Tiles,
    to: Destination<'a, T>,
    blocks: usize,
}

impl<T: Float> Call<'_, T> {
    /// Runs all tasks, with all kernels transformed before, or none.
    fn run(self, transformed: Option<&[T]>) {
        let Call { input, padding, kernels, tiles, to, blocks } = self;
        let tasks = TASKS * rayon::current_num_threads();
        let groups = tasks.div_ceil(blocks.max(1)).min(kernels.panels.count());
        let output = Shared::new(to.data);
        let widest = kernels.panels.width(0);
        parallel::tasks(blocks * groups, |task| {
            let (block, group) = (task / groups, task % groups);
            let first = block * tiles.count() / blocks;
            let count = (block + 1) * tiles.count() / blocks - first;
            let patches = kernels.pieces() * PRODUCTS * apart(count * kernels.depth);
            let products = PRODUCTS * apart(count * widest);
            let own = if transformed.is_none() { kernels.room() } else { 0 };
            scratch::with::<usize, _>(count, |table| {
                scratch::with::<T, _>(input.channels + patches + products + own, |numbers| {
                    let (zeros, numbers) = numbers.split_at_mut(input.channels);
                    zeros.fill(T::ZERO);
                    let (patches, numbers) = numbers.split_at_mut(patches);
                    let (products, own) = numbers.split_at_mut(products);
                    let panels = kernels.panels.count();
                    let block = Block {
                        input,
                        padding,
                        kernels,
                        tiles,
                        range: first..first + count,
                        panels: group * panels / groups..(group + 1) * panels / groups,
                        transformed,
                        zeros,
                        table,
                        patches,
                        products,
                        own,
                        output: &output,
                        add: to.add,
                        bias: to.bias,
                        relu: to.relu,
                    };
                    block.run();
                });
            });
        });
    }
}

/// Some tiles and some panels of output channels, with buffers for the intermediate results.
struct Block<'a, T> {
    input: Plane<'a, T>,
    padding: [usize; 2],
    kernels: Kernels<'a, T>,
    tiles: Tiles,
    range: Range<usize>,
    panels: Range<usize>,
    transformed: Option<&'a [T]>,
    zeros: &'a [T],
    /// Addresses of the rows of a product's left side.
    table: &'a mut [usize],
    /// For each piece and product: tiles x channels of the piece.
    patches: &'a mut [T],
    /// For each product: tiles x columns of a panel.
    products: &'a mut [T],
    /// A buffer for a piece of a panel's kernels, if they are not transformed before.
    own: &'a mut [T],
    output: &'a Shared<T>,
    add: bool,
    bias: Option<&'a [T]>,
    relu: bool,
}

struct Patches<'a, 'b, T>(&'b mut Block<'a, T>);

impl<T: Float> Work for Patches<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        // SAFETY: the processor has the instruction set, by the contract of `run`.
        unsafe { self.0.transform_patches::<I>() };
    }
}

struct Outputs<'a, 'b, T>(&'b Block<'a, T>, usize);

impl<T: Float> Work for Outputs<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<I: Isa>(self) {
        // SAFETY: as above; the output's pixels and channels belong to this task only.
        unsafe { self.0.transform_outputs::<I>(self.1) };
    }
}

impl<T: Float> Block<'_, T> {
    fn run(mut self) {
        simd::run(Patches(&mut self));
        for panel in self.panels.clone() {
            self.multiply(panel);
            simd::run(Outputs(&self, panel));
        }
    }

    #[inline(always)]
    unsafe fn transform_patches<I: Isa>(&mut self) {
        let stride = apart(self.range.len() * self.kernels.depth);
        for (row, tile) in self.range.clone().enumerate() {
            let (image, [y, x]) = self.tiles.locate(tile);
            let first =
                [y as isize - self.padding[0] as isize, x as isize - self.padding[1] as isize];
            let square = self.input.square::<PATCH>(image, first, self.zeros);
            for piece in 0..self.kernels.pieces() {
                let channels = self.kernels.piece(piece);
                let to = piece * PRODUCTS * stride + row * channels.len();
                // SAFETY: every piece fits 36 products of the block's tiles.
                unsafe {
                    let to = self.patches.as_mut_ptr().add(to);
                    spread!(input: PATCH, T, I, &square, channels, to, stride);
                }
            }
        }
    }

    fn multiply(&mut self, panel: usize) {
        let tiles = self.range.len();
        let panels = self.kernels.panels;
        let (width, vectors) = (panels.width(panel), panels.vectors(panel));
        let stride = apart(tiles * self.kernels.depth);
        for piece in 0..self.kernels.pieces() {
            let count = self.kernels.piece(piece).len();
            for (row, address) in self.table.iter_mut().enumerate() {
                let patches = &self.patches[piece * PRODUCTS * stride + row * count..];
                *address = patches.as_ptr().expose_provenance();
            }
            let kernels = match self.transformed {
                Some(all) => &all[self.kernels.place(panel, piece)..],
                None => {
                    simd::run(Transform(&self.kernels, panel, piece, self.own));
                    &*self.own
                }
            };
            let apart_by = self.kernels.stride(panel, piece);
            for product in 0..PRODUCTS {
                let b = kernels[product * apart_by..][..count * width].as_ptr();
                let c =
                    self.products[product * apart(tiles * width)..][..tiles * width].as_mut_ptr();
                let panel = Panel { b, c, vectors, add: piece > 0 };
                // SAFETY: the patches have the rows of each product.
                unsafe { panel.rows(self.table, product * stride, count) };
            }
        }
    }

    /// Transforms the products of a panel and writes the outputs.
    #[inline(always)]
    unsafe fn transform_outputs<I: Isa>(&self, panel: usize) {
        let lanes = T::On::<I>::LANES;
        let (panels, out) = (self.kernels.panels, self.kernels.out);
        let (width, column) = (panels.width(panel), panels.start(panel));
        let stride = apart(self.range.len() * width);
        let [height, all] = self.tiles.extents;
        for (row, tile) in self.range.clone().enumerate() {
            let (image, [y, x]) = self.tiles.locate(tile);
            let (rows, columns) = (TILE.min(height - y), TILE.min(all - x));
            let place = ((image * height + y) * all + x) * out + column;
            for c in (0..width).step_by(lanes) {
                let products = self.products[row * width + c..].as_ptr();
                // SAFETY: the products are initialised, and the pixels are inside the image.
                unsafe {
                    let output = self.output.pointer(place + c);
                    transform::both!(
                        output: PATCH -> TILE, T, I,
                        |i, j| T::On::<I>::load(products.add((i * PATCH + j) * stride)),
                        |i, j, value| if i < rows && j < columns {
                            let to = output.add((i * all + j) * out);
                            let mut value = value;
                            if self.add {
                                value = value.add(T::On::<I>::load(to));
                            }
                            if let Some(bias) = self.bias {
                                let bias = T::On::<I>::load(bias[column + c..].as_ptr());
                                value = value.add(bias);
                            }
                            if self.relu {
                                value = value.max(T::On::<I>::splat(T::ZERO));
                            }
                            value.store(to);
                        },
                    );
                }
            }
        }
    }
}
