//! The time of a launch on a GPU, and what limits it.

use super::{Estimate, Gpu, Sampled};
use crate::gpu::{Grid, Resources};
use ptx_sim::Unit;
use std::fmt;

/// Seconds from the end of a launch's work to the start of the next launch's: two kernels of one stream.
const GAP: f64 = 2e-6;

/// What a launch's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limiter {
    /// The schedulers, which issue one instruction a cycle each.
    Issue,
    /// An execution unit.
    Unit(Unit),
    /// Wavefronts of shared memory and of the first cache.
    Shared,
    /// Bytes of the second cache.
    Cache,
    /// Bytes of the memory.
    Memory,
    /// Dependent instructions: too few warps to hide their latency.
    Latency,
    /// The start of the kernel.
    Launch,
}

impl fmt::Display for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limiter::Issue => "issue",
            Limiter::Unit(Unit::Float) => "f32 unit",
            Limiter::Unit(Unit::Multiply) => "integer multiply",
            Limiter::Unit(Unit::Integer) => "integer unit",
            Limiter::Unit(Unit::Double) => "f64 unit",
            Limiter::Unit(Unit::Special) => "special unit",
            Limiter::Unit(Unit::Memory) => "load and store",
            Limiter::Unit(Unit::Tensor) => "tensor cores",
            Limiter::Unit(Unit::Control) => "branches",
            Limiter::Shared => "shared memory",
            Limiter::Cache => "L2",
            Limiter::Memory => "DRAM",
            Limiter::Latency => "latency",
            Limiter::Launch => "launch",
        })
    }
}

/// The modelled time of one launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Time {
    /// Seconds.
    pub seconds: f64,
    /// What takes longest.
    pub limiter: Limiter,
    /// Seconds of the f32 and tensor operations at the peak, or of the bytes at the memory's bandwidth: the longer one.
    pub roofline: f64,
    /// Warps of a multiprocessor over the most that it can have; 1 block or more of the kernel.
    pub occupancy: f64,
}

impl Time {
    /// The time of a launch on a GPU.
    ///
    /// `resources` are those of the kernel, compiled for the GPU.
    pub fn of(sampled: &Sampled, gpu: &Gpu, resources: &Resources) -> Time {
        let Sampled { estimate, grid, shared, .. } = sampled;
        let resident = resident(grid, *shared, gpu, resources);
        let multiprocessors = f64::from(gpu.multiprocessors);
        // Of the multiprocessor that has the most blocks.
        let share = (estimate.blocks / multiprocessors).ceil() / estimate.blocks;
        let waves = (estimate.blocks / multiprocessors / f64::from(resident)).ceil();
        let mut parts: Vec<(Limiter, f64)> = Vec::new();
        let mut cycles = |limiter, cycles: f64| parts.push((limiter, cycles / gpu.clock));
        cycles(Limiter::Issue, share * estimate.instructions() / Gpu::ISSUE);
        for (unit, &issued) in Unit::ALL.iter().zip(&estimate.issued) {
            if let Some(rate) = gpu.rate(*unit) {
                // Integer products take lanes of the f32 unit.
                let multiplied = estimate.issued[Unit::Multiply as usize];
                let all = issued + if *unit == Unit::Float { multiplied } else { 0.0 };
                cycles(Limiter::Unit(*unit), share * all / rate);
            }
        }
        cycles(Limiter::Unit(Unit::Tensor), share * estimate.matrix_flops / gpu.tensor_flops);
        cycles(Limiter::Shared, share * (estimate.shared_wavefronts + estimate.global_wavefronts));
        let port = share * estimate.cache_bytes / Gpu::PORT;
        cycles(Limiter::Cache, port.max(estimate.cache_bytes / gpu.cache));
        cycles(Limiter::Latency, waves * estimate.critical_path);
        parts.push((Limiter::Memory, estimate.memory_bytes / gpu.memory));
        parts.push((Limiter::Launch, GAP));
        let longest = parts.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let (limiter, longest) = longest.unwrap_or((Limiter::Launch, GAP));
        let work = if limiter == Limiter::Launch {
            parts
                .iter()
                .filter(|part| part.0 != Limiter::Launch)
                .map(|part| part.1)
                .fold(0.0, f64::max)
        } else {
            longest
        };
        Time {
            seconds: GAP + work,
            limiter,
            roofline: roofline(estimate, gpu),
            occupancy: f64::from(resident * warps(grid)) / f64::from(Gpu::THREADS / 32),
        }
    }
}

/// The warps of a multiprocessor over the most that it can have, while a kernel with this grid runs on all of it.
pub fn occupancy(grid: &Grid, gpu: &Gpu, resources: &Resources) -> f64 {
    let shared = grid.shared as usize + resources.shared as usize;
    f64::from(resident(grid, shared, gpu, resources) * warps(grid)) / f64::from(Gpu::THREADS / 32)
}

/// The shortest time of the operations and bytes.
fn roofline(estimate: &Estimate, gpu: &Gpu) -> f64 {
    let tensor = gpu.tensor_flops * f64::from(gpu.multiprocessors) * gpu.clock;
    let flops = estimate.flops / gpu.peak() + estimate.matrix_flops / tensor;
    flops.max(estimate.memory_bytes / gpu.memory)
}

