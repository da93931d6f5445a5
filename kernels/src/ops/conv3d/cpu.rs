use super::{Conv3d, scatter, winograd};
use crate::Float;
use crate::cpu::gemm::{Matrix, Packing, Rows, Target, View, product, product_transposed};
use crate::cpu::{parallel, scratch};
use crate::op::Gradient;
use crate::ops::linear::cpu as linear;
use crate::ops::linear::cpu::{before_relu, grad_bias};
use std::ops::Range;

pub(super) use crate::ops::linear::cpu::Gradients;

/// Pixels of a block in the forward pass and the gradient of the input: a multiple of every tile's rows.
const BLOCK: usize = 120;
/// Pixels of a block in the gradient of the weight, which is summed over them in registers.
const LONG_BLOCK: usize = 144;

/// Fewer channels than this do not fill a vector.
const NARROW: usize = 16;

/// The extents of one call.
#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) input: [usize; 3],
    pub(super) output: [usize; 3],
    pub(super) kernel: [usize; 3],
    pub(super) stride: [usize; 3],
    pub(super) padding: [usize; 3],
    pub(super) dilation: [usize; 3],
    pub(super) channels: [usize; 2],
}

impl Geometry {
    pub(super) fn new(
        op: &Conv3d,
        batch: usize,
        input: [usize; 3],
        output: [usize; 3],
        kernel: [usize; 3],
        channels: [usize; 2],
    ) -> Self {
        let Conv3d { stride, padding, dilation, .. } = *op;
        let mut new =
            Geometry { batch, input, output, kernel, stride, padding, dilation, channels };
        if kernel[0] == 1 && stride[0] == 1 && padding[0] == 0 {
            // Kernel depth is 1, so depth folds into the batch.
            new.batch *= input[0];
            new.input[0] = 1;
            new.output[0] = 1;
        }
        new
    }

    /// `Some` if it is a linear layer over pixels: its rows, input features and output features.
    fn pointwise(&self) -> Option<[usize; 3]> {
        let holds = self.kernel == [1; 3] && self.stride == [1; 3] && self.padding == [0; 3];
        let pixels = self.batch * self.input.iter().product::<usize>();
        holds.then_some([pixels, self.channels[0], self.channels[1]])
    }

    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// The coordinates of a tap in the kernel.
    fn tap(&self, tap: usize) -> [usize; 3] {
        let [_, kh, kw] = self.kernel;
        [tap / (kh * kw), tap / kw % kh, tap % kw]
    }

    /// Calls the body with the input neighbourhoods of the output's pixels.
    fn neighbourhoods<T: Float, R>(
        &self,
        input: &[T],
        block: usize,
        body: impl FnOnce(Neighbourhoods<'_, T>) -> R,
    ) -> R {
        let offset = |tap: usize| {
            let tap = self.tap(tap);
            std::array::from_fn(|a| (tap[a] * self.dilation[a]) as isize - self.padding[a] as isize)
        };
        let channels = self.channels[0];
        let [_, _, columns] = self.kernel;
        let rows = Neighbourhoods {
            data: input,
            extents: self.input,
            channels,
            width: channels,
            stride: self.stride,
            offsets: (0..self.taps()).map(offset).collect(),
            grid: Grid { batch: self.batch, extents: self.output, block },
        };
        if channels >= NARROW || columns == 1 || self.dilation[2] != 1 {
            return body(rows);
        }
        // Few channels: in a copy with zero margins, a row of taps is contiguous and becomes one piece.
        let (width, margin) = (self.input[2] * channels, self.padding[2] * channels);
        let padded = width + 2 * margin;
        scratch::with::<T, _>(input.len() / width * padded, |copy| {
            parallel::rows(copy, padded, 2 * padded, |first, copy| {
                let lines = copy.chunks_exact_mut(padded).zip(input[first * width..].chunks(width));
                for (copy, line) in lines {
                    copy[..margin].fill(T::ZERO);
                    copy[margin..][..width].copy_from_slice(line);
                    copy[margin + width..].fill(T::ZERO);
                }
            });
            let lines = rows.offsets.iter().step_by(columns);
            body(Neighbourhoods {
                data: copy,
                extents: [self.input[0], self.input[1], padded / channels],
                width: channels * columns,
                offsets: lines.map(|&[depth, row, _]| [depth, row, 0]).collect(),
                ..rows
            })
        })
    }
}

/// The order of pixels: blocks of neighbours in an image, and all frames of a block before the next block, so that
/// frames shared by temporal taps are still in the cache.
#[derive(Debug, Clone, Copy)]
struct Grid {
    batch: usize,
    extents: [usize; 3],
    block: usize,
}

impl Grid {
    fn images(&self) -> usize {
        self.batch * self.extents[1] * self.extents[2]
    }

