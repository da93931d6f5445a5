//! The networks and systems: MPUC and its baselines, their training, and the evaluation of their features.
//!
//! This crate reads no files: data comes as tensors of [`engine`].

pub mod backbones;
pub mod contrast;
pub mod evaluate;
pub mod faces;
pub mod heads;
pub mod sampler;
pub mod systems;
pub mod targets;
pub mod train;
pub mod weights;
