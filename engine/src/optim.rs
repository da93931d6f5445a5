//! Optimisers: SGD with momentum (PyTorch's rule) and Adam.
//!
//! A step on a GPU waits for nothing. Loss and norm stay there until its [`Reading`] is waited for, best after the next
//! step was started; whether they are finite is found out on the GPU too, before anything is changed.

mod reading;

pub use reading::{Figures, Reading};

use crate::device::gpu_error;
use crate::dtype::with_float;
use crate::{
    DType, Device, Error, Outcome, ParameterGradients, ParameterId, Parameters, Result, Tensor,
};
use kernels::Float;
use kernels::cpu::{parallel, simd};
use kernels::gpu::{self, Pointer, Table, Verdict};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    /// The parameters' names, for messages that come late.
    names: Arc<[String]>,
    steps: u64,
    gpu: OnGpu,
}

/// What a step on a GPU uses again.
#[derive(Debug, Default)]
struct OnGpu {
    parameters: Table<gpu::Parameter>,
    statistics: Table<gpu::Statistic>,
    /// See [`Verdict`].
    latch: Option<Arc<gpu::Block>>,
}

impl Clone for OnGpu {
    /// Nothing: another optimiser works on other addresses, and behind a latch of its own.
    fn clone(&self) -> Self {
        OnGpu::default()
    }
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
        let names = memory.iter().map(|(id, _)| parameters.name(*id).to_owned()).collect();
        Ok(Optimizer { rule, memory, names, steps: 0, gpu: OnGpu::default() })
    }

    /// Updates of the parameters so far, on a GPU those of which no reading was waited for included.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Learns from a pass: moves the running statistics to the batch's, and changes each trainable parameter by its
    /// gradient. Where the loss or a gradient is not finite, nothing is changed.
    ///
    /// On the CPU everything is done when this returns. On a GPU it is launched, and the [`Reading`] tells how it went:
    /// until that is waited for, a loss or gradient that is not finite stops the updates after it too.
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
            return self.step_on_gpu(&gpu, parameters, outcome, rate);
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

    /// The Euclidean norm of all gradients together, summed in the order of the parameters.
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

    /// Changes each trainable parameter by its gradient, whatever that is: the part of [`step`](Self::step) that follows
    /// its checks.
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

    /// [`step`](Self::step), launched: the verdict on the loss and the gradients, then the updates, which obey it.
    fn step_on_gpu(
        &mut self,
        gpu: &gpu::Device,
        parameters: &mut Parameters,
        outcome: Outcome,
        rate: f64,
    ) -> Result<Reading> {
        let Outcome { loss, gradients, statistics, watched } = outcome;
        let device = Device::Gpu(gpu.clone());
        let (loss, watched) = (loss.on(&device)?, on_device(watched, &device)?);
        self.tabulate(gpu, parameters, &gradients)?;
        let latch = self.latch(gpu)?;
        let (shut, update) = (latch.pointer(), self.steps + 1);
        let lengths: Vec<usize> = watched.iter().map(Tensor::count).collect();
        let bytes = size_of::<Verdict>() + 4 * lengths.iter().sum::<usize>();
        let verdict = gpu.allocate(bytes).map_err(gpu_error)?;
        gpu.judge(&self.gpu.parameters, loss.pointer(), shut, update, verdict.pointer())
            .map_err(gpu_error)?;
        statistics.apply_on_gpu(gpu, parameters, &mut self.gpu.statistics, shut)?;
        self.update_on_gpu(gpu, rate, shut)?;
        let mut to = verdict.pointer().offset(size_of::<Verdict>());
        for tensor in &watched {
            let bytes = 4 * tensor.count();
            gpu.driver().copy(to.0, tensor.pointer().0, bytes).map_err(gpu_error)?;
            to = to.offset(bytes);
        }
        let reading = gpu.read(verdict.pointer(), bytes).map_err(gpu_error)?;
        Ok(Reading::late(reading, update, Arc::clone(&self.names), lengths, latch))
    }

    /// Where the first loss or gradient that is not finite leaves its mark.
    fn latch(&mut self, gpu: &gpu::Device) -> Result<Arc<gpu::Block>> {
        match &self.gpu.latch {
            Some(latch) if latch.device().is(gpu) => Ok(Arc::clone(latch)),
            _ => {
                let latch = Arc::new(gpu.allocate(Verdict::LATCH).map_err(gpu_error)?);
                reading::open(&latch)?;
                Ok(Arc::clone(self.gpu.latch.insert(latch)))
            }
        }
    }

    /// Brings the table of parameters, gradients and what is remembered up to date.
    fn tabulate(
        &mut self,
        gpu: &gpu::Device,
        parameters: &mut Parameters,
        gradients: &ParameterGradients,
    ) -> Result<()> {
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
        self.gpu.parameters.replace(gpu, table).map_err(gpu_error)
    }

    /// Launches the update of all parameters of the table, unless the latch is shut.
    fn update_on_gpu(&mut self, gpu: &gpu::Device, rate: f64, latch: Pointer) -> Result<()> {
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

/// A parameter's gradient, which must be there.
fn gradient<'a>(
    parameters: &Parameters,
    gradients: &'a ParameterGradients,
    id: ParameterId,
) -> Result<&'a Tensor> {
    gradients.get(id).ok_or_else(|| Error::NoGradient { names: vec![parameters.name(id).into()] })
}

