//! Training one system on one fold: epochs, validation, checkpoints, metrics.

use super::Session;
use super::batches::{Batches, Partners};
use crate::failure::{Context, Result};
use crate::run_folder::{Metrics, Position};
use data::folds::Split;
use data::loader::Item;
use engine::Parameters;
use engine::checkpoint::Checkpoint;
use models::systems::{Batch, System};
use models::training::{EpochRecord, StepRecord, Trainer, TrainingSettings, validate};
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Between two checkpoints within an epoch.
const INTERVAL: Duration = Duration::from_secs(60);

/// What is trained, on what, and how.
pub struct Stage<'a> {
    /// The session.
    pub session: &'a Session<'a>,
    /// The unit's name, e.g. `seed0-fold1-mpuc`: of its checkpoint and in the metrics.
    pub name: String,
    /// How it is trained.
    pub settings: &'a TrainingSettings,
    /// Where its batches come from.
    pub batches: &'a Batches<'a>,
    /// Samples to learn from.
    pub train: &'a [usize],
    /// Samples to stop by.
    pub validation: &'a [usize],
    /// Whether the loss is between modalities: batches must have pairs then.
    pub pairs: bool,
    /// Whether partners are shuffled.
    pub partners: Partners,
    /// Windows of each sample.
    pub views: usize,
    /// Seed of dropout.
    pub seed: u64,
}

/// A trained system's parameters and how they came about.
pub struct Trained {
    /// The parameters to go on with.
    pub parameters: Parameters,
    /// All epochs.
    pub history: Vec<EpochRecord>,
}

/// What `metrics.jsonl` holds of a step, beside its position.
#[derive(Serialize)]
struct StepMetrics {
    loss: f64,
    gradient_norm: f64,
    learning_rate: f64,
}

/// What it holds of an epoch.
#[derive(Serialize)]
struct EpochMetrics {
    loss: f64,
    gradient_norm: f64,
    pairs: Vec<f64>,
    validation_loss: Option<f64>,
}

/// The samples a contrastive stage learns from.
pub fn contrastive_samples(split: &Split, transductive: bool) -> Vec<usize> {
    let mut samples = split.train.clone();
    if transductive {
        samples.extend(split.validation.iter().chain(&split.test));
        samples.sort_unstable();
    }
    samples
}

