//! Optimisers: SGD with momentum (PyTorch's rule) and Adam.
//!
//! A step on a GPU does not wait. Its [`Reading`] returns loss and gradient norm; wait for it after the next step was
//! launched. The GPU itself checks that they are finite, before it changes a parameter.

mod on_gpu;
mod reading;

pub use reading::{Figures, Reading};

use crate::dtype::with_float;
use crate::{
    DType, Device, Error, Outcome, ParameterGradients, ParameterId, Parameters, Result, Tensor,
};
use kernels::Float;
use kernels::cpu::{parallel, simd};
use kernels::gpu::Pointer;
use on_gpu::{OnGpu, step_on_gpu};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The update rule of an optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// g += decay w; v = momentum v + g; w -= rate v. Weight decay applies to every parameter, also biases and batch
    /// norm, as in PyTorch's SGD.
    Sgd {
        /// Momentum.
        momentum: f64,
        /// Weight decay.
        weight_decay: f64,
    },
    /// Kingma & Ba 2015 with bias correction; weight decay is added to the gradient, as in PyTorch's Adam.
    Adam {
        /// Decay rates of the first and second moment.
        betas: [f64; 2],
        /// Added to the square root of the second moment.
        epsilon: f64,
        /// Weight decay.
        weight_decay: f64,
    },
}

impl Rule {
    /// SGD with this momentum and weight decay.
    pub fn sgd(momentum: f64, weight_decay: f64) -> Self {
        Rule::Sgd { momentum, weight_decay }
    }

    /// Adam with betas 0.9 and 0.999, and epsilon 1e-8.
    pub fn adam(weight_decay: f64) -> Self {
        Rule::Adam { betas: [0.9, 0.999], epsilon: 1e-8, weight_decay }
    }

    /// Its name in configurations: `sgd` or `adam`.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::Sgd { .. } => "sgd",
            Rule::Adam { .. } => "adam",
        }
    }

    /// The names of the buffers of each parameter.
    fn slots(&self) -> &'static [&'static str] {
        match self {
            Rule::Sgd { .. } => &["momentum"],
            Rule::Adam { .. } => &["first_moment", "second_moment"],
        }
    }
}

/// An optimiser: a rule, and its state for each trainable parameter.
#[derive(Debug, Clone)]
pub struct Optimizer {
    rule: Rule,
    memory: Vec<(ParameterId, Vec<Tensor>)>,
    /// The parameters' names, for the messages of readings.
    names: Arc<[String]>,
    steps: u64,
    gpu: OnGpu,
}

impl Optimizer {
    /// An optimiser of all trainable parameters, with zero state.
    ///
    /// # Errors
    /// When a parameter is neither f32 nor f64.
    pub fn new(rule: Rule, parameters: &Parameters) -> Result<Self> {
        Optimizer::of(rule, parameters, parameters.trainable())
    }

    /// An optimiser of these parameters only, with zero state.
    ///
    /// # Errors
    /// When a parameter is neither f32 nor f64.
    pub fn of(
        rule: Rule,
        parameters: &Parameters,
        ids: impl IntoIterator<Item = ParameterId>,
    ) -> Result<Self> {
        let mut memory = Vec::new();
        for id in ids {
            let value = parameters.value(id);
            with_float!(
                value.dtype(),
                _T => (),
                return Err(Error::DType { what: parameters.name(id).into(), got: value.dtype(), expected: DType::F32 })
            );
            let zeros = || Tensor::zeros_on(&value.shape(), value.dtype(), parameters.device());
            memory.push((id, rule.slots().iter().map(|_| zeros()).collect::<Result<_>>()?));
        }
        let names = memory.iter().map(|(id, _)| parameters.name(*id).to_owned()).collect();
        Ok(Optimizer { rule, memory, names, steps: 0, gpu: OnGpu::default() })
    }

    /// Lets a loss or gradient that is not finite stop the later steps of both optimisers on a GPU.
    pub fn stop_with(&mut self, other: &Optimizer) {
        self.gpu.latch = other.gpu.latch.clone();
    }

