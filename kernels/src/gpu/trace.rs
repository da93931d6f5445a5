//! What a device is asked for: counts of the calls of its driver, and the time of each kernel.

use super::counting::{Counts, Recorder};
use super::driver::{Description, Driver, Fetch, Function, Grid, Launch, Mark};
use super::{Program, Result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The calls between [`Device::trace`](super::Device::trace) and [`Device::traced`](super::Device::traced).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trace {
    /// The number of calls of each kind.
    pub counts: Counts,
    /// The launches in their order.
    pub launches: Vec<Kernel>,
}

/// One launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kernel {
    /// The kernel's name.
    pub name: &'static str,
    /// Blocks and threads.
    pub grid: Grid,
    /// Time from the start of the record to the call of the launch.
    pub called: Duration,
    /// Seconds of device time, from the end of the work before the launch to its own end. Where the device waits for the
    /// host, that includes the wait.
    pub seconds: f64,
}

impl Trace {
    /// The seconds of each kernel's launches, by its name.
    pub fn seconds(&self) -> BTreeMap<&'static str, f64> {
        let mut seconds = BTreeMap::new();
        for launch in &self.launches {
            *seconds.entry(launch.name).or_default() += launch.seconds;
        }
        seconds
    }
}

/// A driver that passes every call on to another one and, while it is asked to, records it.
#[derive(Debug)]
pub(super) struct Traced {
    driver: Box<dyn Driver>,
    on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    recorder: Recorder,
    /// The launches, without their seconds, and the marks around them.
    launches: Vec<(Kernel, Mark, Mark)>,
    started: Option<Instant>,
}

impl Traced {
    pub(super) fn new(driver: Box<dyn Driver>) -> Self {
        Traced { driver, on: AtomicBool::new(false), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to record.
    pub(super) fn start(&self) {
        *self.state() = State { started: Some(Instant::now()), ..State::default() };
        self.on.store(true, Ordering::Relaxed);
    }

    /// Ends the record, waits for the launches in it, and gives it.
    pub(super) fn end(&self) -> Result<Trace> {
        self.on.store(false, Ordering::Relaxed);
        let State { recorder, launches, .. } = std::mem::take(&mut *self.state());
        let mut trace = Trace { counts: recorder.counts(), launches: Vec::new() };
        let mut outcome = Ok(());
        for (kernel, from, to) in launches {
            // All marks are read, even after a failure: a mark that is not read stays in the driver.
            match self.driver.seconds(from, to) {
                Ok(seconds) => trace.launches.push(Kernel { seconds, ..kernel }),
                Err(error) => outcome = Err(error),
            }
        }
        outcome.map(|()| trace)
    }

    /// Records a call while it is asked to.
    fn note(&self, what: impl FnOnce(&Recorder)) {
        if self.on.load(Ordering::Relaxed) {
            what(&self.state().recorder);
        }
    }
}

impl Driver for Traced {
    fn description(&self) -> &Description {
        self.driver.description()
    }

    fn prepare(&self, programs: &[&'static Program], done: &(dyn Fn(usize) + Sync)) -> Result<()> {
        self.driver.prepare(programs, done)
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.note(Recorder::allocated);
        self.driver.allocate(bytes)
    }

    fn free(&self, address: u64) {
        self.driver.free(address);
    }

    fn trim(&self) -> Result<()> {
        self.note(Recorder::waited);
        self.driver.trim()
    }

    fn upload(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.note(|recorder| recorder.uploaded(bytes.len()));
        self.driver.upload(to, bytes)
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.note(|recorder| recorder.downloaded(bytes.len()));
        self.driver.download(from, bytes)
    }

    fn fetch(&self, from: u64, bytes: usize) -> Result<Fetch> {
        let fetch = self.driver.fetch(from, bytes)?;
        self.note(|recorder| recorder.fetched(&fetch, bytes));
        Ok(fetch)
    }

    fn collect(&self, fetch: Fetch, bytes: &mut [u8]) -> Result<()> {
        self.note(|recorder| recorder.collected(&fetch));
        self.driver.collect(fetch, bytes)
    }

    fn copy(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        self.note(Recorder::copied);
        self.driver.copy(to, from, bytes)
    }

    fn fill(&self, to: u64, byte: u8, bytes: usize) -> Result<()> {
        self.note(Recorder::copied);
        self.driver.fill(to, byte, bytes)
    }

    fn function(&self, program: &'static Program, kernel: &'static str) -> Result<Function> {
        self.driver.function(program, kernel)
    }

    fn launch(&self, function: Function, launch: &Launch<'_>) -> Result<()> {
        if !self.on.load(Ordering::Relaxed) {
            return self.driver.launch(function, launch);
        }
        let called = self.state().started.map(|started| started.elapsed()).unwrap_or_default();
        let from = self.driver.mark()?;
        let launched = self.driver.launch(function, launch);
        let to = self.driver.mark()?;
        let mut state = self.state();
        state.recorder.launched(launch.kernel);
        let (name, grid) = (launch.kernel, launch.grid);
        state.launches.push((Kernel { name, grid, called, seconds: 0.0 }, from, to));
        launched
    }

    fn synchronize(&self) -> Result<()> {
        self.note(Recorder::waited);
        self.driver.synchronize()
    }

    fn unwritten(&self, from: u64, bytes: usize) -> Option<usize> {
        self.driver.unwritten(from, bytes)
    }

    fn mark(&self) -> Result<Mark> {
        self.driver.mark()
    }

    fn seconds(&self, from: Mark, to: Mark) -> Result<f64> {
        self.driver.seconds(from, to)
    }
}

#[cfg(test)]
mod tests {
    use crate::gpu::{Device, Grid, Simulation};
    use crate::gpu::{Result, counting::Counting};

    #[test]
    fn a_trace_has_the_calls_since_its_start_and_no_later_ones() -> Result<()> {
        for device in
            [Device::simulated(Simulation::CHECKED), Device::counting(&Counting::default())]
        {
            let block = device.upload(&[1.0f32; 100])?;
            device.trace();
            device.set(block.pointer(), 100, 2.0)?;
            device.accumulate(block.pointer(), block.pointer(), 100)?;
            device.accumulate(block.pointer(), block.pointer(), 100)?;
            let reading = device.read(block.pointer(), 400)?;
            reading.wait()?;
            let trace = device.traced()?;
            device.set(block.pointer(), 100, 2.0)?;
            assert_eq!((trace.counts.launches(), trace.counts.kernels["accumulate"]), (3, 2));
            assert_eq!(
                (trace.counts.downloaded, trace.counts.waits, trace.counts.uploads),
                (400, 1, 0)
            );
            let names: Vec<_> = trace.launches.iter().map(|launch| launch.name).collect();
            assert_eq!(names, ["set", "accumulate", "accumulate"]);
            assert_eq!(trace.seconds().len(), 2);
            assert!(trace.launches.iter().all(|launch| launch.seconds >= 0.0), "{trace:?}");
            assert!(trace.launches.is_sorted_by_key(|launch| launch.called), "{trace:?}");
            assert_eq!(trace.launches[0].grid, Grid::elements(100));
            device.trace();
            assert_eq!(device.traced()?, Default::default(), "a new trace is empty");
        }
        Ok(())
    }

    #[test]
    fn the_time_of_work_is_that_of_its_end() -> Result<()> {
        let device = Device::simulated(Simulation::CHECKED);
        let (said, seconds) = device.time(|| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            Ok::<_, crate::gpu::Error>("done")
        })?;
        assert!(said == "done" && seconds >= 2e-3, "{seconds}");
        Ok(())
    }
}
