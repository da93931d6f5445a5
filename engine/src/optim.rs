//! Optimisers: SGD with momentum (PyTorch's rule) and Adam.

use crate::device::gpu_error;
use crate::dtype::with_float;
use crate::{DType, Device, Error, ParameterGradients, ParameterId, Parameters, Result, Tensor};
use kernels::Float;
use kernels::cpu::{parallel, simd};
use kernels::gpu::{self, Pointer};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How a gradient changes a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// g += decay w; v = momentum v + g; w -= rate v. Weight decay touches every parameter, biases and batch
    /// norm too, as PyTorch's SGD does.
    Sgd {
        /// Momentum.
        momentum: f64,
        /// Weight decay.
        weight_decay: f64,
    },
    /// Kingma & Ba 2015 with bias correction; weight decay is added to the gradient, as PyTorch's Adam does.
    Adam {
        /// Decay of the first and second moment.
        betas: [f64; 2],
        /// Added to the root of the second moment.
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

    /// Adam with the usual constants.
    pub fn adam(weight_decay: f64) -> Self {
        Rule::Adam { betas: [0.9, 0.999], epsilon: 1e-8, weight_decay }
    }

    /// The names of the buffers it keeps for each parameter.
    fn slots(&self) -> &'static [&'static str] {
        match self {
            Rule::Sgd { .. } => &["momentum"],
            Rule::Adam { .. } => &["first_moment", "second_moment"],
        }
    }
}

/// A rule with what it remembers of each trainable parameter.
#[derive(Debug, Clone)]
pub struct Optimizer {
    rule: Rule,
    memory: Vec<(ParameterId, Vec<Tensor>)>,
    steps: u64,
}

impl Optimizer {
    /// An optimiser of all trainable parameters, remembering nothing yet.
    ///
    /// # Errors
    /// When a parameter is of a type that is not trained.
    pub fn new(rule: Rule, parameters: &Parameters) -> Result<Self> {
        Optimizer::of(rule, parameters, parameters.trainable())
    }

    /// An optimiser of these parameters alone, remembering nothing yet.
    ///
    /// # Errors
    /// When a parameter is of a type that is not trained.
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
            let zeros =
                rule.slots().iter().map(|_| Tensor::zeros(&value.shape(), value.dtype())).collect();
            memory.push((id, zeros));
        }
        Ok(Optimizer { rule, memory, steps: 0 })
    }

    /// Updates of the parameters so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Changes each of its parameters by its gradient.
    ///
    /// # Errors
    /// When a gradient is missing.
    pub fn step(
        &mut self,
        parameters: &mut Parameters,
        gradients: &ParameterGradients,
        rate: f64,
    ) -> Result<()> {
        self.steps += 1;
        let device = parameters.device().clone();
        if let Some(gpu) = device.gpu() {
            return self.step_on_gpu(gpu, &device, parameters, gradients, rate);
        }
        for (id, memory) in &mut self.memory {
            let Some(gradient) = gradients.get(*id) else {
                return Err(Error::NoGradient { names: vec![parameters.name(*id).into()] });
            };
            let value = parameters.value_mut(*id);
            with_float!(
                value.dtype(),
                T => update(self.rule, self.steps, rate, value.as_mut_slice::<T>()?, gradient.as_slice::<T>()?, memory)?,
                return Err(Error::Tape("only f32 and f64 parameters are trained"))
            );
        }
        Ok(())
    }

    /// The same in one launch for all parameters.
    fn step_on_gpu(
        &mut self,
        gpu: &gpu::Device,
        device: &Device,
        parameters: &mut Parameters,
        gradients: &ParameterGradients,
        rate: f64,
    ) -> Result<()> {
        let mut table = Vec::new();
        for (id, memory) in &mut self.memory {
            let Some(gradient) = gradients.get(*id) else {
                return Err(Error::NoGradient { names: vec![parameters.name(*id).into()] });
            };
            for tensor in memory.iter_mut() {
                tensor.make_own(device)?;
            }
            let value = parameters.value_mut(*id);
            value.make_own(device)?;
            table.push(gpu::Parameter {
                weight: value.pointer(),
                first: memory[0].pointer(),
                second: memory.get(1).map_or(Pointer::NULL, Tensor::pointer),
                gradient: gradient.pointer(),
                count: value.count() as i64,
            });
        }
        let done = match self.rule {
            Rule::Sgd { momentum, weight_decay } => {
                let [rate, decay, momentum] = [rate, weight_decay, momentum].map(|x| x as f32);
                gpu.sgd(&table, gpu::Rates { rate, decay, momentum, ..gpu::Rates::default() })
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
                gpu.adam(&table, gpu::Rates { rate, decay, momentum, beta, epsilon, root })
            }
        };
        done.map_err(gpu_error)
    }

    /// What it remembers, by name, for a checkpoint.
    ///
    /// # Errors
    /// When it cannot be read back from a GPU.
    pub fn state(&self, parameters: &Parameters) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for (id, memory) in &self.memory {
            for (slot, tensor) in self.rule.slots().iter().zip(memory) {
                state.push((format!("{slot}.{}", parameters.name(*id)), tensor.on(&Device::Cpu)?));
            }
        }
        Ok(state)
    }

    /// Takes back what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// When a buffer is missing or of another shape.
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
        _ => return Err(Error::Tape("an optimiser's memory does not fit its rule")),
    }
    Ok(())
}

