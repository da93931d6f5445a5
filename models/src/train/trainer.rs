//! Steps and epochs of a training run, and the state that the run is taken up from.

use crate::systems::{Batch, Loss, Phase, Plateau, Refusal, System};
use engine::checkpoint::Checkpoint;
use engine::optim::{Figures, Optimizer, Reading, Rule, step_together};
use engine::schedule::{Patience, Schedule};
use engine::{Error, ParameterId, Parameters, Pass, Philox, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a system is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSettings {
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
    /// Early stopping: epochs without improvement before training stops, after which the best parameters are taken;
    /// without it, all epochs are run and the last parameters are taken.
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
    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn check(&self) -> std::result::Result<(), Refusal> {
        if self.batch < 2 {
            let why =
                format!("is {}; batch norm and contrastive losses need at least 2", self.batch);
            return Err(Refusal::new("batch", why));
        }
        Refusal::positive("learning_rate", self.learning_rate)
    }
}

/// A training run: everything that changes from step to step.
#[derive(Debug)]
pub struct Trainer {
    settings: TrainingSettings,
    seed: u64,
    steps_an_epoch: u64,
    /// Names the random stream of dropout.
    stream: &'static str,
    parameters: Parameters,
    modules: Vec<Module>,
    best: Option<Parameters>,
    state: State,
    /// The last step, while its figures are on their way from a GPU.
    pending: Option<Pending>,
}

/// A step whose figures are on their way.
#[derive(Debug)]
struct Pending {
    step: u64,
    learning_rate: f64,
    /// Of each phase, with the names of the parts of its loss.
    readings: Vec<(Reading, Vec<(usize, String)>)>,
}

/// Parameters that are updated together.
#[derive(Debug)]
struct Module {
    prefix: String,
    ids: Vec<ParameterId>,
    optimizer: Optimizer,
}

/// What of a [`Trainer`] is not tensors.
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

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Step since the start of the run, from 0.
    pub step: u64,
    /// Loss before the update.
    pub loss: f64,
    /// Euclidean norm of all gradients together.
    pub gradient_norm: f64,
    /// Learning rate of the update.
    pub learning_rate: f64,
}

/// What an epoch came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Mean loss over its steps.
    pub loss: f64,
    /// Mean norm of the gradients.
    pub gradient_norm: f64,
    /// Mean of each named part of the loss.
    #[serde(default)]
    pub parts: BTreeMap<String, f64>,
    /// Mean loss over the validation batches, where there are any.
    pub validation_loss: Option<f64>,
}

