//! Mean and variance of the channels in one pass over memory.

use super::{Layout, Split};
use crate::Float;
use crate::cpu::{parallel, scratch, simd};

/// Count, mean and sum of squared deviations of a set, which can be combined (Chan et al. 1983).
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
pub fn statistics<T: Float>(layout: Layout, x: &[T], mean: &mut [T], variance: &mut [T]) {
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
            // Rows that do not fill a wide row.
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

/// Combines a block of rows with the moments of each column over `before` rows.
#[inline(always)]
fn block_moments<T: Float>((x, before, sums, mean, squares): Block<'_, T>) {
    let wide = mean.len();
    let rows = x.len() / wide;
    let (means, spread) = sums.split_at_mut(wide);
    means.fill(T::ZERO);
    spread.fill(T::ZERO);
    // Sums of differences to the first row: small even where the mean is far from 0.
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
