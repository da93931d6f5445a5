//! Training one system on one trial: epochs, validation, checkpoints, metrics.

use super::batches::Batches;
use super::{Overall, PreparedData, Session, donor};
use crate::config::Pairing;
use crate::failure::{Context, Failure, Kind, Result};
use crate::progress::Task;
use crate::run_folder::{Metrics, Position};
use crate::signals::Reason;
use data::folds::Split;
use data::loader::Item;
use engine::Parameters;
use engine::checkpoint::Checkpoint;
use models::sampler::Sampler;
use models::systems::{Batch, Needs, System};
use models::train::{Course, EpochRecord, StepRecord, Trainer, TrainingSettings, fit, validate};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time between two checkpoints within an epoch.
const INTERVAL: Duration = Duration::from_secs(60);

/// Time between two measurements of retrieval within a batch.
const RETRIEVAL_INTERVAL: Duration = Duration::from_secs(8);

/// The training of one arm's system on one trial.
pub struct Stage<'a> {
    /// The session.
    pub session: &'a Session<'a>,
    /// The trial and the arm, e.g. `seed0-fold1-mpuc`; the name of its checkpoint and of its records in the metrics.
    pub name: String,
    /// The arm.
    pub arm: &'a str,
    /// How it is trained.
    pub settings: &'a TrainingSettings,
    /// The source of its batches.
    pub batches: Batches<'a>,
    /// Training samples.
    pub train: Vec<usize>,
    /// Samples of the validation loss.
    pub validation: Vec<usize>,
    /// What the system needs of batches.
    pub needs: Needs,
    /// How modalities are paired.
    pub pairing: Pairing,
    /// The setting that gives the size of a batch.
    pub batch_key: String,
    /// Seed of dropout.
    pub seed: u64,
    /// The key of everything that training reads, for the checkpoint of its end; `None` where nothing is trained.
    pub key: Option<String>,
    /// The time when this process began it, and the seconds that earlier processes spent on it.
    pub begun: (Instant, f64),
}

/// A trained system's parameters and history.
pub struct Trained {
    /// The parameters to use.
    pub parameters: Parameters,
    /// All epochs.
    pub history: Vec<EpochRecord>,
}

/// The progress of a training run that was stopped before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// The trial and the arm, e.g. `seed0-fold1-mpuc`.
    pub stage: String,
    /// Steps done.
    pub steps: u64,
    /// Steps of the whole training run, if patience does not end it earlier.
    pub of: u64,
}

impl std::fmt::Display for Unfinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} after {} of {} steps", self.stage, self.steps, self.of)
    }
}

/// The figures of a step in `metrics.jsonl`.
#[derive(Serialize)]
struct StepMetrics {
    loss: f64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parts: BTreeMap<String, f64>,
    gradient_norm: f64,
    learning_rate: f64,
}

/// The figures of an epoch in `metrics.jsonl`.
#[derive(Serialize)]
struct EpochMetrics {
    loss: f64,
    gradient_norm: f64,
    parts: BTreeMap<String, f64>,
    validation_loss: Option<f64>,
}

/// The record of networks that were not trained, in `metrics.jsonl`.
#[derive(Serialize)]
struct Taken {
    /// The folder of the run that trained them.
    taken_from: String,
}

/// The path of a stage's checkpoint in its run folder.
pub fn checkpoint_file(stage: &str) -> String {
    format!("checkpoints/{stage}.safetensors")
}

/// The training and validation samples of a system. A system whose loss reads labels gets only labelled ones; another is,
/// with `transductive`, also trained on the held-out ones. A system whose loss reads groups gets the training part alone:
/// the groups of other parts are not among those that it classifies.
pub fn samples_to_learn_from(
    prepared: &PreparedData,
    split: &Split,
    needs: &Needs,
    transductive: bool,
) -> (Vec<usize>, Vec<usize>) {
    if needs.groups {
        return (split.train.clone(), Vec::new());
    }
    if needs.labels {
        return (prepared.labelled(&split.train), prepared.labelled(&split.validation));
    }
    let mut samples = split.train.clone();
    if transductive {
        samples.extend(split.validation.iter().chain(&split.test));
        samples.sort_unstable();
    }
    (samples, split.validation.clone())
}

/// The state of a stage while it runs.
struct Running<'a> {
    stage: &'a Stage<'a>,
    steps_an_epoch: u64,
    metrics: RefCell<Metrics>,
    task: Task,
    saved: Cell<Instant>,
    waited: Cell<Duration>,
    started: Instant,
    /// Steps before this process.
    first: u64,
    /// The last measured R@1 within a batch, and when it was measured.
    retrieval: Cell<Option<(Instant, f64)>>,
}

