//! A small automatic differentiation engine: tensors, a tape, parameters with names, layers, optimisers,
//! schedules and checkpoints.
//!
//! The ops are in [`kernels`]; this crate gives them buffers from a pool, records them on a [`Tape`] and runs the
//! backward pass. It has no models.
//!
//! A training step:
//! ```
//! use engine::{DType, Init, Parameters, Pass, Tensor, optim::{Optimizer, Rule}};
//! # fn main() -> engine::Result<()> {
//! let mut parameters = Parameters::new(DType::F32, 7);
//! let weight = parameters.scope().parameter("weight", &[3, 2], Init::Normal(0.1))?;
//! let mut optimizer = Optimizer::new(Rule::sgd(0.9, 0.0), &parameters)?;
//!
//! let pass = Pass::train(&parameters, kernels::philox::Philox::new(7, "step"));
//! let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], &[1, 3])?;
//! let y = x.linear(&pass.get(weight), None, false)?;
//! let loss = y.mse(&Tensor::zeros(&[1, 2], DType::F32))?;
//! let outcome = pass.backward(&loss)?;
//! let figures = optimizer.step(&mut parameters, outcome, 0.1)?.wait()?;
//! assert!(figures.loss > 0.0 && figures.gradient_norm > 0.0);
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
mod constants;
mod device;
mod dtype;
mod error;

pub mod nn;
pub mod optim;
mod parameters;
mod pass;
pub mod pool;
pub mod profile;
pub mod schedule;
mod tape;
mod tensor;

pub use constants::Constants;
pub use device::{Counting, Counts, Device, Simulation};
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use kernels::philox::Philox;
pub use parameters::{Init, Kind, ParameterId, Parameters, Scope};
pub use pass::{Outcome, ParameterGradients, Pass, Statistics};
pub use tape::{Gradients, Tape};
pub use tensor::{Applied, Tensor};