impl Trainer {
    /// A run at its start. Each phase of the system updates modules; each module has an optimiser of its own.
    ///
    /// # Errors
    /// When a parameter is of a type that is not trained, or two modules share a parameter.
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
        })
    }

    /// The same run with another name for its random stream of dropout.
    pub(crate) fn stream(self, stream: &'static str) -> Self {
        Trainer { stream, ..self }
    }

    /// The epoch to go on with.
    pub fn epoch(&self) -> u64 {
        self.state.epoch
    }

    /// How many steps of that epoch are done.
    pub fn step_in_epoch(&self) -> usize {
        self.state.step_in_epoch as usize
    }

    /// How many steps are done in all.
    pub fn steps(&self) -> u64 {
        self.state.epoch * self.steps_an_epoch + self.state.step_in_epoch
    }

    /// The epochs so far.
    pub fn history(&self) -> &[EpochRecord] {
        &self.state.history
    }

    /// Whether the last epoch is done or patience is at an end.
    pub fn finished(&self) -> bool {
        self.state.epoch >= self.settings.epochs
            || self.state.patience.is_some_and(|p| p.exhausted())
    }

    /// The parameters now.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The parameters to go on with after training: the best by validation where there is patience, else the
    /// last.
    pub fn into_parameters(self) -> Parameters {
        self.best.unwrap_or(self.parameters)
    }

    /// Learns from one batch, phase after phase. Gives the record of this step on the CPU; on a GPU that of the step
    /// before, if it was not [settled](Self::settle), since this one's figures are still on their way.
    ///
    /// # Errors
    /// When the loss or a gradient of the step whose record is due was not finite: that phase changed nothing, and
    /// neither did one launched after it.
    pub fn step(&mut self, system: &dyn System, batch: &Batch) -> Result<Option<StepRecord>> {
        let step = self.steps();
        let steps = self.steps_an_epoch * self.settings.epochs;
        let factor = self.settings.schedule.factor(self.state.epoch, step, steps);
        let learning_rate = self.settings.learning_rate * factor;
        let mut readings = Vec::new();
        for (number, phase) in system.phases().iter().enumerate() {
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

    /// Waits for the last step and gives its record, where [`step`](Self::step) did not. Call it before
    /// [`save`](Self::save), and before [`end_epoch`](Self::end_epoch) where every record is wanted.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn settle(&mut self) -> Result<Option<StepRecord>> {
        self.pending.take().map(|pending| self.record(pending)).transpose()
    }

    fn record(&mut self, pending: Pending) -> Result<StepRecord> {
        let Pending { step, learning_rate, readings } = pending;
        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        for (reading, names) in readings {
            let Figures { loss, gradient_norm, watched } = reading.wait()?;
            losses.push(loss);
            norms.push(gradient_norm);
            for (position, name) in names {
                let value = watched.first().and_then(|values| values.get(position));
                *self.state.sums.parts.entry(name).or_default() += value.copied().unwrap_or(0.0);
            }
        }
        let loss = losses.iter().sum();
        let gradient_norm = norms.into_iter().reduce(f64::hypot).unwrap_or(0.0);
        self.state.sums.loss += loss;
        self.state.sums.gradient_norm += gradient_norm;
        Ok(StepRecord { epoch: self.state.epoch, step, loss, gradient_norm, learning_rate })
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
        let Loss { total, parts } = system.loss(&pass, batch, number)?;
        let mut outcome = pass.backward(&total)?;
        let mut names = Vec::new();
        if let Some(parts) = parts {
            outcome = outcome.watching(&parts.values);
            names = parts.names;
        }
        let modules = self.modules.iter_mut();
        let modules = modules.filter(|module| phase.updates.contains(&module.prefix));
        let mut optimizers: Vec<&mut Optimizer> =
            modules.map(|module| &mut module.optimizer).collect();
        let reading = step_together(&mut optimizers, &mut self.parameters, outcome, learning_rate)?;
        Ok((reading, names))
    }

    /// Ends an epoch with its validation loss, where there is one. [Settles](Self::settle) the last step.
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

    /// Everything needed to go on as if never stopped.
    ///
    /// # Errors
    /// When a number of the state cannot be written, or the last step is not [settled](Self::settle).
    pub fn save(&self) -> Result<Checkpoint> {
        if self.pending.is_some() {
            return Err(Error::Tape(
                "the last step is on its way; call Trainer::settle before save",
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

    /// Takes back what [`save`](Self::save) gave, into a run made with the same settings.
    ///
    /// # Errors
    /// When the checkpoint was made with other settings, another seed or another model.
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

/// How often optimisers have stepped, as checkpoints hold it: one number before systems had phases.
#[derive(Deserialize)]
#[serde(untagged)]
enum Updates {
    Each(Vec<u64>),
    Whole(u64),
}

/// The modules that the phases name, in the order in which they name them.
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
                what: format!("shares parameters with module {}; modules must not", other.prefix),
            });
        }
        let optimizer = Optimizer::of(rule, parameters, ids.iter().copied())?;
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
/// When they cannot be read back from a GPU.
pub fn insert(checkpoint: &mut Checkpoint, prefix: &str, parameters: &Parameters) -> Result<()> {
    for id in parameters.ids() {
        checkpoint.insert(format!("{prefix}.{}", parameters.name(id)), parameters.export(id)?);
    }
    Ok(())
}

/// Takes all parameters back from a checkpoint.
///
/// # Errors
/// When one is missing or of another shape.
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

/// A warning when the loss has not left the value at which training can stand still.
pub fn plateau(history: &[EpochRecord], plateau: &Plateau) -> Option<String> {
    const EPOCHS: usize = 4;
    let last = history.len().checked_sub(EPOCHS).map(|start| &history[start..])?;
    let stuck = last.iter().all(|epoch| (epoch.loss - plateau.loss).abs() < 0.02);
    let Plateau { loss, why } = plateau;
    stuck.then(|| format!("the loss has stood at {loss:.3} for {EPOCHS} epochs: {why}"))
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
