//! The training loop, and loops over batches without training.

use super::{EpochRecord, StepRecord, Trainer};
use crate::systems::{Batch, System};
use engine::{Error, Parameters, Pass, Statistics};
use std::ops::ControlFlow;

/// The callbacks of a training run: batches, validation, and actions after steps and epochs.
///
/// Methods take `&self`, because the iterator of batches borrows the course while [`stepped`](Self::stepped) is called.
/// Keep mutable state in cells.
pub trait Course {
    /// The error that ends training.
    type Error: From<Error>;

    /// The batches of an epoch in order, without the first `done`.
    ///
    /// # Errors
    /// When data cannot be read.
    fn batches(
        &self,
        epoch: u64,
        done: usize,
    ) -> Result<impl Iterator<Item = Result<Batch, Self::Error>>, Self::Error>;

    /// The validation metric after an epoch, for early stopping; lower is better. `None` if there is no validation.
    ///
    /// # Errors
    /// When data cannot be read.
    fn validation(
        &self,
        system: &dyn System,
        parameters: &Parameters,
    ) -> Result<Option<f64>, Self::Error>;

    /// Called after each step with the record of [`Trainer::step`]; `Break` ends the epoch. Call [`Trainer::settle`]
    /// before [`Trainer::save`].
    ///
    /// # Errors
    /// To end training, e.g. when the user stops it.
    fn stepped(
        &self,
        trainer: &mut Trainer,
        record: Option<StepRecord>,
    ) -> Result<ControlFlow<()>, Self::Error>;

    /// Called at the end of an epoch with its last record, if no [`stepped`](Self::stepped) got it.
    ///
    /// # Errors
    /// To end training.
    fn settled(&self, record: Option<StepRecord>) -> Result<(), Self::Error>;

    /// Called after each epoch; `Break` ends training.
    ///
    /// # Errors
    /// To end training.
    fn ended(
        &self,
        trainer: &Trainer,
        record: &EpochRecord,
    ) -> Result<ControlFlow<()>, Self::Error>;
}

/// Trains from the trainer's current step to its last epoch, or until early stopping or the course ends it.
///
/// # Errors
/// When the loss or a gradient is not finite, or the course returns an error.
pub fn fit<C: Course>(
    trainer: &mut Trainer,
    system: &dyn System,
    course: &C,
) -> Result<(), C::Error> {
    while !trainer.finished() {
        for batch in course.batches(trainer.epoch(), trainer.step_in_epoch())? {
            let record = trainer.step(system, &batch?)?;
            if course.stepped(trainer, record)?.is_break() {
                break;
            }
        }
        course.settled(trainer.settle()?)?;
        let validation = course.validation(system, trainer.parameters())?;
        let record = trainer.end_epoch(validation)?;
        if course.ended(trainer, &record)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// A [`Course`] with batches only: no validation, no actions. The function returns all batches of an epoch.
#[derive(Debug, Clone)]
pub struct Epochs<F>(pub F);

impl<F, I> Course for Epochs<F>
where
    F: Fn(u64) -> I,
    I: IntoIterator<Item = engine::Result<Batch>>,
{
    type Error = Error;

    fn batches(
        &self,
        epoch: u64,
        done: usize,
    ) -> engine::Result<impl Iterator<Item = engine::Result<Batch>>> {
        Ok((self.0)(epoch).into_iter().skip(done))
    }

    fn validation(&self, _: &dyn System, _: &Parameters) -> engine::Result<Option<f64>> {
        Ok(None)
    }

    fn stepped(&self, _: &mut Trainer, _: Option<StepRecord>) -> engine::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }

    fn settled(&self, _: Option<StepRecord>) -> engine::Result<()> {
        Ok(())
    }

    fn ended(&self, _: &Trainer, _: &EpochRecord) -> engine::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// The mean over batches of the loss in evaluation mode, summed over the system's phases; `None` without batches.
///
/// # Errors
/// When the system does not accept a batch, or a batch cannot be read.
pub fn validate<E: From<Error>>(
    system: &dyn System,
    parameters: &Parameters,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
) -> Result<Option<f64>, E> {
    let phases = system.phases().len();
    let (mut total, mut count) = (0.0, 0);
    for batch in batches {
        let batch = batch?;
        for phase in (0..phases).filter(|&phase| !system.skips(&batch, phase)) {
            let loss = system.loss(&Pass::evaluate(parameters), &batch, phase)?;
            total += loss.total.item()?;
        }
        count += 1;
    }
    Ok((count > 0).then(|| total / f64::from(count)))
}

/// Measures batch norm's running statistics over batches, as training would, but without changing parameters.
///
/// # Errors
/// When the system does not accept a batch, or a batch cannot be read.
pub fn calibrate<E: From<Error>>(
    system: &dyn System,
    parameters: &mut Parameters,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
) -> Result<(), E> {
    for batch in batches {
        let pass = Pass::calibrate(parameters);
        system.outputs(&pass, &batch?)?;
        let statistics: Statistics = pass.finish();
        statistics.apply(parameters)?;
    }
    Ok(())
}
