//! The second stage: a small head on frozen features.

use crate::heads::Prediction;
use crate::metrics::score;
use crate::targets::{Targets, Task};
use engine::optim::{Optimizer, Rule};
use engine::schedule::{Patience, Schedule};
use engine::{DType, Parameters, Pass, Philox, Result, Tensor};
use serde::{Deserialize, Serialize};

/// How the head is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSettings {
    /// Width between the two linear maps; 0 for one linear map (linear evaluation).
    pub hidden: usize,
    /// Dropout before the last linear map.
    pub dropout: f64,
    /// Whether features are brought to mean 0 and deviation 1 over the training part first.
    pub standardise: bool,
    /// Epochs at most.
    pub epochs: u64,
    /// Samples a step.
    pub batch: usize,
    /// Optimiser.
    pub optimizer: Rule,
    /// Its learning rate at first.
    pub learning_rate: f64,
    /// The rate over time.
    pub schedule: Schedule,
    /// Epochs without a better validation score that are endured; without it, all epochs are run and the
    /// last head is taken.
    pub patience: Option<u64>,
}

/// Features of samples with what is true of them.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    /// Rows of `width` features.
    pub features: &'a [f32],
    /// The target of each row.
    pub targets: &'a Targets,
    /// Numbers of a row.
    pub width: usize,
}

impl Examples<'_> {
    fn row(&self, i: usize) -> &[f32] {
        &self.features[i * self.width..][..self.width]
    }

    fn tensor(&self, rows: &[usize], scaling: &Scaling) -> Result<Tensor> {
        let values: Vec<f32> = rows.iter().flat_map(|&i| scaling.apply(self.row(i))).collect();
        Tensor::from_slice(&values, &[rows.len(), self.width])
    }
}

struct Scaling {
    mean: Vec<f32>,
    factor: Vec<f32>,
}

impl Scaling {
    /// The mean and deviation of each feature; features that never change are left at 0.
    fn of(examples: &Examples<'_>, standardise: bool) -> Self {
        let (width, count) = (examples.width, examples.targets.len());
        if !standardise {
            return Scaling { mean: vec![0.0; width], factor: vec![1.0; width] };
        }
        let mut mean = vec![0.0f64; width];
        let mut square = vec![0.0f64; width];
        for row in examples.features.chunks(width) {
            mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v) / count as f64);
        }
        for row in examples.features.chunks(width) {
            for ((s, m), &v) in square.iter_mut().zip(&mean).zip(row) {
                *s += (f64::from(v) - m).powi(2) / count as f64;
            }
        }
        let factor = |&s: &f64| if s > 1e-12 { (1.0 / s.sqrt()) as f32 } else { 0.0 };
        Scaling {
            factor: square.iter().map(factor).collect(),
            mean: mean.iter().map(|&m| m as f32).collect(),
        }
    }

    fn apply<'a>(&'a self, row: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        row.iter().zip(&self.mean).zip(&self.factor).map(|((v, m), f)| (v - m) * f)
    }
}

/// Trains a head on `train` and predicts the targets of `test`; `validation` is for patience alone.
///
/// # Errors
/// When the loss is not finite.
pub fn predict(
    settings: &ProbeSettings,
    task: &Task,
    train: Examples<'_>,
    validation: Option<Examples<'_>>,
    test: Examples<'_>,
    seed: u64,
) -> Result<Targets> {
    let mut parameters = Parameters::new(DType::F32, seed);
    let head = Prediction::new(
        parameters.scope(),
        train.width,
        settings.hidden,
        task.outputs(),
        settings.dropout,
    )?;
    let mut optimizer = Optimizer::new(settings.optimizer, &parameters)?;
    let scaling = Scaling::of(&train, settings.standardise);
    let size = settings.batch.min(train.targets.len()).max(1);
    let steps = train.targets.len().div_ceil(size) as u64 * settings.epochs;
    let mut step = 0;
    let mut best: Option<Parameters> = None;
    let mut patience = settings.patience.map(Patience::new);
    for epoch in 0..settings.epochs {
        let order = Philox::new(seed, "probe").at(epoch).permutation(train.targets.len());
        for rows in order.chunks(size) {
            let pass = Pass::train(&parameters, Philox::new(seed, "probe dropout").at(step));
            let targets = train.targets.pick(rows).tensor()?;
            let logits = head.forward(&pass, &train.tensor(rows, &scaling)?)?;
            let loss = task.loss(&logits, &targets)?;
            let outcome = pass.backward(&loss)?;
            let rate = settings.learning_rate * settings.schedule.factor(epoch, step, steps);
            optimizer.step(&mut parameters, &outcome.gradients, rate)?;
            step += 1;
        }
        if let (Some(patience), Some(validation)) = (&mut patience, validation) {
            let predicted = classify(&head, task, &parameters, &validation, &scaling)?;
            if patience.improved(-score(&predicted, validation.targets)) {
                best = Some(parameters.clone());
            }
            if patience.exhausted() {
                break;
            }
        }
    }
    classify(&head, task, best.as_ref().unwrap_or(&parameters), &test, &scaling)
}

fn classify(
    head: &Prediction,
    task: &Task,
    parameters: &Parameters,
    examples: &Examples<'_>,
    scaling: &Scaling,
) -> Result<Targets> {
    let rows: Vec<usize> = (0..examples.targets.len()).collect();
    if rows.is_empty() {
        return Ok(task.nothing());
    }
    let logits = head.forward(&Pass::evaluate(parameters), &examples.tensor(&rows, scaling)?)?;
    task.decide(&logits)
}
