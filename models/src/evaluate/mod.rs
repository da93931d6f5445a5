//! Evaluation of a trained system: the inference loop, probes on frozen features, metrics.

mod evaluation;
pub mod metrics;
mod outputs;
mod probe;
mod retrieval;

pub use evaluation::{Counts, Evaluation};
pub use outputs::{HostOutputs, Rows, evaluate};
pub use probe::{Dropped, Examples, Probe, ProbeSettings, Scaling};
pub use retrieval::{Found, Neighbour, Query, Store, TooFew, Weights};
