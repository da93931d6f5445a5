//! Running ops on a GPU, or on a simulated one.
//!
//! A [`Device`] launches an op's kernels through a [`Driver`]: the CUDA driver; the simulator, which runs the same PTX
//! on the CPU and checks every access; or the [`Counting`] one, which executes nothing. Programs, argument structs,
//! launch sizes and memory do not depend on the driver. An op implements [`GpuOp`] in its `cuda.rs`.

mod arguments;
pub mod check;
mod common;
mod counting;
mod cuda;
mod device;
mod driver;
mod error;
mod libraries;
mod memory;
pub mod model;
mod nvrtc;
pub mod nvtx;
mod op;
mod program;
mod reading;
mod resources;
mod simulated;
mod table;
mod trace;
mod walk;

pub use arguments::Pointer;
pub use common::{Parameter, Partial, Rates, Slices, Statistic, Verdict};
pub use counting::{Counting, Counts};
pub use cuda::{Doctor, doctor};
pub use device::Device;
pub use driver::{Description, Driver, Fetch, Function, Grid, Launch, Mark};
pub use error::{Error, Result};
pub use libraries::NVRTC_VARIABLE;
pub use memory::{Block, Statistics};
pub use nvrtc::{Target, compile, version as nvrtc_version};
pub use op::{Backward, Forward, GpuOp, Gradient};
pub use program::{Part, Program, ProgramId};
pub use reading::Reading;
pub use resources::{Resources, budget, budget_of, resources};
pub use simulated::{Blocks, Counters, Launched, Order, Simulation, Simulator, Tally};
pub use table::Table;
pub use trace::{Kernel, Trace};
pub use walk::{Loops, Split};

/// Every program: those of the ops in the order of their list, then the program of the common kernels.
pub fn programs() -> Vec<&'static Program> {
    struct Programs(Vec<&'static Program>);
    impl crate::ops::Visitor for Programs {
        fn visit<O: crate::op::Compiled>(&mut self) {
            self.0.push(O::PROGRAM);
        }
    }
    let mut programs = Programs(Vec::new());
    crate::ops::visit(&mut programs);
    programs.0.push(common::program());
    programs.0
}
