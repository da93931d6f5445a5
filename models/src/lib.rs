//! The networks and systems: what MPUC and its baselines compute, how they are trained and judged.
//!
//! Knows the engine and no files: data comes in as tensors.

pub mod backbones;
pub mod faces;
pub mod heads;
pub mod metrics;
pub mod probe;
pub mod sampler;
pub mod systems;
pub mod targets;
pub mod training;
pub mod weights;
