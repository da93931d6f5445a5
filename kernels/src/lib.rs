//! Every operation of the engine: one folder an op, each with what it computes, its gradient, its cost and
//! the cases it is tried on. Knows no tape and no tensor, only contiguous buffers and shapes.
//!
//! Start at [`ops`], the one list; [`op::Op`] says what an op must say of itself.

pub mod check;
pub mod cpu;
mod error;
mod float;
pub mod gpu;
pub mod op;
pub mod ops;
pub mod philox;
mod shape;

pub use error::{Error, Result};
pub use float::Float;
pub use op::Op;
pub use shape::{MAX_RANK, Shape};
