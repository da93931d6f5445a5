//! Configuration: presets, files and single settings, laid over each other.

mod arms;
mod data;
mod explain;
mod limits;
mod migrate;
mod missing;
mod nearest;
mod over;
pub mod presets;
mod resolve;
mod save;
mod schema;
mod sequences;
mod stamp;
mod study;
mod table;
mod validate;

pub use arms::{Arm, EvaluationKind, Origin, Pairing};
pub use data::*;
pub use missing::{MissingConfig, Replacement};
pub use resolve::{Layers, Resolved, path_value};
pub use schema::*;
pub use stamp::{Stamp, word};
pub use study::{Cell, Study};
