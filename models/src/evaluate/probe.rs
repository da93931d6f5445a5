//! The probe: a small head trained on frozen features.

use super::Rows;
use super::metrics::score;
use crate::heads::Prediction;
use crate::systems::{Batch, Loss, Outputs, Refusal, System};
use crate::targets::{Targets, Task};
use crate::train::{Course, EpochRecord, StepRecord, Trainer, TrainingSettings, fit};
use engine::optim::Rule;
use engine::schedule::Schedule;
use engine::{DType, Error, Parameters, Pass, Philox, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// The settings of a probe; the defaults are the paper's prediction layer (Franceschini et al., section III-C).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeSettings {
    /// Features between the two linear layers; 0 for one linear layer (linear evaluation).
    pub hidden: usize,
    /// Dropout probability before the last linear layer.
    pub dropout: f64,
    /// Whether to standardise features to mean 0 and standard deviation 1 over the training samples.
    pub standardise: bool,
    /// The most epochs.
    pub epochs: u64,
    /// Samples of a batch.
    pub batch: usize,
    /// The optimiser.
    pub optimizer: Rule,
    /// The base learning rate.
    pub learning_rate: f64,
    /// The learning rate schedule.
    pub schedule: Schedule,
    /// Early stopping: epochs without a better validation score before training stops; the result is the best head.
    /// `None` trains all epochs; the result is the last head.
    pub patience: Option<u64>,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        let TrainingSettings { epochs, batch, optimizer, learning_rate, schedule, patience } =
            TrainingSettings::default();
        let (hidden, dropout, standardise) = (512, 0.0, false);
        ProbeSettings {
            hidden,
            dropout,
            standardise,
            epochs,
            batch,
            optimizer,
            learning_rate,
            schedule,
            patience,
        }
    }
}

impl ProbeSettings {
    /// Validates the settings.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn check(&self) -> std::result::Result<(), Refusal> {
        if self.batch == 0 {
            return Err(Refusal::new("batch", "is 0; it must be at least 1"));
        }
        Refusal::positive("learning_rate", self.learning_rate)?;
        Refusal::dropout("dropout", self.dropout)
    }

    fn training(&self, batch: usize) -> TrainingSettings {
        TrainingSettings {
            epochs: self.epochs,
            batch,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            patience: self.patience,
        }
    }
}

/// Modality dropout of a probe's training: for a random share of the samples of each epoch, the features of one modality
/// are replaced by the means that the probe's scaling subtracts (without scaling, by zeros).
#[derive(Debug, Clone, Copy)]
pub struct Dropped<'a> {
    /// The number of features of each modality, in their order; at least two.
    pub widths: &'a [usize],
    /// The share of samples, from 0 to 1.
    pub share: f64,
}

/// Features and targets of samples.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    /// One row for each sample.
    pub features: &'a Rows,
    /// The target of each row.
    pub targets: &'a Targets,
}

/// A trained head with the standardisation of its features.
#[derive(Debug, Clone)]
pub struct Probe {
    head: Head,
    parameters: Parameters,
    scaling: Scaling,
}

/// The standardisation of each feature: (x - mean) * factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// The mean of each feature.
    pub mean: Vec<f32>,
    /// The reciprocal standard deviation of each feature; 0 for a constant feature.
    pub factor: Vec<f32>,
}

impl Scaling {
    /// Fits mean and standard deviation of each feature; without `standardise`, features stay unchanged.
    fn fit(examples: &Examples<'_>, standardise: bool) -> Self {
        let (width, count) = (examples.features.width, examples.targets.len());
        if !standardise {
            return Scaling { mean: vec![0.0; width], factor: vec![1.0; width] };
        }
        let mut mean = vec![0.0f64; width];
        let mut square = vec![0.0f64; width];
        for row in examples.features.values.chunks(width) {
            mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v) / count as f64);
        }
        for row in examples.features.values.chunks(width) {
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

    /// The standardised features of these rows.
    fn values(&self, features: &Rows, rows: &[usize]) -> Vec<f32> {
        let scaled = |i: &usize| {
            let row = features.row(*i).iter().zip(&self.mean).zip(&self.factor);
            row.map(|((v, m), f)| (v - m) * f)
        };
        rows.iter().flat_map(scaled).collect()
    }

    /// Standardised features as a tensor `[rows, width]`.
    fn tensor_of(&self, values: &[f32], rows: usize) -> Result<Tensor> {
        Tensor::from_slice(values, &[rows, self.mean.len()])
    }
}

