//! The one training loop, and the loops over batches that train nothing.

use super::{EpochRecord, StepRecord, Trainer};
use crate::systems::{Batch, System};
use engine::{Error, Parameters, Pass, Statistics};
use std::ops::ControlFlow;

/// What a training run asks of its surroundings: batches, a validation figure, and what is to be done between steps.
///
/// Methods take `&self` because batches are drawn while steps are recorded: a course that changes holds its state in
/// cells.
pub trait Course {
    /// What ends training early.
    type Error: From<Error>;

    /// The batches of an epoch from its `done`th on, in their order.
    ///
    /// # Errors
    /// When data cannot be read.
    fn batches(
        &self,
        epoch: u64,
        done: usize,
    ) -> Result<impl Iterator<Item = Result<Batch, Self::Error>>, Self::Error>;

    /// The figure after an epoch that early stopping compares, lower being better; `None` where there is none.
    ///
    /// # Errors
    /// When data cannot be read.
    fn validation(
        &self,
        system: &dyn System,
        parameters: &Parameters,
    ) -> Result<Option<f64>, Self::Error>;

    /// Called after each step with the record that [`Trainer::step`] gave; `Break` ends the epoch. Before it saves the
    /// trainer it settles it.
    ///
    /// # Errors
    /// Whatever is to end training, e.g. a stop that was asked for.
    fn stepped(
        &self,
        trainer: &mut Trainer,
        record: Option<StepRecord>,
    ) -> Result<ControlFlow<()>, Self::Error>;

    /// Called with the last record of an epoch, where it was still on its way from a GPU.
    ///
    /// # Errors
    /// Whatever is to end training.
    fn settled(&self, record: Option<StepRecord>) -> Result<(), Self::Error>;

    /// Called after each epoch; `Break` ends training.
    ///
    /// # Errors
    /// Whatever is to end training.
    fn ended(
        &self,
        trainer: &Trainer,
        record: &EpochRecord,
    ) -> Result<ControlFlow<()>, Self::Error>;
}

/// Trains from where the trainer stands to its last epoch, or until patience or the course ends it.
///
/// # Errors
/// When the loss or a gradient is not finite; whatever the course ends with.
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

/// A [`Course`] of batches alone: no validation, nothing between steps. The function gives the batches of an epoch, all
/// of them.
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

/// The mean loss of batches in evaluation, all phases of the system together; `None` of no batches.
///
/// # Errors
/// When a batch does not fit the system or cannot be read.
pub fn validate<E: From<Error>>(
    system: &dyn System,
    parameters: &Parameters,
    batches: impl IntoIterator<Item = Result<Batch, E>>,
) -> Result<Option<f64>, E> {
    let phases = system.phases().len();
    let (mut total, mut count) = (0.0, 0);
    for batch in batches {
        let batch = batch?;
        for phase in 0..phases {
            let loss = system.loss(&Pass::evaluate(parameters), &batch, phase)?;
            total += loss.total.item()?;
        }
        count += 1;
    }
    Ok((count > 0).then(|| total / f64::from(count)))
}

/// Measures the batch-norm statistics of networks that are not trained: running means over the batches, as training would
/// have left them.
///
/// # Errors
/// When a batch does not fit the system or cannot be read.
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
