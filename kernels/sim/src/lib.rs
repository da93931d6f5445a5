#![doc = include_str!("../README.md")]

mod alu;
mod check;
mod decode;
mod error;
mod instruction;
mod kernel;
mod lanes;
mod launch;
mod machine;
mod memory;
mod parameter;
mod parse;
mod report;
mod sample;
mod unit;

pub use error::Error;
pub use kernel::{Kernel, Module};
pub use launch::{Blocks, Launch, Mode, Order, Settings, run};
pub use memory::{Memory, pattern};
pub use parameter::Parameter;
pub use report::{Counters, Finding, Kind, LineTally, Report, Tally};
pub use sample::{Touched, Work, sample};
pub use unit::Unit;
