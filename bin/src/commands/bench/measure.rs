//! Measures one case.

use super::case::{Case, Work};
use super::memory;
use super::report::{Kernel, Row};
use crate::failure::{Failure, Result};
use crate::signals::Stop;
use engine::{Device, pool};
use kernels::cpu::probe::Peak;
use kernels::gpu::{self, Trace};
use std::time::{Duration, Instant};

/// The number of runs of a case, by the time of its first run.
struct Often {
    up_to: Duration,
    /// Warm-up runs before the measurement, which fill the pool and the caches.
    warm_up: usize,
    /// The least number of runs, unless it is given.
    least: usize,
}

const OFTEN: [Often; 3] = [
    Often { up_to: Duration::from_secs(1), warm_up: 2, least: 5 },
    Often { up_to: Duration::from_secs(10), warm_up: 2, least: 3 },
    Often { up_to: Duration::MAX, warm_up: 1, least: 2 },
];
const MOST: usize = 200;

/// The settings of a measurement.
pub(super) struct Measure<'a> {
    pub(super) device: &'a Device,
    /// Runs of each case; `None`: by time.
    pub(super) repeats: Option<u32>,
    /// The peak of the CPU; `None` on another device.
    pub(super) peak: Option<Peak>,
    pub(super) stop: &'a Stop,
    /// Whether rows list the kernels.
    pub(super) kernels: bool,
}

/// The calls of one run.
fn traced(gpu: &gpu::Device, run: &mut dyn FnMut() -> Result<()>) -> Result<Trace> {
    gpu.trace();
    let ran = run();
    let trace = gpu.traced();
    ran?;
    Ok(trace?)
}

/// The kernels of a trace, those of the most time first.
fn kernels(trace: Trace) -> Vec<Kernel> {
    let seconds = trace.seconds();
    let kernel = |(kernel, &launches): (&&'static str, &u64)| {
        let device_s = seconds.get(kernel).copied().unwrap_or_default();
        Kernel { kernel, launches, device_s }
    };
    let mut kernels: Vec<Kernel> = trace.counts.kernels.iter().map(kernel).collect();
    kernels.sort_by(|a, b| b.device_s.total_cmp(&a.device_s));
    kernels
}

impl Measure<'_> {
    /// Runs a case often enough for a stable median.
    ///
    /// # Errors
    /// When it cannot run, or the program is stopped.
    pub(super) fn case(&self, case: &Case) -> Result<Row> {
        // Empty the pool, so that the allocations of this case are counted.
        pool::trim();
        if let Some(gpu) = self.device.gpu() {
            gpu.trim()?;
            gpu.reset_peak();
        }
        let watched = memory::reset_peak();
        let mut ready = case.prepare(self.device)?;
        let first = Instant::now();
        let (outcome, profile) = engine::profile::record(|| (ready.run)());
        outcome?;
        let cost = profile.work();
        let took = first.elapsed();
        let often = OFTEN.iter().find(|often| took <= often.up_to).unwrap_or(&OFTEN[0]);
        for _ in 1..often.warm_up {
            self.check(case)?;
            (ready.run)()?;
        }
        let before = self.fresh();
        let (least, most) = match self.repeats {
            Some(repeats) => (repeats as usize, repeats as usize),
            None => (often.least, MOST),
        };
        let (mut times, mut device_times) = (Vec::new(), Vec::new());
        let begin = Instant::now();
        while times.len() < least || (times.len() < most && begin.elapsed() < case.budget) {
            self.check(case)?;
            let start = Instant::now();
            match self.device.gpu() {
                None => (ready.run)()?,
                Some(gpu) => device_times.push(gpu.time(&mut ready.run)?.1),
            }
            times.push(start.elapsed().as_secs_f64());
        }
        let fresh_allocations = self.fresh() - before;
        let peak_bytes = if watched { memory::peak_bytes() } else { None };
        let gpu_peak_bytes = self.device.gpu().map(|gpu| gpu.statistics().peak);
        // After the other runs: the marks around each launch take time.
        let trace = self.device.gpu().map(|gpu| traced(gpu, &mut ready.run)).transpose()?;
        times.sort_by(f64::total_cmp);
        device_times.sort_by(f64::total_cmp);
        let median_s = median(&times);
        let Work { flops, bytes } = ready.work.unwrap_or(Work {
            flops: cost.forward_flops + cost.backward_flops,
            bytes: cost.forward_bytes + cost.backward_bytes,
        });
        // The sum of the bytes of several ops is not a bound, since caches and fusion save some of them.
        let floor = ready.work.unwrap_or(Work { flops, bytes: 0.0 });
        let positive = |value: f64| (value > 0.0).then_some(value);
        let mut row = Row {
            case: case.name.clone(),
            median_s,
            min_s: times[0],
            reps: times.len(),
            flops: positive(flops),
            gflops_per_s: positive(flops / median_s / 1e9),
            bytes: positive(bytes),
            gb_per_s: positive(bytes / median_s / 1e9),
            floor,
            of_floor: None,
            peak_bytes,
            fresh_allocations,
            gpu_peak_bytes,
            launches: trace.as_ref().map(|trace| trace.counts.launches()),
            waits: trace.as_ref().map(|trace| trace.counts.waits),
            kernels: trace.filter(|_| self.kernels).map(kernels),
            device_s: (!device_times.is_empty()).then(|| median(&device_times)),
            items: ready.items.map(|items| items.what),
            items_per_s: ready.items.map(|items| items.count / median_s),
            times_realtime: ready.sound.map(|seconds| seconds / median_s),
            times_baseline: None,
            details: ready.details,
        };
        if let Some(peak) = &self.peak {
            row.hold_against(peak);
        }
        Ok(row)
    }

    /// The number of buffers allocated so far from the operating system or the driver.
    fn fresh(&self) -> u64 {
        pool::statistics().fresh + self.device.gpu().map_or(0, |gpu| gpu.statistics().fresh)
    }

    fn check(&self, case: &Case) -> Result<()> {
        match self.stop.asked() {
            None => Ok(()),
            Some(reason) => {
                Err(Failure::new(reason.saved("").kind(), format!("stopped at {}", case.name)))
            }
        }
    }
}