    /// Frame, image, row and column of a product's row.
    #[inline(always)]
    fn locate(&self, row: usize) -> [usize; 4] {
        let [depth, height, width] = self.extents;
        let strip = row / (self.block * depth);
        let inside = row - strip * self.block * depth;
        let length = self.block.min(self.images() - strip * self.block);
        let pixel = strip * self.block + inside % length;
        [inside / length, pixel / (height * width), pixel / width % height, pixel % width]
    }

    fn blocks(&self) -> usize {
        self.images().div_ceil(self.block) * self.extents[0]
    }

    fn range(&self, block: usize) -> Range<usize> {
        let depth = self.extents[0];
        let (strip, frame) = (block / depth, block % depth);
        let length = self.block.min(self.images() - strip * self.block);
        let start = strip * self.block * depth + frame * length;
        start..start + length
    }

    /// The offset of a pixel's features in a tensor of these extents; the grid is every `step`th pixel from `first`
    /// on.
    #[inline(always)]
    fn place(
        &self,
        row: usize,
        extents: [usize; 3],
        first: [usize; 3],
        step: [usize; 3],
        channels: usize,
    ) -> usize {
        let [d, n, h, w] = self.locate(row);
        let [d, h, w] = [first[0] + step[0] * d, first[1] + step[1] * h, first[2] + step[2] * w];
        (((n * extents[0] + d) * extents[1] + h) * extents[2] + w) * channels
    }
}

/// For each pixel of a grid, the features of its neighbours: one group for each tap, zeros outside of the input.
#[derive(Debug)]
struct Neighbourhoods<'a, T> {
    data: &'a [T],
    extents: [usize; 3],
    channels: usize,
    /// Elements of a group: the channels of one pixel, or of several adjacent ones.
    width: usize,
    /// The neighbours of pixel o of the grid are o · stride + offset.
    stride: [usize; 3],
    offsets: Vec<[isize; 3]>,
    grid: Grid,
}

impl<T> Neighbourhoods<'_, T> {
    #[inline(always)]
    fn coordinate(&self, axis: usize, at: usize, offset: isize) -> Option<usize> {
        let source = (at * self.stride[axis]).wrapping_add_signed(offset);
        (source < self.extents[axis]).then_some(source)
    }
}

// SAFETY: an address is that of a pixel inside the data, which outlives the value, or `zeros`.
unsafe impl<T: Float> Rows<T> for Neighbourhoods<'_, T> {
    fn blocks(&self) -> usize {
        self.grid.blocks()
    }

    fn block(&self, block: usize) -> Range<usize> {
        self.grid.range(block)
    }

    fn groups(&self) -> usize {
        self.offsets.len()
    }

    fn width(&self) -> usize {
        self.width
    }

    fn point(
        &self,
        rows: Range<usize>,
        group: usize,
        zeros: usize,
        addresses: &mut [usize],
    ) -> bool {
        let [depth, height, width] = self.extents;
        let images = self.grid.batch;
        assert!(self.data.len() >= images * depth * height * width * self.channels);
        let bytes = self.channels * size_of::<T>();
        let start = self.data.as_ptr().expose_provenance();
        let [frame, mut image, mut row, mut column] = self.grid.locate(rows.start);
        let offset = self.offsets[group];
        let addresses = &mut addresses[..rows.len()];
        let Some(frame) = self.coordinate(0, frame, offset[0]) else {
            addresses.fill(zeros);
            return false;
        };
        let [_, grid_height, grid_width] = self.grid.extents;
        let mut any = false;
        let mut done = 0;
        while done < addresses.len() {
            let run = (grid_width - column).min(addresses.len() - done);
            let addresses = &mut addresses[done..done + run];
            match self.coordinate(1, row, offset[1]) {
                None => addresses.fill(zeros),
                Some(source) => {
                    let line = start + ((image * depth + frame) * height + source) * width * bytes;
                    for (i, address) in addresses.iter_mut().enumerate() {
                        let at = self.coordinate(2, column + i, offset[2]);
                        *address = at.map_or(zeros, |at| line + at * bytes);
                    }
                    any = true;
                }
            }
            done += run;
            column = 0;
            row += 1;
            if row == grid_height {
                row = 0;
                image += 1;
            }
        }
        any
    }
}

/// The weights of some taps, each transposed: one row for each output channel of each tap.
struct Reversed<'a, T> {
    weight: &'a [T],
    channels: [usize; 2],
    taps: Vec<usize>,
}

impl<T: Float> Matrix<T> for Reversed<'_, T> {
    fn extents(&self) -> [usize; 2] {
        [self.taps.len() * self.channels[1], self.channels[0]]
    }

    #[inline(always)]
    fn pack(&self, rows: Range<usize>, to: &mut Packing<'_, T>) {
        let [channels, out] = self.channels;
        let mut row = rows.start;
        while row < rows.end {
            let (tap, first) = (self.taps[row / out], row % out);
            let count = (out - first).min(rows.end - row);
            to.transposed(&self.weight[tap * channels * out + first..], out, count);
            row += count;
        }
    }
}

