//! What a whole grid does, estimated from some of its blocks.

use super::blocks::{Class, classes};
use ptx_sim::{Unit, Work};
use std::collections::BTreeMap;

/// Blocks of a grid that all run.
pub(super) const FEW: u64 = 24;
/// The most blocks that run.
const MOST: u64 = 400;
/// The standard error of a sum, relative to it, below which no more blocks run.
const ENOUGH: f64 = 0.005;
/// Bytes of a sector.
const SECTOR: f64 = 32.0;

/// What a launch does, over all its blocks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Estimate {
    /// Blocks of the grid.
    pub blocks: f64,
    /// Blocks that ran.
    pub sampled: u64,
    /// Machine instructions of warps by unit, in the order of `Unit::ALL`.
    pub issued: [f64; Unit::COUNT],
    /// Operations on f32 numbers.
    pub flops: f64,
    /// Operations of products on tensor cores.
    pub matrix_flops: f64,
    /// Wavefronts of shared memory.
    pub shared_wavefronts: f64,
    /// Wavefronts of global memory in the first cache.
    pub global_wavefronts: f64,
    /// Sectors of global memory, summed over instructions.
    pub global_sectors: f64,
    /// Bytes between the second cache and the multiprocessors, if each block loads each sector once.
    pub cache_bytes: f64,
    /// Bytes between the second cache and the memory, if each sector is loaded once and written once.
    pub memory_bytes: f64,
    /// Barriers of a block, on average.
    pub barriers: f64,
    /// Cycles of a block's slowest warp, on average.
    pub critical_path: f64,
}

/// The sums that must be known well enough.
fn watched(work: &Work) -> [f64; 3] {
    let issued = work.issued.iter().sum::<u64>() as f64;
    [issued, work.shared_wavefronts as f64, work.global_sectors as f64]
}

/// The works of a class's blocks that ran.
struct Stratum {
    class: Class,
    works: Vec<Work>,
}

impl Stratum {
    fn left(&self) -> u64 {
        self.class.size() - self.works.len() as u64
    }

    /// The sum of a number over the class.
    fn sum(&self, of: impl Fn(&Work) -> f64) -> f64 {
        let mean = self.works.iter().map(of).sum::<f64>() / self.works.len() as f64;
        mean * self.class.size() as f64
    }

    /// The variances of the estimated sums. 0 when all blocks ran.
    fn variances(&self) -> [f64; 3] {
        let (count, size) = (self.works.len() as f64, self.class.size() as f64);
        if self.left() == 0 || self.works.len() < 2 {
            return [0.0; 3];
        }
        let values: Vec<[f64; 3]> = self.works.iter().map(watched).collect();
        [0, 1, 2].map(|i| {
            let mean = values.iter().map(|each| each[i]).sum::<f64>() / count;
            let spread = values.iter().map(|each| (each[i] - mean).powi(2)).sum::<f64>();
            size * size * (1.0 - count / size) * spread / (count - 1.0) / count
        })
    }
}

impl Estimate {
    /// Estimates what a grid does; of a grid of at most `few` blocks all run. `run` runs blocks, by their index; `size`
    /// gives the bytes of an allocation.
    ///
    /// # Errors
    /// Those of `run`.
    pub(super) fn of<E>(
        (grid, few): ([u32; 3], u64),
        mut run: impl FnMut(&[u32]) -> Result<Vec<Work>, E>,
        size: impl Fn(u64) -> u64,
    ) -> Result<Estimate, E> {
        let all: u64 = grid.iter().map(|&n| u64::from(n)).product();
        let mut strata: Vec<Stratum> =
            classes(grid).into_iter().map(|class| Stratum { class, works: Vec::new() }).collect();
        let largest = strata.iter().map(|stratum| stratum.class.size()).max().unwrap_or(0);
        let first = |stratum: &Stratum| match stratum.class.size() {
            size if all <= few => size,
            size if size == largest => size.min(6),
            size => size.min(2),
        };
        let mut wanted: Vec<u64> = strata.iter().map(first).collect();
        loop {
            let draws = strata.iter().zip(&wanted).map(|(stratum, &more)| {
                let from = stratum.works.len() as u64;
                (from..from + more).map(|at| stratum.class.draw(at, grid)).collect::<Vec<u32>>()
            });
            let draws: Vec<Vec<u32>> = draws.collect();
            let mut works = run(&draws.concat())?.into_iter();
            for (stratum, draws) in strata.iter_mut().zip(&draws) {
                stratum.works.extend(works.by_ref().take(draws.len()));
            }
            wanted = more(&strata);
            if wanted.iter().all(|&more| more == 0) {
                return Ok(Estimate::sum(&strata, all, size));
            }
        }
    }