fn warps(grid: &Grid) -> u32 {
    grid.threads.iter().product::<u32>().div_ceil(32)
}

/// The blocks that a multiprocessor runs at a time.
fn resident(grid: &Grid, shared: usize, gpu: &Gpu, resources: &Resources) -> u32 {
    let warps = warps(grid);
    let registers = (32 * resources.registers).next_multiple_of(256) * warps;
    let by_shared = gpu.shared / (shared + Gpu::RESERVED);
    let limits = [
        Gpu::BLOCKS,
        Gpu::THREADS / 32 / warps,
        Gpu::REGISTERS.checked_div(registers).unwrap_or(Gpu::BLOCKS),
        u32::try_from(by_shared).unwrap_or(u32::MAX),
    ];
    limits.into_iter().min().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(registers: u32) -> Resources {
        let (kernel, target) = ("k".to_owned(), "sm_90".to_owned());
        Resources { kernel, target, registers, spills: 0, shared: 0 }
    }

    /// A launch of 132,000 blocks of 256 threads.
    fn sampled(change: impl FnOnce(&mut Estimate)) -> Sampled {
        let mut estimate =
            Estimate { blocks: 132_000.0, critical_path: 10.0, ..Estimate::default() };
        change(&mut estimate);
        let grid = Grid::blocks(estimate.blocks as usize);
        Sampled { kernel: "k", grid, shared: 0, estimate, launches: 1 }
    }

    fn on_h100(change: impl FnOnce(&mut Estimate)) -> Time {
        Time::of(&sampled(change), &Gpu::named("h100").unwrap(), &resources(32))
    }

    #[test]
    fn the_limiter_is_what_takes_longest() {
        let gpu = Gpu::named("h100").unwrap();
        let near = |time: Time, seconds: f64, limiter: Limiter| {
            assert_eq!(time.limiter, limiter, "{time:?}");
            assert!(((time.seconds - GAP) / seconds - 1.0).abs() < 0.01, "{time:?} {seconds}");
        };
        // A second of f32 instructions on every multiprocessor.
        let second = 132.0 * gpu.clock;
        near(
            on_h100(|e| {
                e.issued[Unit::Float as usize] = 4.0 * second;
                e.flops = 64.0 * 4.0 * second;
            }),
            1.0,
            Limiter::Unit(Unit::Float),
        );
        near(
            on_h100(|e| (0..2).for_each(|unit| e.issued[2 * unit] = 2.0 * second)),
            1.0,
            Limiter::Unit(Unit::Integer),
        );
        near(
            on_h100(|e| [0, 2, 5].iter().for_each(|&unit| e.issued[unit] = 1.9 * second)),
            1.9,
            Limiter::Unit(Unit::Memory),
        );
        near(
            on_h100(|e| e.issued[Unit::Integer as usize] = 2.0 * second),
            1.0,
            Limiter::Unit(Unit::Integer),
        );
        near(
            on_h100(|e| e.issued[Unit::Special as usize] = second),
            2.0,
            Limiter::Unit(Unit::Special),
        );
        near(on_h100(|e| e.shared_wavefronts = second), 1.0, Limiter::Shared);
        near(on_h100(|e| e.memory_bytes = 3.35e12), 1.0, Limiter::Memory);
        near(on_h100(|e| e.cache_bytes = 5120.0 * gpu.clock), 1.0, Limiter::Cache);
        near(on_h100(|e| e.critical_path = 1.98e9), 125.0, Limiter::Latency);
        let one = on_h100(|e| {
            e.blocks = 1.0;
            e.issued[Unit::Integer as usize] = 2.0 * gpu.clock;
        });
        near(one, 1.0, Limiter::Unit(Unit::Integer));
        let nothing = on_h100(|_| ());
        assert_eq!((nothing.limiter, nothing.roofline), (Limiter::Launch, 0.0));
    }

    #[test]
    fn products_of_integers_take_lanes_of_the_float_unit() {
        let gpu = Gpu::named("a100").unwrap();
        let estimate = |e: &mut Estimate| {
            e.issued[Unit::Float as usize] = 1e9;
            e.issued[Unit::Multiply as usize] = 1e9;
        };
        let time = Time::of(&sampled(estimate), &gpu, &resources(32));
        assert_eq!(time.limiter, Limiter::Unit(Unit::Float));
    }

    #[test]
    fn occupancy_is_that_of_the_tightest_limit() {
        let gpu = Gpu::named("h100").unwrap();
        let occupancy = |registers, shared| {
            let sampled = Sampled { shared, ..sampled(|_| ()) };
            Time::of(&sampled, &gpu, &resources(registers)).occupancy
        };
        assert_eq!(occupancy(32, 0), 1.0);
        assert_eq!(occupancy(33, 0), 0.75, "40 registers a thread: 6 blocks of 8 warps");
        assert_eq!(occupancy(64, 0), 0.5);
        assert_eq!(occupancy(32, 56 << 10), 0.5, "57 KiB a block, 228 a multiprocessor");
        assert_eq!(occupancy(255, 0), 0.125);
    }
}
