use super::SequencePool;
use crate::cpu::{parallel, scratch, simd};
use crate::op::Gradient;
use crate::{Float, Shape};

/// Features that a task pools.
const COLUMNS: usize = 256;
/// Steps that are summed in the working precision before the sum is flushed to f64.
const BLOCK: usize = 128;

#[derive(Debug, Clone, Copy)]
pub(super) struct Layout<'a> {
    samples: usize,
    steps: usize,
    features: usize,
    lengths: Option<&'a [u32]>,
    std: bool,
}

impl<'a> Layout<'a> {
    pub(super) fn new(op: &SequencePool, x: Shape, indices: &[&'a [u32]]) -> Self {
        let lengths = indices.first().copied().filter(|_| op.masked);
        let (samples, steps, features) = (x[0], x[1], x[2]);
        Layout { samples, steps, features, lengths, std: op.std }
    }

    fn length(self, sample: usize) -> usize {
        self.lengths.map_or(self.steps, |lengths| self.steps.min(lengths[sample] as usize))
    }

    /// Features in a row of the output.
    fn wide(self) -> usize {
        if self.std { 2 * self.features } else { self.features }
    }
}

pub(super) fn forward<T: Float>(layout: Layout<'_>, x: &[T], output: &mut [T]) {
    let (wide, features) = (layout.wide(), layout.features);
    let parts = features.div_ceil(COLUMNS);
    let output = parallel::Shared::new(output);
    parallel::tasks(layout.samples * parts, |task| {
        let (sample, start) = (task / parts, task % parts * COLUMNS);
        let columns = COLUMNS.min(features - start);
        let length = layout.length(sample);
        let x = &x[sample * layout.steps * features..][..length * features];
        // SAFETY: each task has its own columns of one sample.
        let mean = unsafe { output.part(sample * wide + start, columns) };
        average(x, features, start, mean, |_, x| x);
        if layout.std {
            // SAFETY: as above; the standard deviations are after the means.
            let deviation = unsafe { output.part(sample * wide + features + start, columns) };
            average(x, features, start, deviation, |c, x| (x - mean[c]) * (x - mean[c]));
            for d in deviation {
                *d = T::from_f64((d.to_f64() + SequencePool::EPSILON).sqrt());
            }
        }
    });
}

/// The mean of f(column, x) over the rows of x, for the columns from `start` on; 0 over none.
fn average<T: Float>(
    x: &[T],
    width: usize,
    start: usize,
    output: &mut [T],
    f: impl Fn(usize, T) -> T,
) {
    let columns = output.len();
    let share = 1.0 / (x.len() / width).max(1) as f64;
    scratch::with::<f64, _>(columns, |totals| {
        totals.fill(0.0);
        for block in x.chunks(BLOCK * width) {
            output.fill(T::ZERO);
            simd::vectorised(
                #[inline(always)]
                || {
                    for row in block.chunks_exact(width) {
                        let row = &row[start..start + columns];
                        for (c, (sum, &x)) in output.iter_mut().zip(row).enumerate() {
                            *sum += f(c, x);
                        }
                    }
                },
            );
            for (total, sum) in totals.iter_mut().zip(&*output) {
                *total += sum.to_f64();
            }
        }
        for (y, total) in output.iter_mut().zip(&*totals) {
            *y = T::from_f64(total * share);
        }
    });
}

pub(super) fn backward<T: Float>(
    layout: Layout<'_>,
    x: &[T],
    output: &[T],
    grad_output: &[T],
    gradient: &mut Gradient<T>,
) {
    let (wide, width, add) = (layout.wide(), layout.features, gradient.add);
    parallel::rows(gradient.data, width, 4 * width, |first, gradient| {
        simd::vectorised(
            #[inline(always)]
            || {
                for (row, gradient) in (first..).zip(gradient.chunks_exact_mut(width)) {
                    let (sample, step) = (row / layout.steps, row % layout.steps);
                    let length = layout.length(sample);
                    if step >= length {
                        if !add {
                            gradient.fill(T::ZERO);
                        }
                        continue;
                    }
                    let share = T::from_f64(1.0 / length as f64);
                    let dy = &grad_output[sample * wide..][..wide];
                    if !layout.std {
                        for (g, &dy) in gradient.iter_mut().zip(dy) {
                            let value = dy * share;
                            *g = if add { *g + value } else { value };
                        }
                        continue;
                    }
                    let (mean, deviation) = output[sample * wide..][..wide].split_at(width);
                    let (of_mean, of_deviation) = dy.split_at(width);
                    let numbers = gradient.iter_mut().zip(&x[row * width..]);
                    let pooled = mean.iter().zip(deviation).zip(of_mean.iter().zip(of_deviation));
                    for ((g, &x), ((&mean, &deviation), (&dm, &dd))) in numbers.zip(pooled) {
                        let value = (dm + dd * (x - mean) / deviation) * share;
                        *g = if add { *g + value } else { value };
                    }
                }
            },
        );
    });
}