/// The head as a system whose one input is the features.
#[derive(Debug, Clone)]
struct Head {
    prediction: Prediction,
    task: Task,
}

impl System for Head {
    fn outputs(&self, pass: &Pass<'_>, batch: &Batch) -> Result<Outputs> {
        let logits = self.prediction.forward(pass, &batch.modalities[0].data)?;
        Ok(Outputs { logits: Some(logits), ..Outputs::default() })
    }

    fn loss(&self, pass: &Pass<'_>, batch: &Batch, _phase: usize) -> Result<Loss> {
        self.task.loss_of("probe", &self.outputs(pass, batch)?, batch)
    }
}

/// The epochs of a probe: shuffled rows, and the validation score for early stopping.
struct Epochs<'a> {
    examples: Examples<'a>,
    validation: Option<Examples<'a>>,
    scaling: &'a Scaling,
    dropped: Option<Dropped<'a>>,
    task: &'a Task,
    size: usize,
    seed: u64,
    patient: bool,
}

impl Course for Epochs<'_> {
    type Error = Error;

    fn batches(&self, epoch: u64, done: usize) -> Result<impl Iterator<Item = Result<Batch>>> {
        let count = self.examples.targets.len();
        let order = Philox::new(self.seed, "probe").at(epoch).permutation(count);
        let batches: Vec<Vec<usize>> = order.chunks(self.size).map(<[usize]>::to_vec).collect();
        Ok(batches.into_iter().skip(done).map(move |rows| {
            let mut features = self.scaling.values(self.examples.features, &rows);
            if let Some(dropped) = self.dropped {
                let random = Philox::new(self.seed, "modality dropout").at(epoch);
                dropped.apply(&mut features, &rows, random);
            }
            let features = self.scaling.tensor_of(&features, rows.len())?;
            Ok(Batch::labelled(vec![features], self.examples.targets.pick(&rows).tensor()?))
        }))
    }

    fn validation(&self, system: &dyn System, parameters: &Parameters) -> Result<Option<f64>> {
        let Some(validation) = self.validation.filter(|_| self.patient) else { return Ok(None) };
        let logits = logits(system, parameters, self.scaling, validation.features)?;
        Ok(Some(-score(&self.task.decide(&logits)?, validation.targets)))
    }

    fn stepped(&self, _: &mut Trainer, _: Option<StepRecord>) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    fn settled(&self, _: Option<StepRecord>) -> Result<()> {
        Ok(())
    }

    fn ended(&self, _: &Trainer, _: &EpochRecord) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// The logits `[rows, outputs]` of all rows, in one pass.
fn logits(
    system: &dyn System,
    parameters: &Parameters,
    scaling: &Scaling,
    features: &Rows,
) -> Result<Tensor> {
    let rows: Vec<usize> = (0..features.len()).collect();
    let values = scaling.values(features, &rows);
    let batch = Batch::new(vec![scaling.tensor_of(&values, rows.len())?]);
    let outputs = system.outputs(&Pass::evaluate(parameters), &batch)?;
    outputs.logits.ok_or(Error::Tape("a probe has logits"))
}