/// Tensors brought to a device.
fn on_device(tensors: Vec<Tensor>, device: &Device) -> Result<Vec<Tensor>> {
    tensors.iter().map(|tensor| tensor.on(device)).collect()
}

/// Learns from one pass with several optimisers, each of parameters of its own: as [`Optimizer::step`] of one.
///
/// With more than one, a GPU is waited for: the figures are known when this returns.
///
/// # Errors
/// When a gradient is missing, or the loss or a gradient is not finite: then nothing is changed.
pub fn step_together(
    optimizers: &mut [&mut Optimizer],
    parameters: &mut Parameters,
    outcome: Outcome,
    rate: f64,
) -> Result<Reading> {
    if let [one] = optimizers {
        return one.step(parameters, outcome, rate);
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
        // As many buffers as the rule has slots are made with the optimiser.
        _ => unreachable!("an optimiser remembers what its rule needs"),
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
    with_float!(tensor.dtype(), T => Ok(sum(tensor.cast::<T>())), Err(Error::DType {
        what: "a gradient's norm".into(),
        got: tensor.dtype(),
        expected: DType::F32
    }))
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
                optimizer.step(&mut parameters, outcome, rate)?;
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
            norm = optimizer.step(&mut parameters, outcome, 0.05)?.wait()?.gradient_norm;
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

    /// Steps on a weight whose loss is multiplied by `scales`, on a simulated GPU, each reading waited for after the
    /// next step: the weight after each reading, and what the readings said.
    #[allow(clippy::type_complexity, reason = "a test's own")]
    fn read_late(scales: &[f32]) -> Result<(Vec<Vec<f64>>, Vec<Result<Figures>>)> {
        let device = Device::simulated(crate::Simulation::CHECKED);
        let mut parameters = Parameters::new(DType::F32, 0);
        let id = parameters.scope().parameter("w", &[3], Init::Constant(0.1))?;
        let other = parameters.scope().parameter("v", &[2], Init::Constant(1.0))?;
        let statistic = parameters.scope().statistic("mean", &[3], &[3], 0.0)?;
        parameters.move_to(&device)?;
        let mut optimizer = Optimizer::new(Rule::sgd(0.9, 0.0), &parameters)?;
        let (mut pending, mut values, mut said) = (None, Vec::new(), Vec::new());
        for step in 0..=scales.len() {
            let next = scales.get(step).map(|&scale| {
                let pass = Pass::train(&parameters, Philox::new(0, "t"));
                let scale = Tensor::from_slice(&[scale; 3], &[3])?;
                let x = pass.get(id).multiply(&scale)?;
                pass.note_statistic(statistic, x.detached(), 0.5, 0.5);
                let zeros = |n: usize| Tensor::zeros(&[n], DType::F32);
                let loss = x.mse(&zeros(3))?.add(&pass.get(other).mse(&zeros(2))?)?;
                let outcome = pass.backward(&loss)?.watching(&x);
                optimizer.step(&mut parameters, outcome, 0.01)
            });
            if let Some(reading) = std::mem::replace(&mut pending, next.transpose()?) {
                said.push(reading.wait());
            }
            let all = [id, other, statistic].map(|id| parameters.value(id).to_vec());
            values.push(all.into_iter().collect::<Result<Vec<_>>>()?.concat());
        }
        Ok((values, said))
    }

    #[test]
    fn what_is_not_finite_changes_nothing_and_is_named_late() -> Result<()> {
        // With w at 0.1, a scale of 1e20 gives a loss of 1e38 and a gradient of 7e38, which is beyond f32.
        for (scale, culprit) in [(1e21, "the loss"), (f32::NAN, "the loss"), (1e20, "of w")] {
            let (values, said) = read_late(&[1.0, scale, 1.0, 1.0])?;
            assert!(values[0][0] < 0.1 && values[0][3] < 1.0 && values[0][5] > 0.0, "{values:?}");
            // The second update is bad and the third was launched before that was known: neither changes anything.
            assert_eq!((&values[1], &values[2]), (&values[0], &values[0]), "{scale}");
            assert_ne!(values[3], values[2], "once it was said, learning goes on");
            assert!(
                said[0].as_ref().is_ok_and(|figures| figures.watched == [[f64::from(0.1f32); 3]])
            );
            assert!(said[3].is_ok());
            for late in &said[1..3] {
                let Err(error) = late else { panic!("{scale}: {late:?}") };
                let message = error.to_string();
                assert!(message.contains(culprit) && message.contains("update 2"), "{message}");
            }
        }
        Ok(())
    }
}