impl Stage<'_> {
    /// Trains to the end, from the start or from the checkpoint.
    ///
    /// # Errors
    /// When training diverges, data cannot be read, a checkpoint cannot be written, or a stop was requested and everything
    /// is saved.
    pub fn run(&self, system: &dyn System, parameters: Parameters) -> Result<Trained> {
        let saving = self.session.stop.saving();
        let steps_an_epoch = self.steps_an_epoch()?;
        let mut trainer =
            Trainer::new(self.settings, system, parameters, self.seed, steps_an_epoch)?;
        if !self.restore(&mut trainer, "training continues")?
            && let Some(taken) = self.take(system, trainer.parameters(), steps_an_epoch)?
        {
            trainer = taken;
        }
        let running = Running {
            stage: self,
            steps_an_epoch,
            metrics: RefCell::new(self.metrics(&trainer)?),
            task: self.session.progress.task(&self.name, self.settings.epochs * steps_an_epoch),
            saved: Cell::new(Instant::now()),
            waited: Cell::new(Duration::ZERO),
            started: Instant::now(),
            first: trainer.steps(),
            retrieval: Cell::new(None),
        };
        running.task.resume_at(trainer.steps());
        if let Some(overall) = self.session.overall.get() {
            overall.begin(self.arm, trainer.steps());
        }
        if !self.enough(trainer.epoch() * steps_an_epoch) {
            fit(&mut trainer, system, &running)?;
        }
        drop(saving);
        // The last checkpoint is written. A time limit does not stop here: a run of short limits must reach its evaluation.
        let signal = self.session.stop.asked().filter(|reason| *reason != Reason::Deadline);
        if let Some(reason) = signal {
            return Err(reason.saved("the same command continues"));
        }
        if running.waited.get() > Duration::ZERO {
            let share = running.waiting();
            let said = format!("{}: waited for data {share:.1} % of the time", self.name);
            self.session.progress.line(said);
        }
        let blind = trainer.history().last().is_some_and(|epoch| epoch.validation_loss.is_none());
        if blind && self.overfit().is_none() && self.settings.patience.is_some() {
            self.session.progress.warn(format_args!(
                "{}: the validation part has no samples to compare, so patience had no effect: trained for all epochs",
                self.name
            ));
        }
        Ok(Trained { history: trainer.history().to_vec(), parameters: trainer.into_parameters() })
    }

    /// Loads what was trained from the checkpoint; also returns the progress of training, if it was not finished.
    ///
    /// # Errors
    /// When there is no checkpoint, or it is of another configuration.
    pub fn trained(
        &self,
        system: &dyn System,
        parameters: Parameters,
    ) -> Result<(Trained, Option<Unfinished>)> {
        let steps_an_epoch = self.steps_an_epoch()?;
        let mut trainer =
            Trainer::new(self.settings, system, parameters, self.seed, steps_an_epoch)?;
        if !self.restore(&mut trainer, "evaluation continues")? {
            let message = format!("{}: there is no such checkpoint", self.checkpoint().display());
            return Err(Failure::new(Kind::MissingData, message)
                .hint("train first; the same `mpuc train` command continues a run"));
        }
        let unfinished = !trainer.finished() && !self.enough(trainer.steps());
        let unfinished = unfinished.then(|| Unfinished {
            stage: self.name.clone(),
            steps: trainer.steps(),
            of: self.settings.epochs * steps_an_epoch,
        });
        let history = trainer.history().to_vec();
        Ok((Trained { history, parameters: trainer.into_parameters() }, unfinished))
    }

    /// The finished training of a donor that read the same. Its checkpoint becomes that of this run. `None` if there is none.
    fn take(
        &self,
        system: &dyn System,
        initial: &Parameters,
        steps_an_epoch: u64,
    ) -> Result<Option<Trainer>> {
        let Some(key) = &self.key else { return Ok(None) };
        let Some((donor, checkpoint)) = donor::find(self.session, &self.name, key) else {
            return Ok(None);
        };
        let mut trainer =
            Trainer::new(self.settings, system, initial.clone(), self.seed, steps_an_epoch)?;
        if let Err(error) = trainer.restore(&checkpoint) {
            let (name, donor) = (&self.name, donor.display());
            self.session.progress.warn(format_args!("{name}: not taken from {donor}: {error}"));
            return Ok(None);
        }
        let taken_from = donor.display().to_string();
        self.session.progress.line(format_args!("{}: taken from {taken_from}", self.name));
        let mut metrics = self.session.run.metrics(|at| at.stage != self.name)?;
        let at = Position { stage: self.name.clone(), epoch: None, step: None };
        metrics.add(&at, &Taken { taken_from })?;
        metrics.sync()?;
        checkpoint.save(&self.checkpoint())?;
        Ok(Some(trainer))
    }

    /// Restores the last intact checkpoint, if there is one.
    fn restore(&self, trainer: &mut Trainer, continues: &str) -> Result<bool> {
        let path = self.checkpoint();
        if !Checkpoint::exists(&path) {
            return Ok(false);
        }
        let (checkpoint, damage) = Checkpoint::load_or_previous(&path)?;
        trainer.restore(&checkpoint).context(path.display())?;
        if let Some(damage) = damage {
            self.session.progress.warn(format_args!(
                "{damage}; {continues} from the checkpoint before it, at step {}",
                trainer.steps()
            ));
        }
        Ok(true)
    }

    /// Batches of an epoch.
    ///
    /// # Errors
    /// When the training part has too few samples for a batch.
    pub fn steps_an_epoch(&self) -> Result<u64> {
        let steps = self.plan(0).len() as u64;
        if steps == 0 {
            let (count, size) = (self.train.len(), self.settings.batch);
            let largest = self.batches.largest_group(&self.train);
            let sampler = self.session.resolved.config.sampling.sampler;
            if sampler == Sampler::WithinGroup && largest < size {
                let message = format!(
                    "`sampling.sampler` is `within_group`, but the largest group has {largest} training samples and `{}` is {size}",
                    self.batch_key
                );
                return Err(Failure::config(message).hint("use uniform, or smaller batches"));
            }
            let pairs = match self.needs.pairs {
                true => " in which two have the same two modalities",
                false => "",
            };
            let message = format!(
                "`{}` is {size}, but {count} training samples make no batch of {size}{pairs}",
                self.batch_key
            );
            return Err(Failure::config(message).hint("lower it, or use more data"));
        }
        Ok(steps)
    }

    /// The batches of an epoch.
    pub(super) fn plan(&self, epoch: u64) -> Vec<Vec<Item>> {
        let drawn = self.drawn(epoch);
        let mut plan = self.batches.plan(&self.train, self.settings.batch, drawn, &self.needs);
        plan.truncate(self.overfit().unwrap_or(plan.len()));
        plan
    }

    /// The number of batches that every epoch repeats, if it is limited.
    fn overfit(&self) -> Option<usize> {
        self.session.resolved.config.overfit_batches
    }

    /// The epoch whose batches, windows and noise an epoch has.
    fn drawn(&self, epoch: u64) -> u64 {
        if self.overfit().is_some() { 0 } else { epoch }
    }

    /// Whether this is at least the maximum of steps in the configuration.
    fn enough(&self, steps: u64) -> bool {
        self.session.resolved.config.steps.is_some_and(|most| steps >= most)
    }

    /// Validation batches of the training size. A smaller rest is left out, because its loss is not comparable.
    fn validation_batches(&self) -> Result<Box<dyn Iterator<Item = Result<Batch>> + '_>> {
        let size = self.settings.batch.min(self.validation.len());
        let samples = &self.validation[..self.validation.len() / size * size];
        self.batches.validation(samples, size, &self.needs)
    }

    fn seconds(&self) -> f64 {
        self.begun.1 + self.begun.0.elapsed().as_secs_f64()
    }

    fn checkpoint(&self) -> PathBuf {
        self.session.run.file(checkpoint_file(&self.name))
    }

    fn save(&self, trainer: &Trainer, metrics: &Metrics) -> Result<()> {
        metrics.sync()?;
        let mut checkpoint = trainer.save()?;
        let ended = trainer.step_in_epoch() == 0 && self.enough(trainer.steps());
        if let Some(key) = self.key.as_ref().filter(|_| trainer.finished() || ended) {
            donor::write_key(&mut checkpoint, key)?;
        }
        checkpoint.save_keeping_previous(&self.checkpoint())?;
        self.session.run.tell(|status| {
            status.stage = Some(self.name.clone());
            status.epoch = trainer.epoch();
            status.step = trainer.steps();
            status.loss = trainer.history().last().map(|epoch| epoch.loss);
            status.stages.insert(self.name.clone(), self.seconds());
            let overall = self.session.overall.get().and_then(Overall::last);
            status.share = overall.map(|overall| overall.share);
            status.seconds_left = overall.map(|overall| overall.left);
        })
    }

    /// The metrics without the records that this stage wrote after its checkpoint.
    fn metrics(&self, trainer: &Trainer) -> Result<Metrics> {
        let (epoch, step) = (trainer.epoch(), trainer.steps());
        self.session.run.metrics(|at| {
            at.stage != self.name
                || at.epoch < Some(epoch)
                || (at.epoch == Some(epoch) && at.step.is_some_and(|s| s < step))
        })
    }
}

