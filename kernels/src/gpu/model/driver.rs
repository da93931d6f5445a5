//! A driver that runs some blocks of each launch, and counts what the whole grid does.

use super::Estimate;
use super::estimate::FEW;
use crate::gpu::driver::{Description, Driver, Fetch, Function, Grid, Launch, Mark};
use crate::gpu::{Program, Result, Simulation, Simulator};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Low bits of an address of the simulator: the offset in its allocation.
const OFFSET_BITS: u32 = 36;

/// A driver that runs some blocks of each launch on the simulator. The blocks that do not run leave zeros, so results are
/// not those of the network; what is counted does not depend on them, except where a kernel's branches do. Clones share
/// one state.
#[derive(Debug, Clone)]
pub struct Modelled {
    simulator: Simulator,
    /// Blocks of a grid that all run.
    few: u64,
    said: Said,
    state: Arc<Mutex<State>>,
}

/// Launches that do the same: of one kernel, with one grid and arguments that differ by addresses only.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The kernel's name.
    pub kernel: &'static str,
    /// Blocks and threads.
    pub grid: Grid,
    /// Bytes of static and dynamic shared memory of a block.
    pub shared: usize,
    /// What each launch does.
    pub estimate: Estimate,
    /// The number of launches.
    pub launches: u64,
}

#[derive(Debug, Default)]
struct State {
    /// The allocations' bytes.
    sizes: HashMap<u64, u64>,
    /// In the order of their first launch.
    sampled: Vec<Sampled>,
    known: HashMap<Key, usize>,
}

/// What launches have in common that do the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    kernel: &'static str,
    blocks: [u32; 3],
    threads: [u32; 3],
    shared: u32,
    /// The arguments, with an allocation's size in place of its number.
    arguments: Vec<u64>,
}

/// Called before a launch is sampled, with the number of those before it and the kernel's name.
#[derive(Clone)]
struct Said(Arc<dyn Fn(u64, &'static str) + Send + Sync>);

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Said")
    }
}

impl Default for Modelled {
    fn default() -> Self {
        Modelled {
            simulator: Simulator::new(Simulation::FAST),
            few: FEW,
            said: Said(Arc::new(|_, _| ())),
            state: Arc::default(),
        }
    }
}

impl Modelled {
    /// A driver that runs every block of each launch.
    pub fn exact() -> Self {
        Modelled { few: u64::MAX, ..Modelled::default() }
    }