/// The median of sorted numbers.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { 0.5 * (sorted[middle - 1] + sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::super::case::Ready;
    use super::*;

    #[test]
    fn medians() {
        assert_eq!((median(&[1.0, 2.0, 9.0]), median(&[1.0, 2.0, 4.0, 9.0])), (2.0, 3.0));
    }

    #[test]
    fn a_case_is_run_as_often_as_asked_and_its_rates_follow() -> Result<()> {
        let runs = std::rc::Rc::new(std::cell::Cell::new(0));
        let counter = runs.clone();
        let case = Case::new("wait", Duration::ZERO, move |_| {
            let counter = counter.clone();
            let run = move || {
                counter.set(counter.get() + 1);
                std::thread::sleep(Duration::from_millis(1));
                Ok(())
            };
            Ok(Ready::new(run).work(2e6, 0.0).items("waits", 1.0).detail("batch", 3))
        });
        let peak = Some(Peak { flops: 2e9, read: 1.0, copy: 1.0 });
        let measure = Measure {
            device: &Device::Cpu,
            repeats: Some(3),
            peak,
            stop: &Stop::default(),
            kernels: true,
        };
        let row = measure.case(&case)?;
        assert_eq!((runs.get(), row.reps), (OFTEN[0].warm_up + 3, 3));
        // The roofline bound is a millisecond, and no sleep is shorter.
        let of_floor = row.of_floor.unwrap_or_default();
        assert!(of_floor > 0.0 && of_floor <= 1.0 && row.median_s >= row.min_s, "{row:?}");
        assert!(row.gflops_per_s.is_some() && row.gb_per_s.is_none() && row.bytes.is_none());
        assert!(row.items_per_s.is_some_and(|rate| rate <= 1000.0) && row.details["batch"] == 3);
        Ok(())
    }

    #[test]
    fn a_gpu_is_asked_what_one_run_launched() -> Result<()> {
        let counting = engine::Counting::default();
        for device in [Device::counting(&counting), Device::simulated(engine::Simulation::CHECKED)]
        {
            let case = Case::new("two", Duration::ZERO, |device| {
                let Some(gpu) = device.gpu().cloned() else { panic!("no GPU") };
                let (a, b) = (gpu.upload(&[1.0f32; 300])?, gpu.upload(&[2.0f32; 300])?);
                let run = move || {
                    gpu.set(b.pointer(), 300, 2.0)?;
                    gpu.accumulate(a.pointer(), b.pointer(), 300)?;
                    gpu.accumulate(a.pointer(), b.pointer(), 300)?;
                    Ok(gpu.download(a.pointer(), &mut [0.0f32])?)
                };
                Ok(Ready::new(run))
            });
            let stop = Stop::default();
            let measure = Measure {
                device: &device,
                repeats: Some(2),
                peak: None,
                stop: &stop,
                kernels: true,
            };
            let row = measure.case(&case)?;
            assert_eq!((row.launches, row.waits, row.reps), (Some(3), Some(1), 2));
            // Two buffers of 1200 bytes; a GPU's sizes are rounded up.
            assert!(
                row.gpu_peak_bytes.is_some_and(|bytes| (2400..4096).contains(&bytes)),
                "{row:?}"
            );
            assert!(row.device_s.is_some_and(|seconds| seconds >= 0.0), "{row:?}");
            let mut kernels = row.kernels.unwrap_or_default();
            assert!(kernels.is_sorted_by(|a, b| a.device_s >= b.device_s), "{kernels:?}");
            kernels.sort_by_key(|kernel| kernel.kernel);
            let counted: Vec<_> = kernels.iter().map(|k| (k.kernel, k.launches)).collect();
            assert_eq!(counted, [("accumulate", 2), ("set", 1)]);
            let row = Measure { kernels: false, ..measure }.case(&case)?;
            assert!(row.kernels.is_none() && row.launches == Some(3));
        }
        Ok(())
    }
}
