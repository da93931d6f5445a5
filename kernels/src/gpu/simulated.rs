//! A GPU simulated on the CPU: the same launches of the same PTX, with every access checked.

use super::driver::{Description, Driver, Fetch, Function, Launch, Mark};
use super::{Error, Pointer, Program, ProgramId, Result, nvrtc};
use ptx_sim::{Finding, Memory, Mode, Module, Settings, Work};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use ptx_sim::{Blocks, Counters, Order, Tally};

/// The settings of a simulated device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulation {
    /// Whether to check for races, reads of uninitialised memory and misused barriers. Bounds are always checked.
    pub checked: bool,
    /// The order in which blocks run.
    pub order: Order,
    /// The blocks that run.
    pub blocks: Blocks,
}

impl Simulation {
    /// All checks, blocks in order.
    pub const CHECKED: Simulation =
        Simulation { checked: true, order: Order::Forward, blocks: Blocks::All };
    /// Bounds checks only, blocks on all cores.
    pub const FAST: Simulation = Simulation { checked: false, ..Simulation::CHECKED };
    /// Bounds checks only, of the blocks at the corners of each grid. Large buffers are sparse: memory
    /// that was never written has the values of a pattern. For tensors of more than 2^32 elements.
    pub const CORNERS: Simulation = Simulation { blocks: Blocks::Corners, ..Simulation::FAST };
}

/// The launches of a kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Launched {
    /// The most blocks along each axis.
    pub blocks: [u32; 3],
    /// The most threads of a block.
    pub threads: u64,
    /// The most threads of a block that the kernel was compiled for, if it was compiled for a number.
    pub bounds: Option<u64>,
}

/// With [`Blocks::Corners`], the most instructions of a block's warps: a counter that wraps would run for hours.
const CORNER_STEPS: u64 = 10_000_000;
/// With [`Blocks::Corners`], buffers of this size are sparse.
const LARGE: usize = 1 << 20;

/// The simulator as a driver. Clones share one state.
#[derive(Clone)]
pub struct Simulator {
    description: Description,
    settings: Settings,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    memory: Memory,
    modules: HashMap<ProgramId, Arc<Module>>,
    functions: Vec<(Arc<Module>, &'static str)>,
    counters: BTreeMap<&'static str, Counters>,
    launched: BTreeMap<&'static str, Launched>,
    marks: HashMap<u64, Instant>,
    fetches: HashMap<u64, Vec<u8>>,
    next_handle: u64,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Simulator {
    /// A simulator with empty memory.
    pub fn new(simulation: Simulation) -> Self {
        let description = Description {
            name: "simulated GPU".into(),
            capability: (8, 0),
            multiprocessors: 1,
            memory: usize::MAX,
            shared_memory: 48 << 10,
            simulated: true,
            recompute: false,
            without_pool: None,
        };
        let mode = if simulation.checked { Mode::Checked } else { Mode::Values };
        let Simulation { order, blocks, .. } = simulation;
        let mut settings = Settings { mode, order, blocks, ..Settings::default() };
        if blocks == Blocks::Corners {
            settings.step_limit = CORNER_STEPS;
        }
        Simulator { description, settings, state: Arc::default() }
    }

    /// The counters of each kernel so far, by its name.
    pub fn counters(&self) -> BTreeMap<&'static str, Counters> {
        self.state().counters.clone()
    }

    /// The launches of each kernel so far, by its name.
    pub fn launched(&self) -> BTreeMap<&'static str, Launched> {
        self.state().launched.clone()
    }

    /// Index and value of every 4-byte word that was written to the sparse buffer at this address.
    ///
    /// # Errors
    /// When no sparse buffer starts there.
    pub fn written(&self, buffer: Pointer) -> Result<Vec<(u64, u32)>> {
        self.state().memory.written(buffer.0).map_err(|e| refused("written", &e))
    }

    /// Calls `of` with a function that runs blocks of a launch, by their index, and returns what each does; returns its
    /// result and the bytes of shared memory of a block.
    pub(super) fn sampled<T>(
        &self,
        function: Function,
        launch: &Launch<'_>,
        of: impl FnOnce(&mut dyn FnMut(&[u32]) -> Result<Vec<Work>>) -> Result<T>,
    ) -> Result<(T, usize)> {
        let mut state = self.state();
        let (module, name) = state.functions[function.0].clone();
        let kernel = module.kernel(name).map_err(|e| refused(name, &e))?;
        let grid = launch.grid;
        let launch = ptx_sim::Launch {
            grid: grid.blocks,
            block: grid.threads,
            dynamic_shared: grid.shared,
            parameters: launch.arguments,
        };
        let found = of(&mut |blocks| {
            ptx_sim::sample(kernel, &launch, &mut state.memory, &self.settings, blocks)
                .map_err(|e| refused(name, &e))
        })?;
        Ok((found, kernel.shared_bytes() + grid.shared as usize))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A new unique number for a mark or fetch.
    fn handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }
}

