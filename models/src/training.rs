//! The first stage: steps, epochs, validation, patience, and the state a run can be taken up from.

use crate::systems::{Batch, Encoders, System};
use engine::checkpoint::Checkpoint;
use engine::optim::{Optimizer, Rule};
use engine::schedule::{Patience, Schedule};
use engine::{Error, Parameters, Pass, Philox, Result, Statistics};
use serde::{Deserialize, Serialize};

/// How a system is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Epochs without a lower validation loss that are endured, after which the best parameters are taken;
    /// without it, all epochs are run and the last parameters are taken.
    pub patience: Option<u64>,
}

/// A training run: everything that changes from step to step.
#[derive(Debug)]
pub struct Trainer {
    settings: TrainingSettings,
    seed: u64,
    steps_an_epoch: u64,
    parameters: Parameters,
    optimizer: Optimizer,
    best: Option<Parameters>,
    state: State,
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
    pairs: Vec<f64>,
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
    /// Mean loss of each ordered pair of modalities, row after row; empty for systems without pairs.
    pub pairs: Vec<f64>,
    /// Mean loss over the validation batches, where there are any.
    pub validation_loss: Option<f64>,
}

impl Trainer {
    /// A run at its start.
    ///
    /// # Errors
    /// When a parameter is of a type that is not trained.
    pub fn new(
        settings: &TrainingSettings,
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
            optimizer: Optimizer::new(settings.optimizer, &parameters)?,
            settings: settings.clone(),
            seed,
            steps_an_epoch,
            parameters,
            best: None,
            state,
        })
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

    /// Learns from one batch.
    ///
    /// # Errors
    /// When the loss or a gradient is not finite; nothing is updated then.
    pub fn step(&mut self, system: &impl System, batch: &Batch) -> Result<StepRecord> {
        let step = self.steps();
        let pass = Pass::train(&self.parameters, Philox::new(self.seed, "dropout").at(step));
        let loss = system.loss(&pass, batch)?;
        let outcome = pass.backward(&loss.total)?;
        let gradient_norm = outcome.gradients.norm(&self.parameters)?;
        let steps = self.steps_an_epoch * self.settings.epochs;
        let factor = self.settings.schedule.factor(self.state.epoch, step, steps);
        let learning_rate = self.settings.learning_rate * factor;
        outcome.statistics.apply(&mut self.parameters);
        self.optimizer.step(&mut self.parameters, &outcome.gradients, learning_rate)?;
        self.state.step_in_epoch += 1;
        self.state.sums.add(
            outcome.loss,
            gradient_norm,
            loss.pairs.map(|pairs| pairs.to_vec()).transpose()?,
        );
        Ok(StepRecord {
            epoch: self.state.epoch,
            step,
            loss: outcome.loss,
            gradient_norm,
            learning_rate,
        })
    }

    /// Ends an epoch with its validation loss, where there is one.
    pub fn end_epoch(&mut self, validation_loss: Option<f64>) -> EpochRecord {
        let steps = self.state.step_in_epoch.max(1) as f64;
        let sums = std::mem::take(&mut self.state.sums);
        let record = EpochRecord {
            epoch: self.state.epoch,
            loss: sums.loss / steps,
            gradient_norm: sums.gradient_norm / steps,
            pairs: sums.pairs.iter().map(|sum| sum / steps).collect(),
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
        record
    }

    /// Everything needed to go on as if never stopped.
    ///
    /// # Errors
    /// When a number of the state cannot be written.
    pub fn save(&self) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::new();
        insert(&mut checkpoint, "model", &self.parameters)?;
        if let Some(best) = &self.best {
            insert(&mut checkpoint, "best", best)?;
        }
        for (name, tensor) in self.optimizer.state(&self.parameters)? {
            checkpoint.insert(format!("optimizer.{name}"), tensor);
        }
        checkpoint.set("updates", &self.optimizer.steps())?;
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
        let other = |name: &str| Error::Parameter {
            name: name.into(),
            what: "differs from the checkpoint's; use another run folder or the old settings"
                .into(),
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
        let updates = checkpoint.get("updates")?;
        let find = |name: &str| checkpoint.tensor(&format!("optimizer.{name}")).cloned();
        self.optimizer.restore(&self.parameters, updates, find)?;
        self.state = checkpoint.get("state")?;
        Ok(())
    }
}

impl Sums {
    fn add(&mut self, loss: f64, gradient_norm: f64, pairs: Option<Vec<f64>>) {
        self.loss += loss;
        self.gradient_norm += gradient_norm;
        let pairs = pairs.unwrap_or_default();
        self.pairs.resize(pairs.len(), 0.0);
        self.pairs.iter_mut().zip(pairs).for_each(|(sum, pair)| *sum += pair);
    }
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

/// The mean loss of batches in evaluation; `None` of none.
///
/// # Errors
/// When the shapes do not fit.
pub fn validate<E: From<Error>>(
    system: &impl System,
    parameters: &Parameters,
    batches: impl IntoIterator<Item = std::result::Result<Batch, E>>,
) -> std::result::Result<Option<f64>, E> {
    let (mut total, mut count) = (0.0, 0);
    for batch in batches {
        let loss = system.loss(&Pass::evaluate(parameters), &batch?)?;
        total += loss.total.item()?;
        count += 1;
    }
    Ok((count > 0).then(|| total / f64::from(count)))
}

/// Measures the batch-norm statistics of networks that are not trained: running means over the batches, as
/// training would have left them.
///
/// # Errors
/// When the shapes do not fit.
pub fn calibrate<E: From<Error>>(
    encoders: &Encoders,
    parameters: &mut Parameters,
    batches: impl IntoIterator<Item = std::result::Result<Batch, E>>,
) -> std::result::Result<(), E> {
    for batch in batches {
        let pass = Pass::calibrate(parameters);
        encoders.forward(&pass, &batch?)?;
        let statistics: Statistics = pass.finish();
        statistics.apply(parameters);
    }
    Ok(())
}

/// Explains a contrastive loss that has not left the value it has when all embeddings are alike.
pub fn plateau(history: &[EpochRecord], plateau: f64) -> Option<String> {
    const EPOCHS: usize = 4;
    let last = history.len().checked_sub(EPOCHS).map(|start| &history[start..])?;
    let stuck = last.iter().all(|epoch| (epoch.loss - plateau).abs() < 0.02);
    stuck.then(|| {
        format!(
            "the loss has stood at {plateau:.3} for {EPOCHS} epochs: that is its value when all embeddings are \
             alike, and there its gradient all but vanishes. Standardised inputs and batch norm in the projection \
             head (projection.batch_norm = true) end it; with the paper's plain head and learning rate it can last \
             20 epochs or more."
        )
    })
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
            pairs: vec![],
            validation_loss: None,
        };
        let stuck = vec![epoch(3.43), epoch(3.44), epoch(3.435), epoch(3.434)];
        assert!(plateau(&stuck, 31f64.ln()).is_some());
        assert!(plateau(&stuck[..3], 31f64.ln()).is_none());
        assert!(
            plateau(&[stuck[0].clone(), epoch(3.2), epoch(3.1), epoch(3.0)], 31f64.ln()).is_none()
        );
    }
}
