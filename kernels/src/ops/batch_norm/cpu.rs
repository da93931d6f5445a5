//! x is seen as rows of `channels * inner` columns, and narrow rows several at a time, so that every loop runs
//! over hundreds of columns next to each other. Columns of one channel are joined at the end.

use crate::Float;
use crate::cpu::{parallel, scratch, simd};
use crate::op::Gradient;

/// Columns that a loop runs over at least.
const WIDE: usize = 256;
/// The most tasks that statistics are split into: each leaves one number a column.
const TASKS: usize = 256;
/// Numbers that a block of rows has: two passes over it read memory once.
const BLOCK: usize = 16 * 1024;

#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub epsilon: f64,
    pub relu: bool,
    pub residual: bool,
}

/// Where the channels lie: `[..., channels, inner]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub channels: usize,
    pub inner: usize,
}

impl Layout {
    /// Columns of a wide row: whole rows, and whole vectors where the rows are narrow.
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

/// What each channel has, `[C]` each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel<'a, T> {
    pub weight: &'a [T],
    pub bias: &'a [T],
    pub mean: &'a [T],
    pub variance: &'a [T],
}

/// What the backward pass reads, in the shape of x.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a, T> {
    pub x: &'a [T],
    /// The output; empty unless both a ReLU and a residual are there.
    pub y: &'a [T],
    pub dy: &'a [T],
}

/// Where the gradients go.
#[derive(Debug)]
pub(super) struct Targets<'a, T> {
    pub x: Option<Gradient<'a, T>>,
    pub weight: Option<Gradient<'a, T>>,
    pub bias: Option<Gradient<'a, T>>,
    pub mean: Option<Gradient<'a, T>>,
    pub variance: Option<Gradient<'a, T>>,
    pub residual: Option<Gradient<'a, T>>,
}

/// How wide rows are split into tasks, and tasks into blocks.
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

    /// How many rows a task has.
    fn rows_of(self, task: usize) -> usize {
        self.rows.min((task + 1) * self.rows_a_task) - self.rows.min(task * self.rows_a_task)
    }
}

/// Count, mean and sum of squared deviations of a set, and how two sets make one (Chan et al. 1983).
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn join(&mut self, other: Moments) {
        let count = self.count + other.count;
        if count == 0.0 {
            return;
        }
        let delta = other.mean - self.mean;
        self.mean += delta * (other.count / count);
        self.squares += other.squares + delta * delta * (self.count * other.count / count);
        self.count = count;
    }
}

/// Mean and biased variance of each channel.
pub(super) fn statistics<T: Float>(layout: Layout, x: &[T], mean: &mut [T], variance: &mut [T]) {
    let split = Split::new(layout, x.len());
    let wide = split.wide;
    scratch::with::<f64, _>(2 * split.tasks * wide, |moments| {
        let shared = parallel::Shared::new(moments);
        parallel::tasks(split.tasks, |task| {
            // SAFETY: each task has its own moments.
            let moments = unsafe { shared.part(2 * task * wide, 2 * wide) };
            moments.fill(0.0);
            let (mean, squares) = moments.split_at_mut(wide);
            scratch::with::<T, _>(2 * wide, |sums| {
                let mut before = 0;
                for (first, rows) in split.blocks(task) {
                    let x = &x[first * wide..][..rows * wide];
                    let call = (x, before, &mut *sums, &mut *mean, &mut *squares);
                    simd::vectorised(
                        #[inline(always)]
                        || block_moments(call),
                    );
                    before += rows;
                }
            });
        });
        for c in 0..layout.channels {
            let mut total = Moments::default();
            let columns = (c * layout.inner..wide)
                .step_by(layout.channels * layout.inner)
                .flat_map(|column| column..column + layout.inner);
            for column in columns {
                for task in 0..split.tasks {
                    let part = &moments[2 * task * wide..];
                    let (mean, squares) = (part[column], part[wide + column]);
                    let count = split.rows_of(task) as f64;
                    total.join(Moments { count, mean, squares });
                }
            }
            // Rows that fill no wide one.
            for row in x[split.rows * wide..].chunks(layout.channels * layout.inner) {
                for x in &row[c * layout.inner..][..layout.inner] {
                    total.join(Moments { count: 1.0, mean: x.to_f64(), squares: 0.0 });
                }
            }
            mean[c] = T::from_f64(total.mean);
            variance[c] = T::from_f64(total.squares / total.count);
        }
    });
}

type Block<'a, T> = (&'a [T], usize, &'a mut [T], &'a mut [f64], &'a mut [f64]);