    fn sum(strata: &[Stratum], blocks: u64, size: impl Fn(u64) -> u64) -> Estimate {
        let sum = |of: &dyn Fn(&Work) -> f64| -> f64 {
            strata.iter().map(|stratum| stratum.sum(of)).sum::<f64>()
        };
        let blocks = blocks as f64;
        // Sectors of each allocation, read and written, summed over blocks.
        let mut touched: BTreeMap<u64, [f64; 2]> = BTreeMap::new();
        for stratum in strata {
            let each = stratum.class.size() as f64 / stratum.works.len() as f64;
            for work in stratum.works.iter().flat_map(|work| &work.touched) {
                let sums = touched.entry(work.allocation).or_default();
                sums[0] += each * work.read as f64;
                sums[1] += each * work.written as f64;
            }
        }
        // No sum over blocks exceeds the allocation: blocks that touch the same sectors are counted once.
        let distinct = |(&allocation, sums): (&u64, &[f64; 2])| -> f64 {
            let size = size(allocation) as f64;
            sums.iter().map(|sum| (SECTOR * sum).min(size)).sum()
        };
        Estimate {
            blocks,
            sampled: strata.iter().map(|stratum| stratum.works.len() as u64).sum(),
            issued: std::array::from_fn(|unit| sum(&|work| work.issued[unit] as f64)),
            flops: sum(&|work| work.flops as f64),
            matrix_flops: sum(&|work| work.matrix_flops as f64),
            shared_wavefronts: sum(&|work| work.shared_wavefronts as f64),
            global_wavefronts: sum(&|work| work.global_wavefronts as f64),
            global_sectors: sum(&|work| work.global_sectors as f64),
            cache_bytes: SECTOR * touched.values().flatten().sum::<f64>(),
            memory_bytes: touched.iter().map(distinct).sum(),
            barriers: sum(&|work| work.barriers as f64) / blocks,
            critical_path: sum(&|work| work.critical_path as f64) / blocks,
        }
    }

    /// Machine instructions of all units.
    pub fn instructions(&self) -> f64 {
        self.issued.iter().sum()
    }
}

/// The blocks of each class that shall also run: as many again in the class that contributes most to the error.
fn more(strata: &[Stratum]) -> Vec<u64> {
    let mut wanted = vec![0; strata.len()];
    let ran: u64 = strata.iter().map(|stratum| stratum.works.len() as u64).sum();
    let variances: Vec<[f64; 3]> = strata.iter().map(Stratum::variances).collect();
    for i in 0..3 {
        let sum: f64 = strata.iter().map(|stratum| stratum.sum(|work| watched(work)[i])).sum();
        let variance: f64 = variances.iter().map(|each| each[i]).sum();
        if ran >= MOST || variance.sqrt() <= ENOUGH * sum {
            continue;
        }
        let of_all = (0..strata.len()).filter(|&at| strata[at].left() > 0);
        if let Some(worst) = of_all.max_by(|&a, &b| variances[a][i].total_cmp(&variances[b][i])) {
            let again = strata[worst].works.len() as u64;
            wanted[worst] = strata[worst].left().min(again).min(MOST);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptx_sim::Touched;
    use std::convert::Infallible;

    /// Blocks whose work depends on their place: the last one along x is half empty, those of the first row do more.
    fn work(block: u32, grid: [u32; 3]) -> Work {
        let (x, y) = (block % grid[0], block / grid[0]);
        let part = if x == grid[0] - 1 { 50 } else { 100 } + if y == 0 { 30 } else { 0 };
        let noise = u64::from(block.wrapping_mul(2_654_435_761) >> 28);
        Work {
            issued: [10 * part + noise; Unit::COUNT],
            global_sectors: part,
            critical_path: 1000,
            touched: vec![Touched { allocation: 1 << 36, read: part, written: 1 }],
            ..Work::default()
        }
    }

    fn estimate(grid: [u32; 3], size: u64) -> Estimate {
        let run = |blocks: &[u32]| {
            Ok::<_, Infallible>(blocks.iter().map(|&block| work(block, grid)).collect())
        };
        Estimate::of((grid, FEW), run, |_| size).unwrap_or_else(|never| match never {})
    }

    #[test]
    fn a_sample_gives_the_sums_of_the_grid() {
        for grid in [[3, 4, 1], [40, 30, 1], [1000, 7, 1], [5000, 1, 1]] {
            let blocks: u32 = grid.iter().product();
            let exact: f64 =
                (0..blocks).map(|block| work(block, grid).issued.iter().sum::<u64>() as f64).sum();
            let found = estimate(grid, u64::MAX);
            let error = found.instructions() / exact - 1.0;
            assert!(error.abs() < 0.01, "{grid:?}: {error} with {} blocks", found.sampled);
            let all = u64::from(blocks) <= FEW;
            assert!(
                found.sampled == u64::from(blocks) || (!all && found.sampled <= MOST),
                "{found:?}"
            );
            assert!(!all || error == 0.0);
            assert_eq!((found.blocks, found.critical_path), (f64::from(blocks), 1000.0));
        }
    }

    #[test]
    fn memory_loads_each_allocation_once_at_most() {
        let found = estimate([40, 30, 1], 64_000);
        assert!((found.cache_bytes / (32.0 * (1200.0 * 99.75 + 1200.0)) - 1.0).abs() < 0.01);
        assert_eq!(found.memory_bytes, 64_000.0 + 32.0 * 1200.0);
    }
}
