//! The networks and systems: what MPUC and its baselines compute, how they are trained and judged.
//!
//! Knows the engine and no files: data comes in as tensors.

pub mod backbones;
pub mod evaluate;
pub mod faces;
pub mod heads;
pub mod sampler;
pub mod systems;
pub mod targets;
pub mod train;
pub mod weights;