/// Joins a block of rows to the moments of each column over `before` rows.
#[inline(always)]
fn block_moments<T: Float>((x, before, sums, mean, squares): Block<'_, T>) {
    let wide = mean.len();
    let rows = x.len() / wide;
    let (means, spread) = sums.split_at_mut(wide);
    means.fill(T::ZERO);
    spread.fill(T::ZERO);
    // Sums of what the rows have more than the first: small where the mean is far from 0.
    let shift = &x[..wide];
    let mut fours = x.chunks_exact(4 * wide);
    for four in &mut fours {
        let (a, b) = four.split_at(2 * wide);
        let ((a, b), (c, d)) = (a.split_at(wide), b.split_at(wide));
        let columns = means.iter_mut().zip(shift);
        for (((sum, &s), (&a, &b)), (&c, &d)) in columns.zip(a.iter().zip(b)).zip(c.iter().zip(d)) {
            *sum += ((a - s) + (b - s)) + ((c - s) + (d - s));
        }
    }
    for row in fours.remainder().chunks_exact(wide) {
        for ((sum, &s), &a) in means.iter_mut().zip(shift).zip(row) {
            *sum += a - s;
        }
    }
    let share = T::from_f64(1.0 / rows as f64);
    means.iter_mut().for_each(|m| *m *= share);
    let mut fours = x.chunks_exact(4 * wide);
    for four in &mut fours {
        let (a, b) = four.split_at(2 * wide);
        let ((a, b), (c, d)) = (a.split_at(wide), b.split_at(wide));
        let columns = spread.iter_mut().zip(shift.iter().zip(&*means));
        for (((sum, (&s, &m)), (&a, &b)), (&c, &d)) in
            columns.zip(a.iter().zip(b)).zip(c.iter().zip(d))
        {
            let (a, b, c, d) = (a - s - m, b - s - m, c - s - m, d - s - m);
            *sum += (a * a + b * b) + (c * c + d * d);
        }
    }
    for row in fours.remainder().chunks_exact(wide) {
        for ((sum, (&s, &m)), &a) in spread.iter_mut().zip(shift.iter().zip(&*means)).zip(row) {
            *sum += (a - s - m) * (a - s - m);
        }
    }
    let total = (before + rows) as f64;
    let (weight, joint) = (rows as f64 / total, rows as f64 * before as f64 / total);
    let columns = mean.iter_mut().zip(squares).zip(shift.iter().zip(&*means)).zip(&*spread);
    for (((mean, squares), (&shift, &m)), &s) in columns {
        let delta = (shift.to_f64() + m.to_f64()) - *mean;
        *mean += delta * weight;
        *squares += s.to_f64() + delta * delta * joint;
    }
}

/// Lends the body three wide rows that `fill` wrote, channel by channel.
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

/// The affine map of a column. Subtracting the mean first is exact where x is near it.
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

/// How the backward pass finds where the ReLU was open.
const OPEN: u8 = 0;
const FROM_X: u8 = 1;
const FROM_Y: u8 = 2;

/// The gradient before the ReLU.
#[inline(always)]
fn before_relu<T: Float, const MASK: u8>(x: T, y: T, dy: T, (mean, scale, bias): (T, T, T)) -> T {
    let open = match MASK {
        OPEN => true,
        FROM_X => normalised(x, mean, scale, bias) > T::ZERO,
        _ => y > T::ZERO,
    };
    if open { dy } else { T::ZERO }
}

pub(super) fn backward<T: Float>(
    settings: Settings,
    layout: Layout,
    channel: Channel<'_, T>,
    sources: Sources<'_, T>,
    through_statistics: bool,
    mut targets: Targets<'_, T>,
) {
    match (settings.relu, settings.residual) {
        (false, _) => {
            let sources = Sources { y: sources.x, ..sources };
            masked::<T, OPEN>(settings, layout, channel, sources, through_statistics, &mut targets);
        }
        (true, false) => {
            let sources = Sources { y: sources.x, ..sources };
            masked::<T, FROM_X>(
                settings,
                layout,
                channel,
                sources,
                through_statistics,
                &mut targets,
            );
        }
        (true, true) => {
            masked::<T, FROM_Y>(
                settings,
                layout,
                channel,
                sources,
                through_statistics,
                &mut targets,
            );
        }
    }
}

