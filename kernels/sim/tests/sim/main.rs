//! The simulator's tests, in one binary.

mod common;
mod kernels;
