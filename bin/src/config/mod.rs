//! Configuration: presets, files and single settings, laid over each other.

mod explain;
pub mod presets;
mod resolve;
mod save;
mod schema;
mod stamp;
mod validate;

pub use resolve::{Layers, Resolved, Source};
pub use schema::*;
pub use stamp::{Stamp, word};