    /// The number of updates so far, with those whose reading is still pending.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Updates the running statistics and each trainable parameter. If the loss or a gradient is not finite, changes
    /// nothing.
    ///
    /// On the CPU the step is done when this returns. On a GPU it is launched; [`Reading::wait`] returns its result.
    /// After a loss or gradient that is not finite, later steps change nothing until the reading returned the error.
    ///
    /// # Errors
    /// When a gradient is missing; on the CPU also when the loss or a gradient is not finite.
    pub fn step(
        &mut self,
        parameters: &mut Parameters,
        outcome: Outcome,
        rate: f64,
    ) -> Result<Reading> {
        if let Some(gpu) = parameters.device().gpu().cloned() {
            return step_on_gpu(&mut [self], &gpu, parameters, outcome, rate);
        }
        let Outcome { loss, gradients, statistics, watched } = outcome;
        let loss = loss.item()?;
        if !loss.is_finite() {
            return Err(Error::NotFinite { what: "the loss".into(), update: self.steps + 1 });
        }
        let gradient_norm = self.norm(parameters, &gradients)?;
        statistics.apply(parameters)?;
        self.update(parameters, &gradients, rate)?;
        let watched = watched.iter().map(Tensor::to_vec).collect::<Result<_>>()?;
        Ok(Reading::known(Figures { loss, gradient_norm, watched }))
    }

    /// The L2 norm of all gradients together, summed in the order of the parameters.
    fn norm(&self, parameters: &Parameters, gradients: &ParameterGradients) -> Result<f64> {
        let mut total = 0.0;
        for ((id, _), name) in self.memory.iter().zip(self.names.iter()) {
            let square = sum_of_squares(&gradient(parameters, gradients, *id)?.on(&Device::Cpu)?)?;
            if !square.is_finite() {
                let what = format!("the gradient of {name}");
                return Err(Error::NotFinite { what, update: self.steps + 1 });
            }
            total += square;
        }
        Ok(total.sqrt())
    }

    /// Updates each trainable parameter without the checks of [`step`](Self::step): gradients need not be finite.
    ///
    /// # Errors
    /// When a gradient is missing.
    pub fn update(
        &mut self,
        parameters: &mut Parameters,
        gradients: &ParameterGradients,
        rate: f64,
    ) -> Result<()> {
        if let Some(gpu) = parameters.device().gpu().cloned() {
            self.tabulate(&gpu, parameters, gradients)?;
            return self.update_on_gpu(&gpu, rate, Pointer::NULL);
        }
        self.steps += 1;
        for (id, memory) in &mut self.memory {
            let gradient = gradient(parameters, gradients, *id)?;
            let value = parameters.value_mut(*id);
            let got = value.dtype();
            with_float!(
                got,
                T => update(self.rule, self.steps, rate, value.as_mut_slice::<T>()?, gradient.as_slice::<T>()?, memory)?,
                return Err(Error::DType { what: parameters.name(*id).into(), got, expected: DType::F32 })
            );
        }
        Ok(())
    }

