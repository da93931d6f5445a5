//! Steps and epochs of a training run, and the state from which the run resumes.

use crate::evaluate::metrics;
use crate::systems::{Batch, Loss, Phase, Plateau, Refusal, System};
use engine::checkpoint::Checkpoint;
use engine::optim::{Figures, Optimizer, Reading, Rule, step_together};
use engine::profile::{self, Part};
use engine::schedule::{Patience, Schedule};
use engine::{Error, ParameterId, Parameters, Pass, Philox, Result, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The settings of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSettings {
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
    /// Early stopping: epochs without improvement before training stops; the result is the best parameters. `None`
    /// trains all epochs; the result is the last parameters.
    pub patience: Option<u64>,
}

impl Default for TrainingSettings {
    /// The paper's optimiser and schedule for RAVDESS (Franceschini et al., section IV-A).
    fn default() -> Self {
        TrainingSettings {
            epochs: 2000,
            batch: 32,
            optimizer: Rule::Sgd { momentum: 0.9, weight_decay: 1e-3 },
            learning_rate: 1e-3,
            schedule: Schedule::Step { epochs: 100, factor: 0.9 },
            patience: None,
        }
    }
}

impl TrainingSettings {
    /// Validates the settings.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn check(&self) -> std::result::Result<(), Refusal> {
        if self.batch < 2 {
            let why =
                format!("is {}; batch norm and contrastive losses need at least 2", self.batch);
            return Err(Refusal::new("batch", why));
        }
        Refusal::positive("learning_rate", self.learning_rate)
    }
}

/// A training run: parameters, optimisers, records and the position in the run.
#[derive(Debug)]
pub struct Trainer {
    settings: TrainingSettings,
    seed: u64,
    steps_an_epoch: u64,
    /// The purpose of dropout's random stream.
    stream: &'static str,
    parameters: Parameters,
    modules: Vec<Module>,
    best: Option<Parameters>,
    state: State,
    /// The last step, until its figures arrive from a GPU.
    pending: Option<Pending>,
    /// The embeddings of the last batch, and which rows have each modality.
    embedded: Vec<(Tensor, Option<Vec<u32>>)>,
}

/// A step whose figures are pending.
#[derive(Debug)]
struct Pending {
    step: u64,
    learning_rate: f64,
    /// The reading of each phase, with the positions and names of the parts of its loss.
    readings: Vec<(Reading, Vec<(usize, String)>)>,
}

/// Parameters that are updated together.
#[derive(Debug)]
struct Module {
    prefix: String,
    ids: Vec<ParameterId>,
    optimizer: Optimizer,
}

/// The state of a [`Trainer`] without its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct State {
    epoch: u64,
    step_in_epoch: u64,
    sums: Sums,
    patience: Option<Patience>,
    history: Vec<EpochRecord>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Sums {
    loss: f64,
    gradient_norm: f64,
    #[serde(default)]
    parts: BTreeMap<String, f64>,
}

/// The record of a training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Step since the start of the run, from 0.
    pub step: u64,
    /// Loss before the update, summed over phases.
    pub loss: f64,
    /// Each named part of the loss.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
    /// L2 norm of all gradients together.
    pub gradient_norm: f64,
    /// Learning rate of the update.
    pub learning_rate: f64,
}

/// The record of a training epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Mean loss over the epoch's steps.
    pub loss: f64,
    /// Mean L2 norm of the gradients.
    pub gradient_norm: f64,
    /// Mean of each named part of the loss.
    #[serde(default)]
    pub parts: BTreeMap<String, f64>,
    /// The validation metric; `None` without validation.
    pub validation_loss: Option<f64>,
}