fn masked<T: Float, const MASK: u8>(
    settings: Settings,
    layout: Layout,
    channel: Channel<'_, T>,
    sources: Sources<'_, T>,
    through_statistics: bool,
    targets: &mut Targets<'_, T>,
) {
    let channels = layout.channels;
    let count = (sources.x.len() / channels) as f64;
    let rstd = |c: usize| reciprocal(settings, channel.variance[c]);
    let of_channels = targets.weight.is_some()
        || targets.bias.is_some()
        || targets.mean.is_some()
        || targets.variance.is_some();
    let affine = |c: usize| [channel.mean[c], channel.weight[c] * rstd(c), channel.bias[c]];
    wide_rows(layout, affine, |rows| {
        // Sums over each channel of the gradient before the ReLU, and of that times (x - mean).
        scratch::with::<f64, _>(2 * channels, |sums| {
            sums.fill(0.0);
            if of_channels || (through_statistics && targets.x.is_some()) {
                reduce::<T, MASK>(layout, rows, sources, sums);
            }
            let (plain, deviations) = sums.split_at(channels);
            for c in 0..channels {
                let (rstd, scale) =
                    (rstd(c).to_f64(), channel.weight[c].to_f64() * rstd(c).to_f64());
                if let Some(gradient) = &mut targets.weight {
                    gradient.put(c, T::from_f64(deviations[c] * rstd));
                }
                if let Some(gradient) = &mut targets.bias {
                    gradient.put(c, T::from_f64(plain[c]));
                }
                if let Some(gradient) = &mut targets.mean {
                    gradient.put(c, T::from_f64(-plain[c] * scale));
                }
                if let Some(gradient) = &mut targets.variance {
                    gradient.put(c, T::from_f64(-0.5 * deviations[c] * scale * rstd * rstd));
                }
            }
            // dx = scale * (dz - mean of dz - (x - mean) * pull); without statistics of the batch scale * dz.
            let pulls = |c: usize| {
                let rstd = rstd(c).to_f64();
                let share = if through_statistics { 1.0 / count } else { 0.0 };
                let pull = deviations[c] * share * rstd * rstd;
                [T::from_f64(plain[c] * share), T::from_f64(pull), T::ZERO]
            };
            wide_rows(layout, pulls, |pulls| {
                spread::<T, MASK>(rows, pulls, sources, &mut targets.x, &mut targets.residual);
            });
        });
    });
}

/// Adds to `sums` for each channel the sum of dz, and then for each that of dz * (x - mean).
fn reduce<T: Float, const MASK: u8>(
    layout: Layout,
    rows: [&[T]; 3],
    sources: Sources<'_, T>,
    sums: &mut [f64],
) {
    let split = Split::new(layout, sources.x.len());
    let wide = split.wide;
    let part = |start: usize, length: usize| Sources {
        x: &sources.x[start..start + length],
        y: &sources.y[start..start + length],
        dy: &sources.dy[start..start + length],
    };
    // One more set of sums for the rows that fill no wide one.
    let whole = split.rows * wide;
    scratch::with::<f64, _>(2 * (split.tasks + 1) * wide, |totals| {
        let shared = parallel::Shared::new(totals);
        parallel::tasks(split.tasks + 1, |task| {
            // SAFETY: each task has its own sums.
            let totals = unsafe { shared.part(2 * task * wide, 2 * wide) };
            totals.fill(0.0);
            scratch::with::<T, _>(2 * wide, |sums| {
                let mut add = |sources: Sources<'_, T>| {
                    let call = (rows, sources, &mut *sums, &mut *totals);
                    simd::vectorised(
                        #[inline(always)]
                        || reduce_rows::<T, MASK>(call),
                    );
                };
                if task == split.tasks {
                    return add(part(whole, sources.x.len() - whole));
                }
                for (first, count) in split.blocks(task) {
                    add(part(first * wide, count * wide));
                }
            });
        });
        for totals in totals.chunks_exact(2 * wide) {
            let (plain, deviations) = totals.split_at(wide);
            for start in (0..wide).step_by(layout.inner) {
                let (c, end) = (layout.channel(start), start + layout.inner);
                sums[c] += plain[start..end].iter().sum::<f64>();
                sums[layout.channels + c] += deviations[start..end].iter().sum::<f64>();
            }
        }
    });
}

type Reduce<'a, T> = ([&'a [T]; 3], Sources<'a, T>, &'a mut [T], &'a mut [f64]);