impl Running<'_> {
    /// Writes a step's record, if there is one.
    fn note(&self, record: Option<StepRecord>) -> Result<()> {
        let Some(StepRecord { epoch, step, loss, parts, gradient_norm, learning_rate }) = record
        else {
            return Ok(());
        };
        let stage = self.stage.name.clone();
        let at = Position { stage, epoch: Some(epoch), step: Some(step) };
        self.task.tick(step + 1, self.step_line(step + 1, loss, &parts));
        let figures = StepMetrics { loss, parts, gradient_norm, learning_rate };
        self.metrics.borrow_mut().add(&at, &figures)
    }

    /// `loss 2.911 (voice to faces 2.873, ...), batch R@1 .31, 41 samples/s, waiting 2 %, run: 3 of 9, 12 %, 1 h left`.
    fn step_line(&self, steps: u64, loss: f64, parts: &BTreeMap<String, f64>) -> String {
        let mut line = format!("loss {loss:.3}");
        if !parts.is_empty() {
            let parts: Vec<String> =
                parts.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
            line += &format!(" ({})", parts.join(", "));
        }
        if let Some((_, found)) = self.retrieval.get() {
            line += &format!(", batch R@1 {found:.2}");
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let samples = (steps.saturating_sub(self.first) * self.stage.settings.batch as u64) as f64;
        line += &format!(", {:.0} samples/s, waiting {:.0} %", samples / seconds, self.waiting());
        let overall = self.stage.session.overall.get();
        if let Some(overall) = overall.and_then(|overall| overall.tick(steps, seconds)) {
            line += &format!(", {overall}");
        }
        line
    }

    /// The percentage of the time that training waited for data.
    fn waiting(&self) -> f64 {
        100.0 * self.waited.get().as_secs_f64() / self.started.elapsed().as_secs_f64()
    }

    /// Measures R@1 within the last batch, for the step lines alone: a run that continues at the end of an epoch has no
    /// batch, so that metrics would depend on when it was stopped.
    fn measure_retrieval(&self, trainer: &Trainer) -> Result<()> {
        let found = trainer.retrieval()?;
        self.retrieval.set(found.map(|found| (Instant::now(), found)));
        Ok(())
    }
}

