use super::Extents;
use crate::Float;
use crate::cpu::parallel::{self, Shared};
use crate::op::Gradient;

pub(super) fn forward<T: Float>(
    Extents { x: pixels, output: places, features }: Extents,
    x: &[T],
    indices: &[u32],
    output: &mut [T],
    owners: &mut [u32],
) {
    let (from, to) = (pixels * features, places * features);
    let owners = Shared::new(owners);
    parallel::rows(output, to, 2 * (from + to), |first, output| {
        // SAFETY: the same range as the task's part of the output.
        let owners = unsafe { owners.part(first * to, output.len()) };
        owners.fill(0);
        let samples = output.chunks_exact_mut(to).zip(owners.chunks_exact_mut(to));
        for (sample, (output, owners)) in (first..).zip(samples) {
            let (x, indices) = (&x[sample * from..][..from], &indices[sample * from..][..from]);
            // In the order of the pixels, so that of several pixels with one index the last is the owner.
            for (pixel, indices) in (1..).zip(indices.chunks_exact(features)) {
                for (feature, &index) in indices.iter().enumerate() {
                    if (index as usize) < places {
                        owners[index as usize * features + feature] = pixel;
                    }
                }
            }
            for (i, (y, &owner)) in output.iter_mut().zip(&*owners).enumerate() {
                *y = match owner {
                    0 => T::ZERO,
                    pixel => x[(pixel - 1) as usize * features + i % features],
                };
            }
        }
    });
}

pub(super) fn backward<T: Float>(
    Extents { x: pixels, output: places, features }: Extents,
    indices: &[u32],
    owners: &[u32],
    grad_output: &[T],
    gradient: &mut Gradient<'_, T>,
) {
    let add = gradient.add;
    parallel::rows(gradient.data, features, 4 * features, |first, gradient| {
        for (pixel, gradient) in (first..).zip(gradient.chunks_exact_mut(features)) {
            let (sample, pixel_of_sample) = (pixel / pixels, (pixel % pixels) as u32);
            let indices = &indices[pixel * features..];
            for (feature, (g, &index)) in gradient.iter_mut().zip(indices).enumerate() {
                let place = (sample * places + index as usize) * features + feature;
                let own = (index as usize) < places && owners[place] == pixel_of_sample + 1;
                let dy = if own { grad_output[place] } else { T::ZERO };
                *g = if add { *g + dy } else { dy };
            }
        }
    });
}
