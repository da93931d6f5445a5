//! Measures one case.

use super::case::{Case, Work};
use super::memory;
use super::report::Row;
use crate::failure::{Failure, Result};
use crate::signals::Stop;
use engine::{Device, pool};
use kernels::cpu::probe::Peak;
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
            gpu.trim();
        }
        let watched = memory::reset_peak();
        let mut ready = case.prepare(self.device)?;
        let first = Instant::now();
        let (outcome, cost) = engine::work::count(|| (ready.run)());
        outcome?;
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
            let from = self.device.gpu().map(|gpu| gpu.driver().mark()).transpose()?;
            (ready.run)()?;
            if let (Some(gpu), Some(from)) = (self.device.gpu(), from) {
                let to = gpu.driver().mark()?;
                device_times.push(gpu.driver().seconds(from, to)?);
            }
            times.push(start.elapsed().as_secs_f64());
        }
        let fresh_allocations = self.fresh() - before;
        let peak_bytes = if watched { memory::peak_bytes() } else { None };
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
        let measure =
            Measure { device: &Device::Cpu, repeats: Some(3), peak, stop: &Stop::default() };
        let row = measure.case(&case)?;
        assert_eq!((runs.get(), row.reps), (OFTEN[0].warm_up + 3, 3));
        // The roofline bound is a millisecond, and no sleep is shorter.
        let of_floor = row.of_floor.unwrap_or_default();
        assert!(of_floor > 0.0 && of_floor <= 1.0 && row.median_s >= row.min_s, "{row:?}");
        assert!(row.gflops_per_s.is_some() && row.gb_per_s.is_none() && row.bytes.is_none());
        assert!(row.items_per_s.is_some_and(|rate| rate <= 1000.0) && row.details["batch"] == 3);
        Ok(())
    }
}