impl Trainer {
    /// Starts a run. Each module that the system's phases update has its own optimiser.
    ///
    /// # Errors
    /// When a parameter is neither f32 nor f64, or two modules share a parameter.
    pub fn new(
        settings: &TrainingSettings,
        system: &dyn System,
        parameters: Parameters,
        seed: u64,
        steps_an_epoch: u64,
    ) -> Result<Self> {
        let state = State {
            epoch: 0,
            step_in_epoch: 0,
            sums: Sums::default(),
            patience: settings.patience.map(Patience::new),
            history: Vec::new(),
        };
        Ok(Trainer {
            modules: modules(&system.phases(), settings.optimizer, &parameters)?,
            settings: settings.clone(),
            seed,
            steps_an_epoch,
            stream: "dropout",
            parameters,
            best: None,
            state,
            pending: None,
            embedded: Vec::new(),
        })
    }

    /// Sets the purpose of dropout's random stream.
    pub(crate) fn stream(self, stream: &'static str) -> Self {
        Trainer { stream, ..self }
    }

    /// The current epoch, from 0.
    pub fn epoch(&self) -> u64 {
        self.state.epoch
    }

    /// The number of steps done in the current epoch.
    pub fn step_in_epoch(&self) -> usize {
        self.state.step_in_epoch as usize
    }

    /// The number of steps done in all epochs.
    pub fn steps(&self) -> u64 {
        self.state.epoch * self.steps_an_epoch + self.state.step_in_epoch
    }

    /// The records of the epochs so far.
    pub fn history(&self) -> &[EpochRecord] {
        &self.state.history
    }

    /// Whether the last epoch is done or early stopping ended training.
    pub fn finished(&self) -> bool {
        self.state.epoch >= self.settings.epochs
            || self.state.patience.is_some_and(|p| p.exhausted())
    }

    /// The current parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The result of training: the best parameters by validation with early stopping, otherwise the last.
    pub fn into_parameters(self) -> Parameters {
        self.best.unwrap_or(self.parameters)
    }

    /// Runs one training step: all phases of the system, in order. Returns the record of this step on the CPU. On a GPU
    /// returns that of the step before, unless it was [settled](Self::settle), since this step is still running.
    ///
    /// # Errors
    /// When the loss or a gradient of the step that is read was not finite. That phase and those launched after it then
    /// changed nothing.
    pub fn step(&mut self, system: &dyn System, batch: &Batch) -> Result<Option<StepRecord>> {
        let step = self.steps();
        let steps = self.steps_an_epoch * self.settings.epochs;
        let factor = self.settings.schedule.factor(self.state.epoch, step, steps);
        let learning_rate = self.settings.learning_rate * factor;
        // Once for all phases.
        let upload = || batch.on(self.parameters.device());
        let batch = &profile::span("upload", Part::Other, upload)?;
        let mut readings = Vec::new();
        for (number, phase) in system.phases().iter().enumerate() {
            if system.skips(batch, number) {
                continue;
            }
            let mut random = Philox::new(self.seed, self.stream).at(step);
            if number > 0 {
                random = random.at(number as u64);
            }
            readings.push(self.phase(system, batch, number, phase, random, learning_rate)?);
        }
        self.state.step_in_epoch += 1;
        let known = readings.iter().all(|(reading, _)| reading.is_known());
        let before = self.pending.replace(Pending { step, learning_rate, readings });
        match before {
            Some(pending) => self.record(pending).map(Some),
            None if known => self.settle(),
            None => Ok(None),
        }
    }

