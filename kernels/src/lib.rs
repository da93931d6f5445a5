//! Every operation of the engine: one folder for each op, with its forward pass, gradient, cost and test cases.
//! This crate has no tape and no tensor, only contiguous buffers and shapes.
//!
//! Start at [`ops`], the list of all ops; the trait [`op::Op`] is what an op must implement.

pub mod check;
pub mod cpu;
mod error;
mod float;
pub mod gpu;
pub mod op;
pub mod ops;
mod outside;
pub mod philox;
mod shape;
pub mod walk;

pub use error::{Error, Result};
pub use float::Float;
pub use op::Op;
pub use proptest;
pub use shape::{MAX_RANK, Shape};
