//! Runs what `mpuc kernels model` models.

use super::networks;
use super::one_op::{self, ready};
use crate::failure::Result;
use engine::optim::{Optimizer, Rule};
use engine::{DType, Device, Init, Parameters, Pass, Tensor};
use kernels::op::Compiled;

/// Runs one training step of MPUC with four modalities on a device, after one that fills its memory. `first` is called
/// between the two.
///
/// # Errors
/// When a launch fails.
pub(in crate::commands) fn step(
    (batch, frames): (usize, usize),
    device: &Device,
    first: impl FnOnce(),
) -> Result<()> {
    let mut step = networks::step(batch, frames, device)?;
    (step.run)()?;
    first();
    (step.run)()
}

/// Runs the kernels that belong to no op: a step of each optimiser.
///
/// # Errors
/// When a launch fails.
pub(in crate::commands) fn optimisers(device: &Device) -> Result<()> {
    let adam = Rule::Adam { betas: [0.9, 0.999], epsilon: 1e-8, weight_decay: 1e-4 };
    for rule in [Rule::sgd(0.9, 1e-3), adam] {
        let mut parameters = Parameters::new(DType::F32, 0);
        parameters.scope().parameter("w", &[1000, 1000], Init::Normal(0.1))?;
        parameters.move_to(device)?;
        let mut optimizer = Optimizer::new(rule, &parameters)?;
        let pass = Pass::evaluate_recorded(&parameters);
        let zero = Tensor::zeros(&[1000, 1000], DType::F32);
        let weight = parameters.trainable().next().map(|id| pass.get(id));
        let loss = weight.map(|weight| weight.mse(&zero)).transpose()?;
        if let Some(loss) = loss {
            let outcome = pass.backward(&loss)?;
            optimizer.step(&mut parameters, outcome, 1e-3)?.wait()?;
        }
    }
    Ok(())
}

/// Runs every test case of an op, forward and backward, on a device.
///
/// # Errors
/// When a launch fails.
pub(in crate::commands) fn op<O: Compiled>(device: &Device) -> Result<()> {
    for case in [O::cases(), O::large()].concat() {
        (ready(&case, one_op::Pass::Both, None, device)?.run)()?;
    }
    Ok(())
}
