//! Steps on a GPU: tables of addresses, launches, and the latch that stops later steps.

use super::{Optimizer, Reading, Rule, gradient, reading};
use crate::device::gpu_error;
use crate::{Device, Error, Outcome, ParameterGradients, Parameters, Result, Tensor};
use kernels::gpu::{self, Pointer, Table, Verdict};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers on a GPU that steps reuse.
#[derive(Debug, Default)]
pub(super) struct OnGpu {
    parameters: Table<gpu::Parameter>,
    statistics: Table<gpu::Statistic>,
    /// The parameters of all optimisers of a [`step_together`], in the first of them, and their names.
    together: Table<gpu::Parameter>,
    names: Option<Arc<[String]>>,
    pub(super) latch: Latch,
}

/// See [`Verdict`]. Made by the first step on a GPU.
#[derive(Debug, Clone, Default)]
pub(super) struct Latch(Arc<Mutex<Option<Arc<gpu::Block>>>>);

impl Clone for OnGpu {
    /// Empty: another optimiser has other addresses and its own latch.
    fn clone(&self) -> Self {
        OnGpu::default()
    }
}

impl Optimizer {
    /// The latch that the first loss or gradient that is not finite shuts.
    fn latch(&self, gpu: &gpu::Device) -> Result<Arc<gpu::Block>> {
        let mut latch = self.gpu.latch.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latch {
            Some(latch) if latch.device().is(gpu) => Ok(Arc::clone(latch)),
            _ => {
                let made = Arc::new(gpu.allocate(Verdict::LATCH).map_err(gpu_error)?);
                reading::open(&made)?;
                Ok(Arc::clone(latch.insert(made)))
            }
        }
    }

    /// Updates the table of the addresses of parameters, gradients and state; returns its rows.
    pub(super) fn tabulate(
        &mut self,
        gpu: &gpu::Device,
        parameters: &mut Parameters,
        gradients: &ParameterGradients,
    ) -> Result<Vec<gpu::Parameter>> {
        let device = Device::Gpu(gpu.clone());
        let mut table = Vec::new();
        for (id, memory) in &mut self.memory {
            let gradient = gradient(parameters, gradients, *id)?.pointer();
            for tensor in memory.iter_mut() {
                tensor.make_own(&device)?;
            }
            let value = parameters.value_mut(*id);
            value.make_own(&device)?;
            table.push(gpu::Parameter {
                weight: value.pointer(),
                first: memory[0].pointer(),
                second: memory.get(1).map_or(Pointer::NULL, Tensor::pointer),
                gradient,
                count: value.count() as i64,
            });
        }
        self.gpu.parameters.replace(gpu, table.clone()).map_err(gpu_error)?;
        Ok(table)
    }

    /// Launches the update of all parameters of the table, unless the latch is shut.
    pub(super) fn update_on_gpu(
        &mut self,
        gpu: &gpu::Device,
        rate: f64,
        latch: Pointer,
    ) -> Result<()> {
        self.steps += 1;
        let table = &self.gpu.parameters;
        let done = match self.rule {
            Rule::Sgd { momentum, weight_decay } => {
                let [rate, decay, momentum] = [rate, weight_decay, momentum].map(|x| x as f32);
                let rates = gpu::Rates { rate, decay, momentum, ..gpu::Rates::default() };
                gpu.sgd(table, rates, latch)
            }
            Rule::Adam { betas, epsilon, weight_decay } => {
                let correction = betas.map(|beta| 1.0 - beta.powi(self.steps as i32));
                let [momentum, beta, epsilon, decay, rate, root] = [
                    betas[0],
                    betas[1],
                    epsilon,
                    weight_decay,
                    rate / correction[0],
                    1.0 / correction[1].sqrt(),
                ]
                .map(|x| x as f32);
                let rates = gpu::Rates { rate, decay, momentum, beta, epsilon, root };
                gpu.adam(table, rates, latch)
            }
        };
        done.map_err(gpu_error)
    }
}

/// The step of optimisers with disjoint parameters on a GPU: launches the check of the loss and gradients, then the updates.
pub(super) fn step_on_gpu(
    optimizers: &mut [&mut Optimizer],
    gpu: &gpu::Device,
    parameters: &mut Parameters,
    outcome: Outcome,
    rate: f64,
) -> Result<Reading> {
    let Outcome { loss, gradients, statistics, watched } = outcome;
    let device = Device::Gpu(gpu.clone());
    let (loss, watched) = (loss.on(&device)?, on_device(watched, &device)?);
    let mut rows = Vec::new();
    for optimizer in optimizers.iter_mut() {
        rows.extend(optimizer.tabulate(gpu, parameters, &gradients)?);
    }
    let names = names_of(optimizers);
    let alone = optimizers.len() == 1;
    let Some(first) = optimizers.first_mut() else {
        return Err(Error::Tape("a step needs an optimiser"));
    };
    if !alone {
        first.gpu.together.replace(gpu, rows).map_err(gpu_error)?;
    }
    let latch = first.latch(gpu)?;
    let (shut, update) = (latch.pointer(), first.steps + 1);
    let lengths: Vec<usize> = watched.iter().map(Tensor::count).collect();
    let bytes = size_of::<Verdict>() + 4 * lengths.iter().sum::<usize>();
    let verdict = gpu.allocate(bytes).map_err(gpu_error)?;
    let table = if alone { &first.gpu.parameters } else { &first.gpu.together };
    gpu.judge(table, loss.pointer(), shut, update, verdict.pointer()).map_err(gpu_error)?;
    statistics.apply_on_gpu(gpu, parameters, &mut first.gpu.statistics, shut)?;
    for optimizer in optimizers.iter_mut() {
        optimizer.update_on_gpu(gpu, rate, shut)?;
    }
    let mut to = verdict.pointer().offset(size_of::<Verdict>());
    for tensor in &watched {
        let bytes = 4 * tensor.count();
        gpu.driver().copy(to.0, tensor.pointer().0, bytes).map_err(gpu_error)?;
        to = to.offset(bytes);
    }
    let reading = gpu.read(verdict.pointer(), bytes).map_err(gpu_error)?;
    Ok(Reading::late(reading, update, names, lengths, latch))
}

/// The names of the parameters of all optimisers, kept in the first.
fn names_of(optimizers: &mut [&mut Optimizer]) -> Arc<[String]> {
    if let [one] = optimizers {
        return Arc::clone(&one.names);
    }
    let count = optimizers.iter().map(|optimizer| optimizer.names.len()).sum::<usize>();
    let kept = optimizers.first().and_then(|first| first.gpu.names.clone());
    if let Some(names) = kept.filter(|names| names.len() == count) {
        return names;
    }
    let names: Arc<[String]> = optimizers.iter().flat_map(|o| o.names.iter().cloned()).collect();
    if let Some(first) = optimizers.first_mut() {
        first.gpu.names = Some(Arc::clone(&names));
    }
    names
}

/// Copies tensors to a device.
fn on_device(tensors: Vec<Tensor>, device: &Device) -> Result<Vec<Tensor>> {
    tensors.iter().map(|tensor| tensor.on(device)).collect()
}
