//! The gradient of an input with few channels, by scattering. A gathering product would have the channels as columns,
//! which fill only a part of a vector. Here the columns are the channels of all spatial taps: one product computes
//! the contribution of each output pixel to its neighbourhood, which is then added to the input pixels of the taps.

use super::cpu::Geometry;
use crate::Float;
use crate::cpu::gemm::{View, serial};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::{scratch, simd};

/// Target of the output pixels of one product: its result stays in L2.
const PIXELS: usize = 256;

/// Writes or adds the gradient of the input. Each task has one frame and sums in the order of the taps and lines.
pub(super) fn grad_input<T: Float>(
    geometry: &Geometry,
    weight: &[T],
    grad_output: &[T],
    gradient: &mut [T],
    add: bool,
) {
    let Geometry { batch, input, output, kernel, stride, padding, dilation, channels } = *geometry;
    let [_, height, width] = input;
    let [channels, out] = channels;
    let length = height * width * channels;
    let taps = kernel[1] * kernel[2] * channels;
    let lines = (PIXELS / output[2]).clamp(1, output[1]);
    let gradient = Shared::new(gradient);
    parallel::tasks(batch * input[0], |task| {
        let (image, depth) = (task / input[0], task % input[0]);
        // SAFETY: each task has its own frame.
        let frame = unsafe { gradient.part(task * length, length) };
        if !add {
            frame.fill(T::ZERO);
        }
        scratch::with::<T, _>(lines * output[2] * taps, |made| {
            for tap in 0..kernel[0] {
                let Some(from) = source(depth + padding[0], tap * dilation[0], stride[0]) else {
                    continue;
                };
                if from >= output[0] {
                    continue;
                }
                let weight = View::dense(&weight[tap * taps * out..], taps, out).transposed();
                for first in (0..output[1]).step_by(lines) {
                    let count = lines.min(output[1] - first);
                    let line = (image * output[0] + from) * output[1] + first;
                    let pixels = &grad_output[line * output[2] * out..];
                    let pixels = View::dense(pixels, count * output[2], out);
                    serial(pixels, weight, made, taps, false);
                    simd::vectorised(
                        #[inline(always)]
                        || {
                            for (i, made) in
                                made.chunks_exact(output[2] * taps).take(count).enumerate()
                            {
                                scatter_line(geometry, first + i, made, frame);
                            }
                        },
                    );
                }
            }
        });
    });
}

/// The output position o with o · stride + tap = place, if there is one.
fn source(place: usize, tap: usize, stride: usize) -> Option<usize> {
    let distance = place.checked_sub(tap)?;
    distance.is_multiple_of(stride).then_some(distance / stride)
}

/// Adds the contributions of a line of the output to a frame of the input.
#[inline(always)]
fn scatter_line<T: Float>(geometry: &Geometry, line: usize, made: &[T], frame: &mut [T]) {
    let Geometry { input, output, kernel, stride, padding, dilation, .. } = *geometry;
    let channels = geometry.channels[0];
    // Taps that are contiguous in the input, as they are in the product.
    let run = if dilation[2] == 1 { kernel[2] } else { 1 };
    for tap in 0..kernel[1] {
        let row = (line * stride[1] + tap * dilation[1]).wrapping_sub(padding[1]);
        if row >= input[1] {
            continue;
        }
        let frame = &mut frame[row * input[2] * channels..][..input[2] * channels];
        for (column, made) in made.chunks_exact(made.len() / output[2]).enumerate() {
            for start in (0..kernel[2]).step_by(run) {
                // From the first to the last tap inside of the input.
                let at = column * stride[2] + start * dilation[2];
                let low = padding[2].saturating_sub(at).min(run);
                let high = (input[2] + padding[2]).saturating_sub(at).min(run);
                if low >= high {
                    continue;
                }
                let to =
                    &mut frame[(at + low - padding[2]) * channels..][..(high - low) * channels];
                let made = &made[(tap * kernel[2] + start + low) * channels..][..to.len()];
                for (to, &made) in to.iter_mut().zip(made) {
                    *to += made;
                }
            }
        }
    }
}