pub(super) fn forward<T: Float>(
    geometry: &Geometry,
    input: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    relu: bool,
    output: &mut [T],
) {
    if let Some(extents) = geometry.pointwise() {
        return linear::forward(input, weight, bias, relu, extents, output);
    }
    if winograd::suits(geometry) {
        let to = winograd::Destination { data: output, add: false, bias, relu };
        return winograd::forward(geometry, input, weight, to);
    }
    let out = geometry.channels[1];
    let weight = View::dense(weight, geometry.taps() * geometry.channels[0], out);
    let target = Target::new(output, false).activated(bias, relu);
    geometry.neighbourhoods(input, BLOCK, |rows| {
        let grid = rows.grid;
        product(&rows, &weight, &target, &|row| grid.place(row, grid.extents, [0; 3], [1; 3], out));
    });
}

pub(super) fn backward<T: Float>(
    geometry: &Geometry,
    input: &[T],
    weight: &[T],
    output: Option<&[T]>,
    grad_output: &[T],
    gradients: Gradients<'_, T>,
) {
    if let Some(extents) = geometry.pointwise() {
        return linear::backward(input, weight, output, grad_output, extents, gradients);
    }
    let out = geometry.channels[1];
    before_relu(output, grad_output, |grad_output| {
        if let Some(gradient) = gradients.bias {
            grad_bias(grad_output, out, gradient);
        }
        if winograd::suits(geometry) {
            if let Some(Gradient { data, add }) = gradients.input {
                let to = winograd::Destination { data, add, bias: None, relu: false };
                winograd::grad_input(geometry, grad_output, weight, to);
            }
            if let Some(gradient) = gradients.weight {
                winograd::grad_weight(geometry, input, grad_output, gradient);
            }
            return;
        }
        if let Some(Gradient { data, add }) = gradients.input {
            let way = if geometry.channels[0] < NARROW { scatter::grad_input } else { grad_input };
            way(geometry, weight, grad_output, data, add);
        }
        if let Some(gradient) = gradients.weight {
            geometry.neighbourhoods(input, LONG_BLOCK, |rows| {
                let grid = rows.grid;
                let place = |row| grid.place(row, grid.extents, [0; 3], [1; 3], out);
                product_transposed(&rows, grad_output, out, &place, gradient.data, gradient.add);
            });
        }
    });
}

/// Input pixels with equal coordinates modulo the stride have the same taps. The gradient of each such class is a
/// convolution of the output's gradient with stride 1, written to every stride'th pixel.
fn grad_input<T: Float>(
    geometry: &Geometry,
    weight: &[T],
    grad_output: &[T],
    gradient: &mut [T],
    add: bool,
) {
    let Geometry { stride, padding, dilation, input, .. } = *geometry;
    let [channels, out] = geometry.channels;
    let classes: usize = stride.iter().product();
    let class = |class: usize| -> ([usize; 3], Vec<usize>) {
        let first =
            [class / (stride[1] * stride[2]), class / stride[2] % stride[1], class % stride[2]];
        let meets = |&tap: &usize| {
            let tap = geometry.tap(tap);
            (0..3).all(|a| {
                let distance = (first[a] + padding[a]) as isize - (tap[a] * dilation[a]) as isize;
                distance.rem_euclid(stride[a] as isize) == 0
            })
        };
        (first, (0..geometry.taps()).filter(meets).collect())
    };
    if !add && (0..classes).any(|number| class(number).1.is_empty()) {
        parallel::rows(gradient, 1, 1, |_, gradient| gradient.fill(T::ZERO));
    }
    for number in 0..classes {
        let (first, taps) = class(number);
        if taps.is_empty() || (0..3).any(|a| first[a] >= input[a]) {
            continue;
        }
        let offset = |&tap: &usize| {
            let tap = geometry.tap(tap);
            std::array::from_fn(|a| {
                let distance = (first[a] + padding[a]) as isize - (tap[a] * dilation[a]) as isize;
                distance.div_euclid(stride[a] as isize)
            })
        };
        let extents = std::array::from_fn(|a| (input[a] - first[a]).div_ceil(stride[a]));
        let grid = Grid { batch: geometry.batch, extents, block: BLOCK };
        let rows = Neighbourhoods {
            data: grad_output,
            extents: geometry.output,
            channels: out,
            width: out,
            stride: [1; 3],
            offsets: taps.iter().map(offset).collect(),
            grid,
        };
        let weight = Reversed { weight, channels: geometry.channels, taps };
        let target = Target::new(gradient, add);
        product(&rows, &weight, &target, &|row| grid.place(row, input, first, stride, channels));
    }
}
