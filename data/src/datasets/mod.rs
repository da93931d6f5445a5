//! Data sets: one module each.

pub mod synth;
