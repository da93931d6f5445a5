//! Evaluation of a trained system: the inference loop, probes on frozen features, metrics.

mod evaluation;
pub mod metrics;
mod outputs;
mod probe;

pub use evaluation::{Counts, Evaluation};
pub use outputs::{HostOutputs, Rows, evaluate};
pub use probe::{Examples, Probe, ProbeSettings, Scaling};