fn refused(what: &str, error: &ptx_sim::Error) -> Error {
    Error::Launch { kernel: what.to_owned(), what: error.to_string() }
}

/// A program's PTX: the committed one if it was compiled from this source, otherwise NVRTC's.
fn ptx(program: &Program) -> Result<String> {
    if let Some(ptx) = program.committed() {
        return Ok(ptx.to_owned());
    }
    match nvrtc::compile(program, nvrtc::Target::Ptx) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(Error::Unavailable { what, hint }) => Err(Error::Unavailable {
            what: format!(
                "{}: the PTX in kernels/ptx is outdated, and it cannot be compiled: {what}",
                program.name
            ),
            hint: format!("{hint}, then `mpuc kernels compile --commit`"),
        }),
        Err(error) => Err(error),
    }
}

impl Driver for Simulator {
    fn description(&self) -> &Description {
        &self.description
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let mut state = self.state();
        if self.settings.blocks == Blocks::Corners && bytes >= LARGE {
            let seed = state.handle();
            return Ok(state.memory.allocate_sparse(bytes, "buffer", seed));
        }
        Ok(state.memory.allocate(bytes, "buffer"))
    }

    fn free(&self, address: u64) {
        // Each block is freed once, when dropped: this cannot fail.
        let _ = self.state().memory.free(address);
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.state().memory.write(to, bytes).map_err(|e| refused("upload", &e))
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.state().memory.read(from, bytes).map_err(|e| refused("download", &e))
    }

    fn fetch(&self, from: u64, bytes: usize) -> Result<Fetch> {
        let mut copied = vec![0; bytes];
        self.download(from, &mut copied)?;
        let mut state = self.state();
        let number = state.handle();
        state.fetches.insert(number, copied);
        Ok(Fetch(number))
    }

    fn collect(&self, fetch: Fetch, bytes: &mut [u8]) -> Result<()> {
        let copied = self.state().fetches.remove(&fetch.0).unwrap_or_default();
        bytes.iter_mut().zip(copied).for_each(|(to, from)| *to = from);
        Ok(())
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.state().memory.copy(to, from, bytes).map_err(|e| refused("copy", &e))
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()> {
        self.state().memory.fill(to, byte, bytes).map_err(|e| refused("fill", &e))
    }

    fn function(&self, program: &'static Program, kernel: &'static str) -> Result<Function> {
        let mut state = self.state();
        let module = match state.modules.get(&program.id()) {
            Some(module) => module.clone(),
            None => {
                let module =
                    Module::parse(&ptx(program)?).map_err(|e| refused(program.name, &e))?;
                let module = Arc::new(module);
                state.modules.insert(program.id(), module.clone());
                module
            }
        };
        module.kernel(kernel).map_err(|e| refused(program.name, &e))?;
        state.functions.push((module, kernel));
        Ok(Function(state.functions.len() - 1))
    }

    fn launch(&self, function: Function, launch: &Launch<'_>) -> Result<()> {
        let mut state = self.state();
        let (module, name) = state.functions[function.0].clone();
        let kernel = module.kernel(name).map_err(|e| refused(name, &e))?;
        let grid = launch.grid;
        let launched = state.launched.entry(name).or_default();
        launched.bounds = kernel.most_threads();
        launched.threads =
            launched.threads.max(grid.threads.iter().map(|&n| u64::from(n)).product());
        for (most, &blocks) in launched.blocks.iter_mut().zip(&grid.blocks) {
            *most = blocks.max(*most);
        }
        let launch = ptx_sim::Launch {
            grid: grid.blocks,
            block: grid.threads,
            dynamic_shared: grid.shared,
            parameters: launch.arguments,
        };
        let report = ptx_sim::run(kernel, &launch, &mut state.memory, &self.settings)
            .map_err(|e| refused(name, &e))?;
        state.counters.entry(name).or_default().add(&report.counters);
        if report.findings.is_empty() {
            return Ok(());
        }
        let line = |finding: &Finding| format!("  {finding}");
        let lines: Vec<String> = report.findings.iter().take(5).map(line).collect();
        Err(Error::Findings {
            kernel: name.to_owned(),
            count: report.findings.len(),
            findings: lines.join("\n"),
        })
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn unwritten(&self, from: u64, bytes: usize) -> Option<usize> {
        let state = self.state();
        if state.memory.initialised(from, bytes) {
            return None;
        }
        (0..bytes).find(|&byte| !state.memory.initialised(from + byte as u64, 1))
    }

    fn mark(&self) -> Result<Mark> {
        let mut state = self.state();
        let number = state.handle();
        state.marks.insert(number, Instant::now());
        Ok(Mark(number))
    }

    fn seconds(&self, from: Mark, to: Mark) -> Result<f64> {
        let mut state = self.state();
        let [from, to] = [from, to].map(|mark| state.marks.remove(&mark.0));
        Ok(from.zip(to).map_or(f64::NAN, |(from, to)| (to - from).as_secs_f64()))
    }
}
