//! Training: one step, one loop, and the state that a run is taken up from.

mod fit;
mod trainer;

pub use fit::{Course, Epochs, calibrate, fit, validate};
pub use trainer::{EpochRecord, StepRecord, Trainer, TrainingSettings, insert, plateau, restore};

#[cfg(test)]
mod tests;
