//! The share of a run's training that is done, and the time that is left.

use super::Preview;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

/// The trainings of a run: each arm that trains a system, on each trial.
///
/// The time of a step is measured. An arm that has not been measured in this process is assumed to be as fast as the
/// measured ones for each byte that a step needs.
#[derive(Debug, Default)]
pub struct Overall {
    /// Steps and bytes of each arm that trains.
    arms: BTreeMap<String, Work>,
    /// Trainings of the whole run.
    all: usize,
    /// Trainings that are finished, by arm.
    finished: RefCell<BTreeMap<String, usize>>,
    trials: usize,
    current: RefCell<Option<Current>>,
    last: Cell<Option<Progressed>>,
}

#[derive(Debug)]
struct Work {
    steps: u64,
    bytes: f64,
    /// Seconds and steps in this process.
    measured: Cell<(f64, u64)>,
}

/// The training that runs.
#[derive(Debug)]
struct Current {
    arm: String,
    /// Its measurement when it began, and its steps in earlier processes.
    before: (f64, u64),
    first: u64,
    done: u64,
}

/// The progress of a run's training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progressed {
    /// The number of the training that runs, from 1.
    pub number: usize,
    /// The trainings of the whole run.
    pub of: usize,
    /// The share of the time that is done, from 0 to 1.
    pub share: f64,
    /// The seconds that training still needs; evaluations come on top.
    pub left: f64,
}

impl Overall {
    /// The trainings of a previewed run.
    pub fn new(preview: &Preview) -> Self {
        let work = preview.arms.iter().filter(|arm| arm.steps > 0).map(|arm| {
            let measured = Cell::default();
            (arm.arm.clone(), Work { steps: arm.steps, bytes: arm.bytes as f64, measured })
        });
        let arms: BTreeMap<String, Work> = work.collect();
        let trials = preview.seeds * preview.folds;
        Overall { all: arms.len() * trials, arms, trials, ..Overall::default() }
    }

    /// Notes that the training of an arm begins, or continues after `done` steps.
    pub fn begin(&self, arm: &str, done: u64) {
        let before = self.arms.get(arm).map(|work| work.measured.get()).unwrap_or_default();
        let current = Current { arm: arm.into(), before, first: done, done };
        *self.current.borrow_mut() = Some(current);
    }

    /// Notes that the training that runs has done `steps` steps, `seconds` seconds after it began.
    pub fn tick(&self, steps: u64, seconds: f64) -> Option<Progressed> {
        let mut current = self.current.borrow_mut();
        let current = current.as_mut()?;
        current.done = steps;
        let (time, count) = current.before;
        let work = self.arms.get(&current.arm)?;
        work.measured.set((time + seconds, count + (steps - current.first)));
        let found = self.progress(current);
        self.last.set(found);
        found
    }

    /// The progress at the last [`tick`](Self::tick).
    pub fn last(&self) -> Option<Progressed> {
        self.last.get()
    }

    /// Notes that an arm is finished on one trial, whether it was trained now or before.
    pub fn finish(&self, arm: &str) {
        if self.arms.contains_key(arm) {
            *self.finished.borrow_mut().entry(arm.into()).or_default() += 1;
        }
        self.current.borrow_mut().take_if(|current| current.arm == arm);
    }

    fn progress(&self, current: &Current) -> Option<Progressed> {
        let measured = |work: &Work| Some(work.measured.get()).filter(|(_, steps)| *steps > 0);
        let rates = self.arms.values().filter_map(|work| {
            let (seconds, steps) = measured(work)?;
            Some((seconds, steps as f64 * work.bytes))
        });
        let (seconds, bytes) = rates.fold((0.0, 0.0), |sum, rate| (sum.0 + rate.0, sum.1 + rate.1));
        if bytes == 0.0 {
            return None;
        }
        let of_a_step = |work: &Work| match measured(work) {
            Some((seconds, steps)) => seconds / steps as f64,
            None => seconds / bytes * work.bytes,
        };
        let finished = self.finished.borrow();
        let (mut whole, mut left) = (0.0, 0.0);
        for (arm, work) in &self.arms {
            let each = of_a_step(work) * work.steps as f64;
            let finished = finished.get(arm).copied().unwrap_or(0);
            whole += each * self.trials as f64;
            left += each * self.trials.saturating_sub(finished) as f64;
            if *arm == current.arm {
                left -= of_a_step(work) * current.done.min(work.steps) as f64;
            }
        }
        let number = finished.values().sum::<usize>() + 1;
        let share = if whole > 0.0 { 1.0 - left / whole } else { 1.0 };
        Some(Progressed { number, of: self.all, share, left })
    }
}

/// `run: 3 of 9, 12 %, 1 h 3 min left`.
impl fmt::Display for Progressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progressed { number, of, share, left } = *self;
        let left = crate::progress::seconds(left);
        write!(f, "run: {number} of {of}, {:.0} %, {left} left", 100.0 * share)
    }
}

#[cfg(test)]
mod tests {
    use super::super::preview::ArmPreview;
    use super::*;

    fn arm(name: &str, bytes: usize, steps: u64) -> ArmPreview {
        ArmPreview { arm: name.into(), bytes, steps, ..ArmPreview::default() }
    }

    #[test]
    fn the_time_left_is_that_of_all_trainings() {
        // An arm without training does not count.
        let arms = vec![arm("a", 100, 10), arm("b", 300, 10), arm("untrained", 100, 0)];
        let preview = Preview { arms, seeds: 2, folds: 1, ..Preview::default() };
        let overall = Overall::new(&preview);
        overall.begin("a", 0);
        assert_eq!(overall.tick(0, 0.0), None);
        // A step of `a` takes 1 s, so one of `b` is assumed to take 3 s: 80 s in all.
        let at = overall.tick(5, 5.0).unwrap();
        assert_eq!((at.number, at.of), (1, 4));
        assert!((at.left - 75.0).abs() < 1e-9 && (at.share - 5.0 / 80.0).abs() < 1e-9, "{at:?}");
        overall.tick(10, 10.0);
        overall.finish("a");
        overall.finish("untrained");
        // `b` is faster than assumed, and half of it was done before: 2 s for each step.
        overall.begin("b", 5);
        let at = overall.tick(6, 2.0).unwrap();
        assert_eq!(at.number, 2);
        assert!((at.left - (8.0 + 10.0 + 20.0)).abs() < 1e-9, "{at:?}");
        assert_eq!(at.to_string(), "run: 2 of 4, 37 %, 38 s left");
        overall.tick(10, 10.0);
        overall.finish("b");
        // The second trial is found finished.
        overall.finish("a");
        overall.begin("b", 0);
        let at = overall.tick(10, 20.0).unwrap();
        assert!(at.number == 4 && at.left.abs() < 1e-9 && (at.share - 1.0).abs() < 1e-9, "{at:?}");
        assert_eq!(overall.last(), Some(at));
    }
}
