//! See README.md.

pub mod datasets;