impl Stage<'_> {
    /// Trains to the end, from the start or from where a checkpoint stands.
    ///
    /// # Errors
    /// When training diverges, data cannot be read or a checkpoint cannot be written; a stop that was asked
    /// for, once everything is saved.
    pub fn run(&self, system: &impl System, parameters: Parameters) -> Result<Trained> {
        let plan = self.plan(0);
        if plan.is_empty() {
            let message = format!(
                "{} training samples make no batch of {} in which two have the same two modalities",
                self.train.len(),
                self.settings.batch
            );
            return Err(crate::failure::Failure::config(message)
                .hint("lower training.batch or use more data"));
        }
        let mut trainer = Trainer::new(self.settings, parameters, self.seed, plan.len() as u64)?;
        let path = self.checkpoint();
        if path.exists() || engine::checkpoint::previous(&path).exists() {
            let (checkpoint, from) = Checkpoint::load_or_previous(&path)?;
            trainer.restore(&checkpoint).context(from.display())?;
            if from != path {
                self.session.progress.warn(format_args!(
                    "{}: damaged; going on from the one before",
                    path.display()
                ));
            }
        }
        let mut metrics = self.metrics(&trainer)?;
        let task = self.session.progress.task(&self.name, self.settings.epochs * plan.len() as u64);
        let (started, mut waited) = (Instant::now(), Duration::ZERO);
        while !trainer.finished() && !self.enough(trainer.epoch() * plan.len() as u64) {
            waited += self.epoch(system, &mut trainer, &mut metrics, &task)?;
        }
        if waited > Duration::ZERO {
            let share = 100.0 * waited.as_secs_f64() / started.elapsed().as_secs_f64();
            let said = format!("{}: waited for data {share:.1} % of the time", self.name);
            self.session.progress.line(said);
        }
        let blind = trainer.history().last().is_some_and(|epoch| epoch.validation_loss.is_none());
        if blind && self.settings.patience.is_some() {
            self.session.progress.warn(format_args!(
                "{}: no held-out samples with partners to stop by: trained for all epochs",
                self.name
            ));
        }
        Ok(Trained { history: trainer.history().to_vec(), parameters: trainer.into_parameters() })
    }

    fn plan(&self, epoch: u64) -> Vec<Vec<Item>> {
        self.batches.plan(self.train, self.settings.batch, epoch, self.views, self.pairs)
    }

    /// One epoch; returns how long it waited for batches.
    fn epoch(
        &self,
        system: &impl System,
        trainer: &mut Trainer,
        metrics: &mut Metrics,
        task: &crate::progress::Task,
    ) -> Result<Duration> {
        let epoch = trainer.epoch();
        let plan = self.plan(epoch);
        let done = trainer.step_in_epoch();
        let mut saved = Instant::now();
        let mut batches = self.batches.training(&plan, done, epoch, self.views, self.partners)?;
        let mut waited = Duration::ZERO;
        loop {
            let asked = Instant::now();
            let Some(batch) = batches.next() else { break };
            waited += asked.elapsed();
            let record = trainer.step(system, &batch?)?;
            let at =
                Position { unit: self.name.clone(), epoch: Some(epoch), step: Some(record.step) };
            let StepRecord { loss, gradient_norm, learning_rate, .. } = record;
            metrics.add(&at, &StepMetrics { loss, gradient_norm, learning_rate })?;
            task.tick(record.step + 1, format_args!("loss {:.3}", record.loss));
            if let Some(reason) = self.session.stop.asked() {
                self.save(trainer, metrics)?;
                return Err(reason.saved("the same command goes on"));
            }
            if self.enough(record.step + 1) {
                break;
            }
            if saved.elapsed() > INTERVAL {
                self.save(trainer, metrics)?;
                saved = Instant::now();
            }
        }
        let validation = if self.validation.is_empty() {
            None
        } else {
            validate(system, trainer.parameters(), self.validation_batches()?)?
        };
        let record = trainer.end_epoch(validation);
        let EpochRecord { loss, gradient_norm, pairs, validation_loss, .. } = record;
        let at = Position { unit: self.name.clone(), epoch: Some(epoch), step: None };
        metrics.add(&at, &EpochMetrics { loss, gradient_norm, pairs, validation_loss })?;
        self.save(trainer, metrics)?;
        Ok(waited)
    }

    /// Whether so many steps are all that the configuration allows.
    fn enough(&self, steps: u64) -> bool {
        self.session.resolved.config.steps.is_some_and(|most| steps >= most)
    }

    /// Validation batches of the training size; what is left over is too small to compare with.
    fn validation_batches(&self) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let size = self.settings.batch.min(self.validation.len());
        let samples = &self.validation[..self.validation.len() / size * size];
        self.batches.validation(samples, size, self.views, self.pairs)
    }

    fn checkpoint(&self) -> PathBuf {
        self.session.run.file(format!("checkpoints/{}.safetensors", self.name))
    }

    fn save(&self, trainer: &Trainer, metrics: &Metrics) -> Result<()> {
        metrics.sync()?;
        trainer.save()?.save_keeping_previous(&self.checkpoint())?;
        self.session.run.tell(|status| {
            status.stage = Some(self.name.clone());
            status.epoch = trainer.epoch();
            status.step = trainer.steps();
            status.loss = trainer.history().last().map(|epoch| epoch.loss);
        })
    }

    /// The metrics without what this unit wrote after its checkpoint.
    fn metrics(&self, trainer: &Trainer) -> Result<Metrics> {
        let (epoch, step) = (trainer.epoch(), trainer.steps());
        self.session.run.metrics(|at| {
            at.unit != self.name
                || at.epoch < Some(epoch)
                || (at.epoch == Some(epoch) && at.step.is_some_and(|s| s < step))
        })
    }
}
