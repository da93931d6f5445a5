//! Training: one step, the loop, and the state from which a run resumes.

mod estimate;
mod fit;
mod trainer;

pub use estimate::{Estimate, Evaluated, estimate};
pub use fit::{Course, Epochs, calibrate, fit, validate};
pub use trainer::{EpochRecord, StepRecord, Trainer, TrainingSettings, insert, plateau, restore};

#[cfg(test)]
mod tests;
