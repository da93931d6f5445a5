//! Learning rate schedules and early stopping.

use serde::{Deserialize, Serialize};

/// A learning rate schedule. Epochs and steps count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// A constant rate.
    Constant,
    /// Multiplies by `factor` every `epochs` epochs (PyTorch's StepLR; the paper: 0.9 every 5 or 100).
    Step {
        /// Epochs between changes.
        epochs: u64,
        /// The factor.
        factor: f64,
    },
    /// Multiplies by `factor` every epoch (PyTorch's ExponentialLR).
    Exponential {
        /// The factor.
        factor: f64,
    },
    /// A linear warm-up from 0 over `warm_up` steps, times a half cosine that falls to 0 at the last step.
    Cosine {
        /// Steps of the warm-up.
        warm_up: u64,
    },
}

impl Schedule {
    /// The factor of the base learning rate in epoch `epoch`, at step `step` of all `steps` of the run.
    pub fn factor(&self, epoch: u64, step: u64, steps: u64) -> f64 {
        match *self {
            Schedule::Constant => 1.0,
            Schedule::Step { epochs, factor } => factor.powi((epoch / epochs.max(1)) as i32),
            Schedule::Exponential { factor } => factor.powi(epoch as i32),
            Schedule::Cosine { warm_up } => {
                let warm =
                    if warm_up == 0 { 1.0 } else { ((step + 1) as f64 / warm_up as f64).min(1.0) };
                let along = (step as f64 / steps.max(1) as f64).min(1.0);
                warm * 0.5 * (1.0 + (std::f64::consts::PI * along).cos())
            }
        }
    }
}

/// Early stopping: stops when a metric has not improved for a number of epochs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Patience {
    /// Epochs without improvement before training stops.
    pub epochs: u64,
    best: Option<f64>,
    since: u64,
}

impl Patience {
    /// Stops after `epochs` epochs without improvement.
    pub fn new(epochs: u64) -> Self {
        Patience { epochs, best: None, since: 0 }
    }

    /// Records the metric of an epoch (lower is better); returns whether it is the best so far.
    pub fn improved(&mut self, metric: f64) -> bool {
        let better = self.best.is_none_or(|best| metric < best);
        if better {
            self.best = Some(metric);
            self.since = 0;
        } else {
            self.since += 1;
        }
        better
    }

    /// Whether training should stop.
    pub fn exhausted(&self) -> bool {
        self.since >= self.epochs
    }

    /// The best metric so far.
    pub fn best(&self) -> Option<f64> {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors() {
        let step = Schedule::Step { epochs: 5, factor: 0.9 };
        assert_eq!(step.factor(4, 0, 0), 1.0);
        assert!((step.factor(10, 0, 0) - 0.81).abs() < 1e-12);
        let cosine = Schedule::Cosine { warm_up: 10 };
        assert!((cosine.factor(0, 0, 100) - 0.1).abs() < 1e-12);
        assert!((cosine.factor(0, 50, 100) - 0.5).abs() < 1e-12);
        assert!(cosine.factor(0, 100, 100).abs() < 1e-12);
        assert!((Schedule::Exponential { factor: 0.5 }.factor(3, 0, 0) - 0.125).abs() < 1e-12);
    }

    #[test]
    fn patience_counts_epochs_without_improvement() {
        let mut patience = Patience::new(2);
        assert!(patience.improved(3.0));
        assert!(!patience.improved(3.0));
        assert!(!patience.exhausted());
        assert!(patience.improved(2.0));
        assert!(!patience.improved(f64::NAN));
        assert!(!patience.improved(2.5));
        assert!(patience.exhausted());
        assert_eq!(patience.best(), Some(2.0));
    }
}