impl Course for Running<'_> {
    type Error = Failure;

    fn batches(&self, epoch: u64, done: usize) -> Result<impl Iterator<Item = Result<Batch>>> {
        let Stage { batches, needs, pairing, .. } = self.stage;
        let plan = self.stage.plan(epoch);
        let drawn = self.stage.drawn(epoch);
        let mut batches = batches.training(&plan, done, drawn, needs, *pairing)?;
        self.saved.set(Instant::now());
        Ok(std::iter::from_fn(move || {
            let asked = Instant::now();
            let batch = batches.next();
            if batch.is_some() {
                self.waited.set(self.waited.get() + asked.elapsed());
            }
            batch
        }))
    }

    fn validation(&self, system: &dyn System, parameters: &Parameters) -> Result<Option<f64>> {
        if self.stage.validation.is_empty() || self.stage.overfit().is_some() {
            return Ok(None);
        }
        validate(system, parameters, self.stage.validation_batches()?)
    }

    fn stepped(
        &self,
        trainer: &mut Trainer,
        record: Option<StepRecord>,
    ) -> Result<ControlFlow<()>> {
        // A line is printed every 10 s; a new figure for each is enough.
        let old = self.retrieval.get().is_none_or(|(at, _)| at.elapsed() > RETRIEVAL_INTERVAL);
        if old {
            self.measure_retrieval(trainer)?;
        }
        self.note(record)?;
        let stopped = self.stage.session.stop.asked();
        if stopped.is_some() || self.saved.get().elapsed() > INTERVAL {
            self.note(trainer.settle()?)?;
            self.stage.save(trainer, &self.metrics.borrow())?;
            self.saved.set(Instant::now());
        }
        if let Some(reason) = stopped {
            return Err(reason.saved("the same command goes on"));
        }
        match self.stage.enough(trainer.steps()) {
            true => Ok(ControlFlow::Break(())),
            false => Ok(ControlFlow::Continue(())),
        }
    }

    fn settled(&self, record: Option<StepRecord>) -> Result<()> {
        self.note(record)
    }

    fn ended(&self, trainer: &Trainer, record: &EpochRecord) -> Result<ControlFlow<()>> {
        let EpochRecord { epoch, loss, gradient_norm, parts, validation_loss } = record.clone();
        let at = Position { stage: self.stage.name.clone(), epoch: Some(epoch), step: None };
        let figures = EpochMetrics { loss, gradient_norm, parts, validation_loss };
        self.metrics.borrow_mut().add(&at, &figures)?;
        self.stage.save(trainer, &self.metrics.borrow())?;
        match self.stage.enough(trainer.epoch() * self.steps_an_epoch) {
            true => Ok(ControlFlow::Break(())),
            false => Ok(ControlFlow::Continue(())),
        }
    }
}