    /// Waits for the last step and returns its record, if [`step`](Self::step) did not. Call it before
    /// [`save`](Self::save), and before [`end_epoch`](Self::end_epoch) to get every record.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn settle(&mut self) -> Result<Option<StepRecord>> {
        self.pending.take().map(|pending| self.record(pending)).transpose()
    }

    /// Cross-modal retrieval within the last batch, before its update: R@1, the mean over ordered pairs of modalities.
    /// `None` before the first step and for a system without embeddings. Waits for the step.
    ///
    /// # Errors
    /// When work on a GPU failed.
    pub fn retrieval(&self) -> Result<Option<f64>> {
        let mut found = Vec::new();
        let rows = self.embedded.iter().map(|(tensor, _)| tensor.to_vec());
        let rows: Vec<Vec<f64>> = rows.collect::<Result<_>>()?;
        for (m, (queries, has)) in self.embedded.iter().enumerate() {
            let width = queries.shape().features();
            for (n, (_, answers)) in self.embedded.iter().enumerate().filter(|(n, _)| *n != m) {
                let is =
                    |flags: &Option<Vec<u32>>, i: usize| flags.as_ref().is_none_or(|f| f[i] == 1);
                let both: Vec<usize> =
                    (0..queries.shape()[0]).filter(|&i| is(has, i) && is(answers, i)).collect();
                let pick = |rows: &[f64]| -> Vec<f64> {
                    both.iter().flat_map(|&i| &rows[i * width..][..width]).copied().collect()
                };
                if both.len() >= 2 {
                    found.push(metrics::retrieval(&pick(&rows[m]), &pick(&rows[n]), width).at_1);
                }
            }
        }
        let count = found.len() as f64;
        Ok((count > 0.0).then(|| found.iter().sum::<f64>() / count))
    }

    fn record(&mut self, pending: Pending) -> Result<StepRecord> {
        let Pending { step, learning_rate, readings } = pending;
        let (mut losses, mut norms, mut parts) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (reading, names) in readings {
            let Figures { loss, gradient_norm, watched } = reading.wait()?;
            losses.push(loss);
            norms.push(gradient_norm);
            for (position, name) in names {
                let value = watched.first().and_then(|values| values.get(position));
                let value = value.copied().unwrap_or(0.0);
                *self.state.sums.parts.entry(name.clone()).or_default() += value;
                *parts.entry(name).or_default() += value;
            }
        }
        let loss = losses.iter().sum();
        let gradient_norm = norms.into_iter().reduce(f64::hypot).unwrap_or(0.0);
        self.state.sums.loss += loss;
        self.state.sums.gradient_norm += gradient_norm;
        let epoch = self.state.epoch;
        Ok(StepRecord { epoch, step, loss, parts, gradient_norm, learning_rate })
    }

    /// One update; returns the reading of its figures, and the names of the parts of the loss.
    fn phase(
        &mut self,
        system: &dyn System,
        batch: &Batch,
        number: usize,
        phase: &Phase,
        random: Philox,
        learning_rate: f64,
    ) -> Result<(Reading, Vec<(usize, String)>)> {
        let updates = |module: &&Module| phase.updates.contains(&module.prefix);
        let ids = self.modules.iter().filter(updates).flat_map(|module| module.ids.iter().copied());
        let ids: Vec<ParameterId> = ids.collect();
        let pass = match phase.training {
            true => Pass::train(&self.parameters, random),
            false => Pass::evaluate_recorded(&self.parameters),
        };
        let pass = pass.updating(&ids);
        let Loss { total, parts, embeddings } = system.loss(&pass, batch, number)?;
        if !embeddings.is_empty() {
            let present = batch.modalities.iter().map(|input| input.present.clone());
            self.embedded = embeddings.iter().map(Tensor::detached).zip(present).collect();
        }
        let mut outcome = pass.backward(&total)?;
        let mut names = Vec::new();
        if let Some(parts) = parts {
            outcome = outcome.watching(&parts.values);
            names = parts.names;
        }
        // In the order of the phase, so that its own module comes first.
        let place = |module: &Module| phase.updates.iter().position(|own| *own == module.prefix);
        let modules = self.modules.iter_mut();
        let mut placed: Vec<(usize, &mut Optimizer)> =
            modules.filter_map(|module| Some((place(module)?, &mut module.optimizer))).collect();
        placed.sort_by_key(|(place, _)| *place);
        let mut optimizers: Vec<&mut Optimizer> =
            placed.into_iter().map(|(_, optimizer)| optimizer).collect();
        let parameters = &mut self.parameters;
        let step = || step_together(&mut optimizers, parameters, outcome, learning_rate);
        let reading = profile::span("optimizer", Part::Other, step)?;
        Ok((reading, names))
    }

    /// Ends an epoch; `validation_loss` is for early stopping. [Settles](Self::settle) the last step.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn end_epoch(&mut self, validation_loss: Option<f64>) -> Result<EpochRecord> {
        self.settle()?;
        let steps = self.state.step_in_epoch.max(1) as f64;
        let sums = std::mem::take(&mut self.state.sums);
        let record = EpochRecord {
            epoch: self.state.epoch,
            loss: sums.loss / steps,
            gradient_norm: sums.gradient_norm / steps,
            parts: sums.parts.into_iter().map(|(name, sum)| (name, sum / steps)).collect(),
            validation_loss,
        };
        if let (Some(patience), Some(loss)) = (&mut self.state.patience, validation_loss)
            && patience.improved(loss)
        {
            self.best = Some(self.parameters.clone());
        }
        self.state.epoch += 1;
        self.state.step_in_epoch = 0;
        self.state.history.push(record.clone());
        Ok(record)
    }

    /// The state of the run: a resumed run gives the same bits as one that never stopped.
    ///
    /// # Errors
    /// When the state cannot be serialised as JSON, or the last step is not [settled](Self::settle).
    pub fn save(&self) -> Result<Checkpoint> {
        if self.pending.is_some() {
            return Err(Error::Tape(
                "the last step is still running; call Trainer::settle before save",
            ));
        }
        let mut checkpoint = Checkpoint::new();
        insert(&mut checkpoint, "model", &self.parameters)?;
        if let Some(best) = &self.best {
            insert(&mut checkpoint, "best", best)?;
        }
        for module in &self.modules {
            for (name, tensor) in module.optimizer.state(&self.parameters)? {
                checkpoint.insert(format!("optimizer.{name}"), tensor);
            }
        }
        let updates: Vec<u64> =
            self.modules.iter().map(|module| module.optimizer.steps()).collect();
        checkpoint.set("updates", &updates)?;
        checkpoint.set("state", &self.state)?;
        checkpoint.set("seed", &self.seed)?;
        checkpoint.set("settings", &self.settings)?;
        Ok(checkpoint)
    }

    /// Restores the result of [`save`](Self::save). The run must have the settings, seed and model of the saved one.
    ///
    /// # Errors
    /// When the settings, seed or model differ.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let other = |name: &str| Error::Model {
            model: "checkpoint".into(),
            what: format!(
                "its {name} differs from this run's; use another run folder or the old settings"
            ),
        };
        if checkpoint.get::<u64>("seed")? != self.seed {
            return Err(other("seed"));
        }
        if checkpoint.get::<TrainingSettings>("settings")? != self.settings {
            return Err(other("training settings"));
        }
        restore(checkpoint, "model", &mut self.parameters)?;
        let first =
            self.parameters.ids().next().map(|id| format!("best.{}", self.parameters.name(id)));
        if first.is_some_and(|name| checkpoint.tensor(&name).is_some()) {
            let mut best = self.parameters.clone();
            restore(checkpoint, "best", &mut best)?;
            self.best = Some(best);
        }
        let updates = match checkpoint.get("updates")? {
            Updates::Each(updates) => updates,
            Updates::Whole(updates) => vec![updates],
        };
        if updates.len() != self.modules.len() {
            return Err(other("number of modules"));
        }
        for (module, updates) in self.modules.iter_mut().zip(updates) {
            let find = |name: &str| checkpoint.tensor(&format!("optimizer.{name}")).cloned();
            module.optimizer.restore(&self.parameters, updates, find)?;
        }
        let state: State = checkpoint.get("state")?;
        if state.epoch > self.settings.epochs || state.step_in_epoch > self.steps_an_epoch {
            return Err(other("number of steps"));
        }
        self.state = state;
        self.pending = None;
        Ok(())
    }
}

