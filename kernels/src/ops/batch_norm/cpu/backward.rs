//! Batch norm's gradients: sums over each channel, then one pass over x.

use super::{Channel, Layout, Settings, Split, normalised, reciprocal, wide_rows};
use crate::Float;
use crate::cpu::{parallel, scratch, simd};
use crate::op::Gradient;

/// The inputs of the backward pass, in the shape of x.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a, T> {
    pub x: &'a [T],
    /// The output; empty unless there are both a ReLU and a residual.
    pub y: &'a [T],
    pub dy: &'a [T],
}

/// The targets of the gradients; `None` where not needed.
#[derive(Debug)]
pub struct Targets<'a, T> {
    pub x: Option<Gradient<'a, T>>,
    pub weight: Option<Gradient<'a, T>>,
    pub bias: Option<Gradient<'a, T>>,
    pub mean: Option<Gradient<'a, T>>,
    pub variance: Option<Gradient<'a, T>>,
    pub residual: Option<Gradient<'a, T>>,
}

/// How the backward pass computes the ReLU mask.
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

pub fn backward<T: Float>(
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
    // One more set of sums for the rows that do not fill a wide row.
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
        // One task's part is in the cache, so a second pass over it costs little.
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
