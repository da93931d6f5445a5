//! A model of the time that launches take on a GPU that need not be there.
//!
//! [`Modelled`] is a driver. For each launch it runs some blocks on the simulator and estimates from them what the whole
//! grid does: machine instructions by unit, wavefronts, bytes, the critical path. [`Gpu`] holds the figures of a GPU's
//! data sheet. [`Time`] is the time of a launch on a GPU, and what limits it: every resource of the GPU would need some
//! time by itself, and the launch takes the longest of these. Nothing here is measured.

mod blocks;
mod budget;
mod driver;
mod estimate;
mod sheet;
mod time;

pub use budget::{Accepted, budget, budget_of};
pub use driver::{Modelled, Sampled};
pub use estimate::Estimate;
pub use sheet::Gpu;
pub use time::{Limiter, Time, occupancy};