/// The optimisers' steps in a checkpoint: one number in older files, otherwise one for each module.
#[derive(Deserialize)]
#[serde(untagged)]
enum Updates {
    Each(Vec<u64>),
    Whole(u64),
}

/// The modules of all phases, in the order of their first use.
fn modules(phases: &[Phase], rule: Rule, parameters: &Parameters) -> Result<Vec<Module>> {
    let mut modules: Vec<Module> = Vec::new();
    for prefix in phases.iter().flat_map(|phase| &phase.updates) {
        if modules.iter().any(|module| module.prefix == *prefix) {
            continue;
        }
        let inside = |id: &ParameterId| parameters.name(*id).starts_with(prefix.as_str());
        let ids: Vec<ParameterId> = parameters.trainable().filter(inside).collect();
        let shared = |module: &&Module| module.ids.iter().any(|id| ids.contains(id));
        if let Some(other) = modules.iter().find(shared) {
            return Err(Error::Model {
                model: format!("module {prefix}"),
                what: format!(
                    "shares parameters with module {}; use disjoint modules",
                    other.prefix
                ),
            });
        }
        let mut optimizer = Optimizer::of(rule, parameters, ids.iter().copied())?;
        if let Some(first) = modules.first() {
            optimizer.stop_with(&first.optimizer);
        }
        modules.push(Module { prefix: prefix.clone(), ids, optimizer });
    }
    let updated = |id: &ParameterId| modules.iter().any(|module| module.ids.contains(id));
    if let Some(id) = parameters.trainable().find(|id| !updated(id)) {
        return Err(Error::NoGradient { names: vec![parameters.name(id).into()] });
    }
    Ok(modules)
}