#[inline(always)]
fn reduce_rows<T: Float, const MASK: u8>((rows, sources, sums, totals): Reduce<'_, T>) {
    let wide = rows[0].len();
    sums.fill(T::ZERO);
    let (plain, deviations) = sums.split_at_mut(wide);
    let chunks = sources.x.chunks(wide).zip(sources.y.chunks(wide)).zip(sources.dy.chunks(wide));
    for ((x, y), dy) in chunks {
        let columns = rows[0].iter().zip(rows[1]).zip(rows[2]);
        let targets = plain.iter_mut().zip(deviations.iter_mut());
        let numbers = x.iter().zip(y).zip(dy);
        for (((p, d), ((&m, &s), &b)), ((&x, &y), &dy)) in targets.zip(columns).zip(numbers) {
            let dz = before_relu::<T, MASK>(x, y, dy, (m, s, b));
            *p += dz;
            *d += dz * (x - m);
        }
    }
    for (total, sum) in totals.iter_mut().zip(sums.iter()) {
        *total += sum.to_f64();
    }
}

/// Writes or adds the gradients of x and of the residual, in one pass if both are needed.
fn spread<T: Float, const MASK: u8>(
    rows: [&[T]; 3],
    pulls: [&[T]; 3],
    sources: Sources<'_, T>,
    grad_x: &mut Option<Gradient<'_, T>>,
    grad_residual: &mut Option<Gradient<'_, T>>,
) {
    let wide = rows[0].len();
    let add =
        (grad_x.as_ref().is_some_and(|g| g.add), grad_residual.as_ref().is_some_and(|g| g.add));
    let count = sources.x.len();
    let x = grad_x.as_mut().map(|g| parallel::Shared::new(g.data));
    let residual = grad_residual.as_mut().map(|g| parallel::Shared::new(g.data));
    if x.is_none() && residual.is_none() {
        return;
    }
    let step = parallel::rows_a_task(3 * wide) * wide;
    parallel::tasks(count.div_ceil(step), |task| {
        let start = task * step;
        let length = step.min(count - start);
        let sources = Sources {
            x: &sources.x[start..start + length],
            y: &sources.y[start..start + length],
            dy: &sources.dy[start..start + length],
        };
        // SAFETY: each task has its own part of both gradients.
        let x = x.as_ref().map(|x| unsafe { x.part(start, length) });
        // SAFETY: as above.
        let residual = residual.as_ref().map(|r| unsafe { r.part(start, length) });
        // One task's part lies in the cache: the second of two passes over it costs little.
        if let Some(residual) = residual {
            let call = (rows, sources, residual, add.1);
            simd::vectorised(
                #[inline(always)]
                || residual_rows::<T, MASK>(call),
            );
        }
        if let Some(x) = x {
            let call = (rows, pulls, sources, x, add.0);
            simd::vectorised(
                #[inline(always)]
                || input_rows::<T, MASK>(call),
            );
        }
    });
}

type Residual<'a, T> = ([&'a [T]; 3], Sources<'a, T>, &'a mut [T], bool);

#[inline(always)]
fn residual_rows<T: Float, const MASK: u8>((rows, sources, target, add): Residual<'_, T>) {
    let wide = rows[0].len();
    let chunks = sources.x.chunks(wide).zip(sources.y.chunks(wide)).zip(sources.dy.chunks(wide));
    for (target, ((x, y), dy)) in target.chunks_mut(wide).zip(chunks) {
        let columns = rows[0].iter().zip(rows[1]).zip(rows[2]);
        let numbers = x.iter().zip(y).zip(dy);
        for ((g, ((&x, &y), &dy)), ((&m, &s), &b)) in target.iter_mut().zip(numbers).zip(columns) {
            let dz = before_relu::<T, MASK>(x, y, dy, (m, s, b));
            *g = if add { *g + dz } else { dz };
        }
    }
}

type Input<'a, T> = ([&'a [T]; 3], [&'a [T]; 3], Sources<'a, T>, &'a mut [T], bool);

#[inline(always)]
fn input_rows<T: Float, const MASK: u8>((rows, pulls, sources, target, add): Input<'_, T>) {
    let wide = rows[0].len();
    let chunks = sources.x.chunks(wide).zip(sources.y.chunks(wide)).zip(sources.dy.chunks(wide));
    for (target, ((x, y), dy)) in target.chunks_mut(wide).zip(chunks) {
        let columns = rows[0].iter().zip(rows[1]).zip(rows[2]).zip(pulls[0].iter().zip(pulls[1]));
        let numbers = x.iter().zip(y).zip(dy);
        for ((g, ((&x, &y), &dy)), (((&m, &s), &b), (&level, &pull))) in
            target.iter_mut().zip(numbers).zip(columns)
        {
            let dz = before_relu::<T, MASK>(x, y, dy, (m, s, b));
            let value = s * (dz - level - (x - m) * pull);
            *g = if add { *g + value } else { value };
        }
    }
}
