//! Measures the peak of this processor: multiply-adds in registers, and memory bandwidth.
//!
//! Benches print the speed of an op as a fraction of this peak.

use super::simd::{self, Isa, Vector, Work};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Numbers in a buffer of the memory probe: 128 MiB, far beyond any cache.
const NUMBERS: usize = 32 << 20;
/// The least time for which a probe is repeated; its fastest run counts.
const TIME: Duration = Duration::from_millis(200);
const ROUNDS: usize = 5;

/// The measured peak speed of this processor with all threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// f32 operations per second; a multiply-add counts as two.
    pub flops: f64,
    /// Bytes per second read from memory.
    pub read: f64,
    /// Bytes per second of a memory copy; bytes read and bytes written both count.
    pub copy: f64,
}

impl Peak {
    /// Measures the peak; takes about one second and 256 MiB.
    pub fn measure() -> Peak {
        let flops = multiply_adds();
        let from = vec![1.0f32; NUMBERS];
        let mut to = vec![0.0f32; NUMBERS];
        let bytes = 4.0 * NUMBERS as f64;
        let read = fastest(|| {
            black_box(sum(&from));
            bytes
        });
        let copy = fastest(|| {
            copy(&from, &mut to);
            2.0 * bytes
        });
        Peak { flops, read, copy }
    }

    /// The larger of each number of two measurements: other load lowers single ones.
    pub fn better(self, other: Peak) -> Peak {
        Peak {
            flops: self.flops.max(other.flops),
            read: self.read.max(other.read),
            copy: self.copy.max(other.copy),
        }
    }

    /// The roofline bound in seconds: `flops` at the peak or `bytes` at the larger bandwidth, whichever takes longer.
    /// A time can be below it when an op does fewer operations than counted (Winograd) or reads from a cache.
    pub fn floor(&self, flops: f64, bytes: f64) -> f64 {
        (flops / self.flops).max(bytes / self.read.max(self.copy))
    }
}

/// The best rate of repeated runs; the body returns its amount of work.
fn fastest(mut body: impl FnMut() -> f64) -> f64 {
    let begin = Instant::now();
    let (mut best, mut rounds) = (0.0f64, 0);
    while rounds < ROUNDS || begin.elapsed() < TIME {
        rounds += 1;
        let start = Instant::now();
        let work = body();
        best = best.max(work / start.elapsed().as_secs_f64());
    }
    best
}

/// f32 operations per second of all threads.
fn multiply_adds() -> f64 {
    let threads = rayon::current_num_threads();
    fastest(|| (0..threads).into_par_iter().with_max_len(1).map(|_| simd::run(Chains)).sum())
}

/// Independent chains of multiply-adds, enough to hide the latency; returns the number of operations.
struct Chains;

impl Work for Chains {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<I: Isa>(self) -> f64 {
        const CHAINS: usize = 12;
        const STEPS: usize = 4_000_000;
        // SAFETY: `simd::run` found the instruction set, and no vector is longer than 16 numbers.
        unsafe {
            let (a, b) = (I::F32::splat(black_box(0.999)), I::F32::splat(black_box(1e-3)));
            let mut sums = [I::F32::splat(black_box(1.0)); CHAINS];
            for _ in 0..STEPS {
                for sum in &mut sums {
                    *sum = sum.mul_add(a, b);
                }
            }
            let mut total = sums[0];
            for sum in &sums[1..] {
                total = total.add(*sum);
            }
            let mut out = [0.0f32; 16];
            total.store(out.as_mut_ptr());
            black_box(out);
            (2 * CHAINS * STEPS * I::F32::LANES) as f64
        }
    }
}

/// The length of each thread's part of a buffer.
fn share(length: usize) -> usize {
    length.div_ceil(rayon::current_num_threads()).max(1)
}

/// Sums numbers on all threads, in enough partial sums to hide the latency of an addition.
pub fn sum(values: &[f32]) -> f32 {
    const LANES: usize = 64;
    let part = |values: &[f32]| {
        simd::vectorised(
            #[inline(always)]
            || {
                let mut sums = [0.0f32; LANES];
                for chunk in values.chunks_exact(LANES) {
                    sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value);
                }
                let rest: f32 = values.chunks_exact(LANES).remainder().iter().sum();
                sums.iter().sum::<f32>() + rest
            },
        )
    };
    values.par_chunks(share(values.len())).map(part).sum()
}

/// Copies numbers on all threads.
///
/// # Panics
/// When the lengths differ.
pub fn copy(from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    let part = share(from.len());
    to.par_chunks_mut(part)
        .zip(from.par_chunks(part))
        .for_each(|(to, from)| to.copy_from_slice(from));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_does_what_it_says() {
        let numbers: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        assert_eq!(sum(&numbers), 499_500.0);
        let mut copied = vec![0.0; 1000];
        copy(&numbers, &mut copied);
        assert_eq!(copied, numbers);
        assert!(simd::run(Chains) > 0.0);
    }

    #[test]
    fn the_floor_is_the_longer_of_both() {
        let peak = Peak { flops: 100.0, read: 10.0, copy: 8.0 };
        assert_eq!((peak.floor(200.0, 10.0), peak.floor(10.0, 50.0)), (2.0, 5.0));
        let other = Peak { flops: 90.0, read: 11.0, copy: 9.0 };
        assert_eq!(peak.better(other), Peak { flops: 100.0, read: 11.0, copy: 9.0 });
    }
}