    /// The state by name, for a checkpoint.
    ///
    /// # Errors
    /// When it cannot be copied from a GPU.
    pub fn state(&self, parameters: &Parameters) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for (id, memory) in &self.memory {
            for (slot, tensor) in self.rule.slots().iter().zip(memory) {
                state.push((format!("{slot}.{}", parameters.name(*id)), tensor.on(&Device::Cpu)?));
            }
        }
        Ok(state)
    }

    /// Restores the result of [`state`](Self::state).
    ///
    /// # Errors
    /// When a buffer is missing or has another shape.
    pub fn restore(
        &mut self,
        parameters: &Parameters,
        steps: u64,
        mut find: impl FnMut(&str) -> Option<Tensor>,
    ) -> Result<()> {
        for (id, memory) in &mut self.memory {
            for (slot, tensor) in self.rule.slots().iter().zip(memory) {
                let name = format!("{slot}.{}", parameters.name(*id));
                match find(&name) {
                    Some(found)
                        if found.shape() == tensor.shape() && found.dtype() == tensor.dtype() =>
                    {
                        *tensor = found
                    }
                    Some(found) => {
                        let what =
                            format!("got shape {}, expected {}", found.shape(), tensor.shape());
                        return Err(Error::Parameter { name, what });
                    }
                    None => {
                        return Err(Error::Parameter {
                            name,
                            what: "not in the checkpoint".into(),
                        });
                    }
                }
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// A parameter's gradient, or an error if it is missing.
fn gradient<'a>(
    parameters: &Parameters,
    gradients: &'a ParameterGradients,
    id: ParameterId,
) -> Result<&'a Tensor> {
    gradients.get(id).ok_or_else(|| Error::NoGradient { names: vec![parameters.name(id).into()] })
}

/// [`Optimizer::step`] of several optimisers with disjoint parameters, on one backward pass. Call it with the same
/// optimisers in the same order each time. Let them [stop together](Optimizer::stop_with).
///
/// # Errors
/// As [`Optimizer::step`].
pub fn step_together(
    optimizers: &mut [&mut Optimizer],
    parameters: &mut Parameters,
    outcome: Outcome,
    rate: f64,
) -> Result<Reading> {
    if let [one] = optimizers {
        return one.step(parameters, outcome, rate);
    }
    if let Some(gpu) = parameters.device().gpu().cloned() {
        return step_on_gpu(optimizers, &gpu, parameters, outcome, rate);
    }
    let Outcome { loss, gradients, statistics, watched } = outcome;
    let loss = loss.item()?;
    if !loss.is_finite() {
        let update = optimizers.first().map_or(0, |optimizer| optimizer.steps) + 1;
        return Err(Error::NotFinite { what: "the loss".into(), update });
    }
    let norms = optimizers.iter().map(|optimizer| optimizer.norm(parameters, &gradients));
    let norms: Vec<f64> = norms.collect::<Result<_>>()?;
    let gradient_norm = norms.into_iter().reduce(f64::hypot).unwrap_or(0.0);
    statistics.apply(parameters)?;
    for optimizer in optimizers {
        optimizer.update(parameters, &gradients, rate)?;
    }
    let watched = watched.iter().map(Tensor::to_vec).collect::<Result<_>>()?;
    Ok(Reading::known(Figures { loss, gradient_norm, watched }))
}

fn update<T: Float + crate::Element>(
    rule: Rule,
    step: u64,
    rate: f64,
    weights: &mut [T],
    gradient: &[T],
    memory: &mut [Tensor],
) -> Result<()> {
    let chunk = parallel::GRAIN;
    match (rule, memory) {
        (Rule::Sgd { momentum, weight_decay }, [velocity]) => {
            let [momentum, decay, rate] = [momentum, weight_decay, rate].map(T::from_f64);
            let velocity = velocity.as_mut_slice::<T>()?;
            let chunks = weights
                .par_chunks_mut(chunk)
                .zip(velocity.par_chunks_mut(chunk))
                .zip(gradient.par_chunks(chunk));
            chunks.for_each(|((weights, velocity), gradient)| {
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for ((w, v), &g) in weights.iter_mut().zip(velocity).zip(gradient) {
                            *v = momentum * *v + (g + decay * *w);
                            *w -= rate * *v;
                        }
                    },
                );
            });
        }
        (Rule::Adam { betas, epsilon, weight_decay }, [first, second]) => {
            let correction = betas.map(|beta| 1.0 - beta.powi(step as i32));
            let rate = T::from_f64(rate / correction[0]);
            let root = T::from_f64(1.0 / correction[1].sqrt());
            let [b1, b2, epsilon, decay] =
                [betas[0], betas[1], epsilon, weight_decay].map(T::from_f64);
            let first = first.as_mut_slice::<T>()?;
            let second = second.as_mut_slice::<T>()?;
            let chunks = weights
                .par_chunks_mut(chunk)
                .zip(first.par_chunks_mut(chunk))
                .zip(second.par_chunks_mut(chunk))
                .zip(gradient.par_chunks(chunk));
            chunks.for_each(|(((weights, first), second), gradient)| {
                simd::vectorised(
                    #[inline(always)]
                    || {
                        for (((w, m), v), &g) in
                            weights.iter_mut().zip(first).zip(second).zip(gradient)
                        {
                            let g = g + decay * *w;
                            *m = b1 * *m + (T::ONE - b1) * g;
                            *v = b2 * *v + (T::ONE - b2) * g * g;
                            *w -= rate * *m / (v.sqrt() * root + epsilon);
                        }
                    },
                );
            });
        }
        // `of` created one buffer for each slot of the rule.
        _ => unreachable!("an optimiser has the buffers of its rule"),
    }
    Ok(())
}

/// The sum of squares, in blocks of fixed length that are combined in f64 in a fixed order.
fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    fn sum<T: Float>(values: &[T]) -> f64 {
        let block = |block: &[T]| {
            simd::vectorised(
                #[inline(always)]
                || {
                    // Sixteen running sums, so that the additions are vectorised.
                    let mut sums = [T::ZERO; 16];
                    let chunks = block.chunks_exact(16);
                    let rest: T = chunks.remainder().iter().map(|&v| v * v).sum();
                    for chunk in chunks {
                        sums.iter_mut().zip(chunk).for_each(|(s, &v)| *s += v * v);
                    }
                    sums.iter().map(|s| s.to_f64()).sum::<f64>() + rest.to_f64()
                },
            )
        };
        let partial: Vec<f64> = values.par_chunks(4096).map(block).collect();
        partial.iter().sum()
    }
    with_float!(tensor.dtype(), T => Ok(sum(tensor.cast::<T>())), Err(Error::DType {
        what: "a gradient's norm".into(),
        got: tensor.dtype(),
        expected: DType::F32
    }))
}

#[cfg(test)]
mod tests;