/// The sum of squares of each gradient: on a GPU all in one launch, else in blocks of fixed length that are combined
/// in f64 in a fixed order.
pub(crate) fn squares(gradients: &[&Tensor]) -> Result<Vec<f64>> {
    let Some(gpu) = gradients.first().and_then(|gradient| gradient.gpu()) else {
        return gradients.iter().map(|gradient| sum_of_squares(gradient)).collect();
    };
    let entry = |gradient: &&Tensor| gpu::Parameter {
        weight: Pointer::NULL,
        first: Pointer::NULL,
        second: Pointer::NULL,
        gradient: gradient.pointer(),
        count: gradient.count() as i64,
    };
    gpu.squares(&gradients.iter().map(entry).collect::<Vec<_>>()).map_err(gpu_error)
}

fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    fn sum<T: Float>(values: &[T]) -> f64 {
        let block = |block: &[T]| {
            simd::vectorised(
                #[inline(always)]
                || {
                    // Sixteen running sums, so that the additions are vectors and not a chain.
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
    with_float!(tensor.dtype(), T => Ok(sum(tensor.cast::<T>())), Err(Error::Tape("only floats have a norm")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Init, Pass, Philox};

    /// Three steps of each rule on one weight.
    #[test]
    fn pytorchs_rules() -> Result<()> {
        let run = |rule: Rule, rate: f64| -> Result<Vec<f64>> {
            let mut parameters = Parameters::new(DType::F64, 0);
            let id = parameters.scope().parameter("w", &[1], Init::Constant(1.0))?;
            let mut optimizer = Optimizer::new(rule, &parameters)?;
            let mut path = Vec::new();
            for _ in 0..3 {
                let pass = Pass::train(&parameters, Philox::new(0, "t"));
                // loss = mean((w - 3)^2), gradient 2 (w - 3)
                let loss = pass.get(id).mse(&Tensor::from_slice(&[3.0f64], &[1])?)?;
                let outcome = pass.backward(&loss)?;
                optimizer.step(&mut parameters, &outcome.gradients, rate)?;
                path.push(parameters.value(id).item()?);
            }
            Ok(path)
        };
        let close = |got: Vec<f64>, expected: [f64; 3]| {
            assert!(
                got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-9),
                "{got:?} {expected:?}"
            );
        };
        // By hand: v = -3.99, then .9 v - 3.202 + .01399, then .9 v - 1.846198 + .02076901.
        close(run(Rule::sgd(0.9, 0.01), 0.1)?, [1.399, 2.076901, 2.869554799]);
        // Adam's first step is the rate itself.
        let adam = run(Rule::adam(0.0), 0.1)?;
        assert!((adam[0] - 1.1).abs() < 1e-8, "{adam:?}");
        Ok(())
    }

    /// A few steps of a rule on parameters of several sizes: the parameters, and the norm of the last gradients.
    fn learn(rule: Rule, device: &Device) -> Result<Vec<f64>> {
        let mut parameters = Parameters::new(DType::F32, 3);
        for (name, size) in [("one", 1), ("some", 300), ("many", 20_011)] {
            parameters.scope().parameter(name, &[size], Init::Normal(1.0))?;
        }
        parameters.move_to(device)?;
        // Shares its buffers until the first step, which must not change it.
        let before = parameters.clone();
        let ids: Vec<ParameterId> = parameters.ids().collect();
        let mut optimizer = Optimizer::new(rule, &parameters)?;
        let mut norm = 0.0;
        for _ in 0..3 {
            let pass = Pass::train(&parameters, Philox::new(0, "t"));
            let mut loss: Option<Tensor> = None;
            for &id in &ids {
                let x = pass.get(id);
                // x stands in both inputs, so that its gradient comes from two places.
                let part = x.multiply(&x)?.mse(&Tensor::zeros(&x.shape(), DType::F32))?;
                loss = Some(loss.map_or(Ok(part.clone()), |sum| sum.add(&part))?);
            }
            let loss = loss.ok_or(Error::Tape("no parameters"))?;
            let outcome = pass.backward(&loss)?;
            norm = outcome.gradients.norm(&parameters)?;
            optimizer.step(&mut parameters, &outcome.gradients, 0.05)?;
        }
        let mut numbers = vec![norm];
        for &id in &ids {
            assert_ne!(before.value(id).to_vec()?, parameters.value(id).to_vec()?);
            numbers.extend(before.value(id).to_vec()?);
            numbers.extend(parameters.value(id).to_vec()?);
        }
        Ok(numbers)
    }

    #[test]
    fn a_simulated_gpu_learns_as_the_cpu() -> Result<()> {
        for rule in [Rule::sgd(0.9, 0.01), Rule::adam(0.01)] {
            let cpu = learn(rule, &Device::Cpu)?;
            let sim = learn(rule, &Device::simulated(crate::Simulation::CHECKED))?;
            assert_eq!(cpu.len(), sim.len());
            for (cpu, sim) in cpu.iter().zip(&sim) {
                assert!((cpu - sim).abs() <= 1e-5 * cpu.abs().max(1.0), "{rule:?}: {cpu} {sim}");
            }
        }
        Ok(())
    }
}