impl Dropped<'_> {
    /// Drops modalities from standardised features of the samples `rows`.
    fn apply(&self, features: &mut [f32], rows: &[usize], random: Philox) {
        let width: usize = self.widths.iter().sum();
        for (row, &sample) in features.chunks_mut(width).zip(rows) {
            let random = random.at(sample as u64);
            if random.uniform(0) >= self.share {
                continue;
            }
            let count = self.widths.len();
            let modality = ((random.uniform(1) * count as f64) as usize).min(count - 1);
            let start: usize = self.widths[..modality].iter().sum();
            row[start..start + self.widths[modality]].fill(0.0);
        }
    }
}

impl Probe {
    /// Trains a head on `train`; `validation` is for early stopping only.
    ///
    /// # Errors
    /// When the loss is not finite.
    pub fn train(
        settings: &ProbeSettings,
        task: &Task,
        train: Examples<'_>,
        validation: Option<Examples<'_>>,
        seed: u64,
    ) -> Result<Self> {
        Probe::train_dropping(settings, task, train, validation, seed, None)
    }

    /// As [`train`](Self::train), with modality dropout.
    ///
    /// # Errors
    /// When the loss is not finite.
    pub fn train_dropping(
        settings: &ProbeSettings,
        task: &Task,
        train: Examples<'_>,
        validation: Option<Examples<'_>>,
        seed: u64,
        dropped: Option<Dropped<'_>>,
    ) -> Result<Self> {
        let mut parameters = Parameters::new(DType::F32, seed);
        let head = Head::new(settings, task, train.features.width, &mut parameters)?;
        let scaling = Scaling::fit(&train, settings.standardise);
        let size = settings.batch.min(train.targets.len()).max(1);
        let epochs = Epochs {
            examples: train,
            validation,
            scaling: &scaling,
            dropped,
            task,
            size,
            seed,
            patient: settings.patience.is_some(),
        };
        let steps = train.targets.len().div_ceil(size) as u64;
        let trainer = Trainer::new(&settings.training(size), &head, parameters, seed, steps)?;
        let mut trainer = trainer.stream("probe dropout");
        fit(&mut trainer, &head, &epochs)?;
        let parameters = trainer.into_parameters();
        Ok(Probe { head, parameters, scaling })
    }

    /// A probe with untrained parameters, to load a saved one: set them with [`parameters_mut`](Self::parameters_mut).
    ///
    /// # Errors
    /// When the head cannot be made with these settings.
    pub fn empty(settings: &ProbeSettings, task: &Task, scaling: Scaling) -> Result<Self> {
        let mut parameters = Parameters::new(DType::F32, 0);
        let head = Head::new(settings, task, scaling.mean.len(), &mut parameters)?;
        Ok(Probe { head, parameters, scaling })
    }

    /// The parameters of the head.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The parameters of the head, mutable.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// The standardisation of the features.
    pub fn scaling(&self) -> &Scaling {
        &self.scaling
    }

    /// The logits of features, one row for each sample.
    ///
    /// # Errors
    /// When the features do not have the width of those in training.
    pub fn logits(&self, features: &Rows) -> Result<Rows> {
        if features.is_empty() {
            return Ok(Rows { values: Vec::new(), width: self.head.task.outputs() });
        }
        let logits = logits(&self.head, &self.parameters, &self.scaling, features)?;
        Ok(Rows { width: logits.shape().features(), values: logits.as_slice::<f32>()?.to_vec() })
    }

    /// The predicted targets of features, one row for each sample.
    ///
    /// # Errors
    /// When the features do not have the width of those in training.
    pub fn predict(&self, features: &Rows) -> Result<Targets> {
        Ok(self.head.task.decide_rows(&self.logits(features)?))
    }
}

impl Head {
    /// Makes `0.*` and `2.*`.
    fn new(
        settings: &ProbeSettings,
        task: &Task,
        width: usize,
        parameters: &mut Parameters,
    ) -> Result<Self> {
        let ProbeSettings { hidden, dropout, .. } = *settings;
        let scope = parameters.scope();
        let prediction = Prediction::new(scope, width, hidden, task.outputs(), dropout)?;
        Ok(Head { prediction, task: task.clone() })
    }
}