    /// Calls `said` before a launch is sampled, with the number of those before it and the kernel's name.
    pub fn saying(self, said: impl Fn(u64, &'static str) + Send + Sync + 'static) -> Self {
        Modelled { said: Said(Arc::new(said)), ..self }
    }

    /// The launches since the last [`reset`](Self::reset), in the order in which the model met them first.
    pub fn launches(&self) -> Vec<Sampled> {
        self.state().sampled.iter().filter(|sampled| sampled.launches > 0).cloned().collect()
    }

    /// Forgets the launches so far, but not what they do.
    pub fn reset(&self) {
        self.state().sampled.iter_mut().for_each(|sampled| sampled.launches = 0);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn key(&self, launch: &Launch<'_>) -> Key {
        let canonical = |word: u64| match self.sizes.get(&(word >> OFFSET_BITS << OFFSET_BITS)) {
            Some(size) => size ^ (word % (1 << OFFSET_BITS)) << 1 | 1 << 63,
            None => word,
        };
        let word =
            |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let Grid { blocks, threads, shared } = launch.grid;
        let arguments = launch.arguments.chunks(8).map(|bytes| canonical(word(bytes))).collect();
        Key { kernel: launch.kernel, blocks, threads, shared, arguments }
    }
}

impl Driver for Modelled {
    fn description(&self) -> &Description {
        self.simulator.description()
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let address = self.simulator.allocate(bytes)?;
        self.state().sizes.insert(address, bytes as u64);
        Ok(address)
    }

    fn free(&self, address: u64) {
        self.state().sizes.remove(&address);
        self.simulator.free(address);
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.simulator.upload(to, bytes)
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.simulator.download(from, bytes)
    }

    fn fetch(&self, from: u64, bytes: usize) -> Result<Fetch> {
        self.simulator.fetch(from, bytes)
    }

    fn collect(&self, fetch: Fetch, bytes: &mut [u8]) -> Result<()> {
        self.simulator.collect(fetch, bytes)
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.simulator.copy(to, from, bytes)
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()> {
        self.simulator.fill(to, byte, bytes)
    }

    fn function(&self, program: &'static Program, kernel: &'static str) -> Result<Function> {
        self.simulator.function(program, kernel)
    }

    fn launch(&self, function: Function, launch: &Launch<'_>) -> Result<()> {
        let mut state = self.state();
        let state = &mut *state;
        let key = state.key(launch);
        if let Some(&known) = state.known.get(&key) {
            state.sampled[known].launches += 1;
            return Ok(());
        }
        self.said.0(state.sampled.len() as u64, launch.kernel);
        let size = |address| state.sizes.get(&address).copied().unwrap_or(0);
        let (estimate, shared) = self.simulator.sampled(function, launch, |run| {
            Estimate::of((launch.grid.blocks, self.few), run, size)
        })?;
        state.known.insert(key, state.sampled.len());
        let (kernel, grid) = (launch.kernel, launch.grid);
        state.sampled.push(Sampled { kernel, grid, shared, estimate, launches: 1 });
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn unwritten(&self, _: u64, _: usize) -> Option<usize> {
        None
    }

    fn mark(&self) -> Result<Mark> {
        self.simulator.mark()
    }

    fn seconds(&self, from: Mark, to: Mark) -> Result<f64> {
        self.simulator.seconds(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Device, GpuOp};
    use crate::op::Case;
    use crate::ops::{Conv3d, Linear, Pool, pool::PoolKind};
    use crate::{Shape, gpu};

    /// Launches the forward pass of a case on a driver; returns the first kernel's estimate.
    fn forward<O: GpuOp>(modelled: &Modelled, case: &Case<O>) -> crate::Result<Estimate> {
        let device = Device::new(Box::new(modelled.clone()));
        let shapes: Vec<Shape> = case.inputs.iter().map(|input| input.shape).collect();
        let plan = case.op.plan(&shapes, &[])?;
        let room = |shape: &Shape| device.allocate(4 * shape.count());
        let inputs = shapes.iter().map(room).collect::<gpu::Result<Vec<_>>>()?;
        let saved =
            plan.saved.iter().map(|buffer| room(&buffer.shape)).collect::<gpu::Result<Vec<_>>>()?;
        let output = room(&plan.output.shape)?;
        let pointers =
            |blocks: &[gpu::Block]| blocks.iter().map(gpu::Block::pointer).collect::<Vec<_>>();
        case.op.forward_gpu(
            &device,
            gpu::Forward {
                shapes: &shapes,
                inputs: &pointers(&inputs),
                index_shapes: &[],
                indices: &[],
                output: output.pointer(),
                saved: &pointers(&saved),
            },
        )?;
        Ok(modelled.launches().swap_remove(0).estimate)
    }

    /// The errors of a sample's sums: instructions, wavefronts, sectors, bytes of both memories, critical path.
    fn errors<O: GpuOp>(case: &Case<O>) -> crate::Result<Vec<f64>> {
        let sample = forward(&Modelled::default(), case)?;
        let exact = forward(&Modelled::exact(), case)?;
        assert!(
            sample.sampled < exact.sampled && exact.sampled as f64 == exact.blocks,
            "{sample:?}"
        );
        let sums = |e: &Estimate| {
            let wavefronts = e.shared_wavefronts + e.global_wavefronts;
            let bytes = [e.cache_bytes, e.memory_bytes];
            [e.instructions(), wavefronts, e.global_sectors, bytes[0], bytes[1], e.critical_path]
        };
        Ok(sums(&sample)
            .iter()
            .zip(sums(&exact))
            .map(|(sample, exact)| sample / exact - 1.0)
            .collect())
    }

    #[test]
    fn samples_agree_with_whole_grids_to_a_hundredth() -> crate::Result<()> {
        let padded = Conv3d::new([1, 1, 1], [1, 1, 1]);
        let strided = Conv3d::new([1, 2, 2], [0, 1, 1]);
        let pool = Pool {
            kind: PoolKind::Max,
            kernel: [1, 3, 3],
            stride: [1, 2, 2],
            padding: [0, 1, 1],
            ceil: false,
        };
        let found = [
            errors(&Case::new(padded, &[&[9, 5, 21, 19, 6], &[3, 3, 3, 6, 70]]))?,
            errors(&Case::new(strided, &[&[9, 4, 30, 31, 8], &[1, 3, 3, 8, 130]]))?,
            errors(&Case::new(
                Linear { bias: true, relu: true },
                &[&[1700, 90], &[90, 330], &[330]],
            ))?,
            errors(&Case::new(pool, &[&[5, 5, 33, 35, 40]]))?,
        ];
        let worst = found.iter().flatten().fold(0.0, |worst: f64, error| worst.max(error.abs()));
        assert!(worst < 0.01, "{found:?}");
        Ok(())
    }

    #[test]
    fn equal_launches_run_once() -> crate::Result<()> {
        let modelled = Modelled::default();
        let device = Device::new(Box::new(modelled.clone()));
        let blocks = [100_000, 100_000, 60_000].map(|count| device.allocate(4 * count));
        let [a, b, c] = blocks.map(|block| block.map_err(crate::Error::from));
        let (a, b, c) = (a?, b?, c?);
        device.accumulate(a.pointer(), b.pointer(), 60_000)?;
        device.accumulate(b.pointer(), a.pointer(), 60_000)?;
        device.accumulate(a.pointer(), b.pointer(), 50_000)?;
        device.accumulate(c.pointer(), b.pointer(), 60_000)?;
        let launches: Vec<u64> = modelled.launches().iter().map(|each| each.launches).collect();
        assert_eq!(launches, [2, 1, 1], "the last one's memory has another size");
        let bytes = modelled.launches()[0].estimate.memory_bytes;
        assert!(
            (bytes / (3.0 * 240_000.0) - 1.0).abs() < 0.01,
            "reads two arrays, writes one: {bytes}"
        );
        modelled.reset();
        assert!(modelled.launches().is_empty());
        device.accumulate(a.pointer(), b.pointer(), 60_000)?;
        assert_eq!(modelled.launches().len(), 1);
        Ok(())
    }
}
