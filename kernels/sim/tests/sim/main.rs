//! The simulator's tests, in one binary.

mod calls;
mod common;
mod instructions;
mod kernels;
mod large;
mod model;
mod modules;
mod planted;
mod probes;
mod registers;
mod sample;
