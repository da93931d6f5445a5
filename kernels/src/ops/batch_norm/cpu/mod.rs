//! Batch norm on the CPU. x is a matrix with rows of `channels * inner` columns; several narrow rows form one wide
//! row, so that every loop runs over hundreds of contiguous columns. Columns of one channel are combined at the end.

mod backward;
mod statistics;

pub(super) use backward::{Sources, Targets, backward};
pub(super) use statistics::statistics;

use crate::Float;
use crate::cpu::{parallel, scratch, simd};

/// The fewest columns of a loop.
const WIDE: usize = 256;
/// The most tasks of the statistics: each produces partial results for every column.
const TASKS: usize = 256;
/// Elements of a block of rows: two passes over it read memory once.
const BLOCK: usize = 16 * 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub epsilon: f64,
    pub relu: bool,
    pub residual: bool,
}

/// The layout of x: `[..., channels, inner]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub channels: usize,
    pub inner: usize,
}

impl Layout {
    /// Columns of a wide row: whole rows, and whole vectors if the rows are narrow.
    fn wide(self) -> usize {
        let width = self.channels * self.inner;
        if width >= WIDE {
            return width;
        }
        let odd = 16 >> width.trailing_zeros().min(4);
        width * WIDE.div_ceil(width * odd) * odd
    }

    /// The channel of a column.
    fn channel(self, column: usize) -> usize {
        column / self.inner % self.channels
    }
}

/// The parameters and statistics of the channels, `[C]` each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel<'a, T> {
    pub weight: &'a [T],
    pub bias: &'a [T],
    pub mean: &'a [T],
    pub variance: &'a [T],
}

/// The split of wide rows into tasks, and of tasks into blocks.
#[derive(Debug, Clone, Copy)]
struct Split {
    wide: usize,
    /// Whole wide rows.
    rows: usize,
    block: usize,
    rows_a_task: usize,
    tasks: usize,
}

impl Split {
    fn new(layout: Layout, count: usize) -> Self {
        let wide = layout.wide();
        let rows = count / wide;
        let block = (BLOCK / wide).clamp(8, 128);
        let blocks = rows.div_ceil(block);
        let blocks_a_task = blocks.div_ceil(TASKS).max(4);
        let tasks = blocks.div_ceil(blocks_a_task).max(1);
        Split { wide, rows, block, rows_a_task: blocks_a_task * block, tasks }
    }

    /// The blocks of a task: first row and number of rows of each.
    fn blocks(self, task: usize) -> impl Iterator<Item = (usize, usize)> {
        let end = self.rows.min((task + 1) * self.rows_a_task);
        let firsts = (task * self.rows_a_task..end).step_by(self.block);
        firsts.map(move |first| (first, self.block.min(end - first)))
    }

    /// The number of rows of a task.
    fn rows_of(self, task: usize) -> usize {
        self.rows.min((task + 1) * self.rows_a_task) - self.rows.min(task * self.rows_a_task)
    }
}

/// Calls the body with three wide rows that `fill` computes for each channel.
fn wide_rows<T: Float, R>(
    layout: Layout,
    fill: impl Fn(usize) -> [T; 3],
    body: impl FnOnce([&[T]; 3]) -> R,
) -> R {
    let wide = layout.wide();
    scratch::with::<T, _>(3 * wide, |rows| {
        let (a, rest) = rows.split_at_mut(wide);
        let (b, c) = rest.split_at_mut(wide);
        for start in (0..wide).step_by(layout.inner) {
            let values = fill(layout.channel(start));
            for (row, value) in [&mut *a, &mut *b, &mut *c].into_iter().zip(values) {
                row[start..start + layout.inner].fill(value);
            }
        }
        body([a, b, c])
    })
}

/// 1 / sqrt(variance + epsilon).
fn reciprocal<T: Float>(settings: Settings, variance: T) -> T {
    T::from_f64(1.0 / (variance.to_f64() + settings.epsilon).sqrt())
}

/// The affine map of a column. The mean is subtracted first, which is exact where x is near it.
#[inline(always)]
fn normalised<T: Float>(x: T, mean: T, scale: T, bias: T) -> T {
    (x - mean) * scale + bias
}

pub(super) fn apply<T: Float>(
    settings: Settings,
    layout: Layout,
    channel: Channel<'_, T>,
    x: &[T],
    residual: &[T],
    output: &mut [T],
) {
    let wide = layout.wide();
    let fill = |c: usize| {
        let scale = channel.weight[c] * reciprocal(settings, channel.variance[c]);
        [channel.mean[c], scale, channel.bias[c]]
    };
    wide_rows(layout, fill, |rows| {
        parallel::rows(output, wide, 2 * wide, |first, output| {
            let start = first * wide;
            let x = &x[start..start + output.len()];
            let residual = &residual[start..start + output.len()];
            let call = (rows, x, residual, output);
            match (settings.relu, settings.residual) {
                (false, false) => simd::vectorised(
                    #[inline(always)]
                    || apply_rows::<T, false, false>(call),
                ),
                (false, true) => simd::vectorised(
                    #[inline(always)]
                    || apply_rows::<T, false, true>(call),
                ),
                (true, false) => simd::vectorised(
                    #[inline(always)]
                    || apply_rows::<T, true, false>(call),
                ),
                (true, true) => simd::vectorised(
                    #[inline(always)]
                    || apply_rows::<T, true, true>(call),
                ),
            }
        });
    });
}

type Apply<'a, T> = ([&'a [T]; 3], &'a [T], &'a [T], &'a mut [T]);

#[inline(always)]
fn apply_rows<T: Float, const RELU: bool, const RESIDUAL: bool>(
    (rows, x, residual, output): Apply<'_, T>,
) {
    let wide = rows[0].len();
    let chunks = output.chunks_mut(wide).zip(x.chunks(wide)).zip(residual.chunks(wide));
    for ((output, x), residual) in chunks {
        let columns = rows[0].iter().zip(rows[1]).zip(rows[2]);
        let numbers = output.iter_mut().zip(x).zip(residual);
        for (((y, &x), &r), ((&mean, &scale), &bias)) in numbers.zip(columns) {
            let mut value = normalised(x, mean, scale, bias);
            if RESIDUAL {
                value += r;
            }
            *y = if RELU { value.max(T::ZERO) } else { value };
        }
    }
}
