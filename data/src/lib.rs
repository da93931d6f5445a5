//! Data of the emotion recognition system: file formats, features, corpora, folds, a cache and a loader.
//!
//! This crate does not use tensors: all results are plain host arrays ([`Array`]) with time first and features
//! last. Files that are corrupt, cut short or hostile give an [`Error`] that names them, never a panic.

pub mod cache;
pub mod corpora;
pub mod corpus;
pub mod dataset;
pub mod feature;
pub mod features;
pub mod fence;
pub mod folds;
pub mod formats;
pub mod loader;
pub mod plain;
pub mod prepare;
pub mod printable;
pub mod shapes;
pub mod standardise;
pub mod synth;
pub mod values;

mod array;
mod error;
mod process;
mod residency;

pub use array::Array;
pub use error::{Error, ErrorKind, OnError, Position, Result};
