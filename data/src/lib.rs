//! Data of the emotion recognition system: file formats, features, data sets, folds, a cache and a loader.
//!
//! This crate knows no tensor: everything it gives is plain host arrays ([`Array`]) with time first and features
//! last. Files that are corrupt, cut short or hostile give an [`Error`] that names them, never a panic.

pub mod cache;
pub mod dataset;
pub mod datasets;
pub mod features;
pub mod fence;
pub mod folds;
pub mod formats;
pub mod loader;
pub mod standardise;

mod array;
mod error;
mod process;

pub use array::Array;
pub use error::{Error, ErrorKind, Place, Result};