/// Adds all parameters to a checkpoint as `prefix.name`, without padding.
///
/// # Errors
/// When they cannot be copied from a GPU.
pub fn insert(checkpoint: &mut Checkpoint, prefix: &str, parameters: &Parameters) -> Result<()> {
    for id in parameters.ids() {
        checkpoint.insert(format!("{prefix}.{}", parameters.name(id)), parameters.export(id)?);
    }
    Ok(())
}

/// Restores all parameters from `prefix.name` in a checkpoint.
///
/// # Errors
/// When one is missing or has another shape.
pub fn restore(checkpoint: &Checkpoint, prefix: &str, parameters: &mut Parameters) -> Result<()> {
    for id in parameters.ids() {
        let name = format!("{prefix}.{}", parameters.name(id));
        let Some(tensor) = checkpoint.tensor(&name) else {
            let what = "not in the checkpoint; was it made by another configuration?".into();
            return Err(Error::Parameter { name, what });
        };
        parameters.import(id, tensor)?;
    }
    Ok(())
}

/// A warning if the loss of the last 4 epochs is within 0.02 of a known plateau.
pub fn plateau(history: &[EpochRecord], plateau: &Plateau) -> Option<String> {
    const EPOCHS: usize = 4;
    let last = history.len().checked_sub(EPOCHS).map(|start| &history[start..])?;
    let stuck = last.iter().all(|epoch| (epoch.loss - plateau.loss).abs() < 0.02);
    let Plateau { loss, why } = plateau;
    stuck.then(|| format!("the loss has been at {loss:.3} for {EPOCHS} epochs: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plateau_is_noticed() {
        let epoch = |loss| EpochRecord {
            epoch: 0,
            loss,
            gradient_norm: 0.0,
            parts: BTreeMap::new(),
            validation_loss: None,
        };
        let at = Plateau { loss: 31f64.ln(), why: "all alike" };
        let stuck = vec![epoch(3.43), epoch(3.44), epoch(3.435), epoch(3.434)];
        assert!(plateau(&stuck, &at).is_some());
        assert!(plateau(&stuck[..3], &at).is_none());
        assert!(plateau(&[stuck[0].clone(), epoch(3.2), epoch(3.1), epoch(3.0)], &at).is_none());
    }
}
