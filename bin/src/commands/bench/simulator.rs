//! The cases of `mpuc bench sim`: the speed of the simulated GPU.

use super::case::{Case, Ready};
use crate::failure::Result;
use kernels::gpu::{Device, Forward, GpuOp, Simulation, Simulator};
use kernels::{Shape, ops::Linear};
use std::time::Duration;

/// The side of the square matrices.
const SIDE: usize = 192;

/// Checked on one thread, unchecked on all.
pub(super) fn cases() -> Vec<Case> {
    let case = |name, simulation, threads: fn() -> usize| {
        Case::new(name, Duration::from_secs(3), move |_| product(simulation, threads()))
    };
    vec![
        case("sgemm192/checked", Simulation::CHECKED, || 1),
        case("sgemm192/fast", Simulation::FAST, rayon::current_num_threads),
    ]
}

/// Multiplies two matrices with the kernel of a linear layer.
fn product(simulation: Simulation, threads: usize) -> Result<Ready> {
    let simulator = Simulator::new(simulation);
    let device = Device::new(Box::new(simulator.clone()));
    let numbers: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 17) as f32).collect();
    let (x, weight) = (device.upload(&numbers)?, device.upload(&numbers)?);
    let output = device.allocate(4 * SIDE * SIDE)?;
    let multiply = move || {
        let call = Forward {
            shapes: &[Shape::new(&[SIDE, SIDE]), Shape::new(&[SIDE, SIDE])],
            inputs: &[x.pointer(), weight.pointer()],
            index_shapes: &[],
            indices: &[],
            output: output.pointer(),
            saved: &[],
        };
        Ok(Linear { bias: false, relu: false }.forward_gpu(&device, call)?)
    };
    // The first run loads the program and counts the thread instructions.
    multiply()?;
    let counters = simulator.counters();
    let instructions: u64 = counters.values().map(|c| c.total.thread_instructions).sum();
    let ready = Ready::new(multiply).items("thread instructions", instructions as f64);
    Ok(ready.detail("simulator_threads", threads))
}
