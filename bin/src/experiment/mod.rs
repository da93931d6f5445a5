//! The experiment: every arm on every trial (a seed on a fold) of a configuration, resumable at any moment.

mod batches;
mod corpora;
mod donor;
mod judging;
mod labels;
mod missing;
mod missing_report;
mod overall;
mod prepared_data;
mod pretrained;
mod preview;
mod profile;
mod report;
mod retriever;
mod stage;
mod trial;
mod world;

pub use batches::{AHEAD, WORKERS, input};

pub use missing_report::{MissingFigure, missing_tables};
pub use overall::Overall;
pub use prepared_data::{Decoded, PreparedData, decode};
pub use pretrained::{lacking, matched};
pub use preview::Preview;
pub use profile::{Recorded, profile};
pub use report::{ArmReport, Report};
pub use world::user_folder;

use crate::config::{Arm, Resolved};
use crate::failure::Result;
use crate::progress::Progress;
use crate::run_folder::{RunFolder, State, Status};
use crate::signals::Stop;
use engine::Device;
use std::cell::OnceCell;
use std::path::PathBuf;
pub use trial::ArmResult;
use trial::Trial;

/// The context of an experiment, shared by all its parts.
pub struct Session<'a> {
    /// The configuration.
    pub resolved: &'a Resolved,
    /// The folder of all output.
    pub run: &'a RunFolder,
    /// The device of the networks.
    pub device: &'a Device,
    /// The progress display.
    pub progress: &'a Progress,
    /// The request to stop; long work polls it.
    pub stop: &'a Stop,
    /// The source of trained networks.
    pub training: Training,
    /// Folders of other runs: their networks are taken in place of a training that reads the same.
    pub donors: &'a [PathBuf],
    /// Whether [`run`] prints what it will train.
    pub announce: bool,
    /// The progress of all trainings, once they are known.
    pub overall: OnceCell<Overall>,
}

/// The source of trained networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Training {
    /// Training, from the start or from the last checkpoint.
    Continue,
    /// The last checkpoints.
    Restore {
        /// Whether networks are used whose training was stopped before its end.
        unfinished: bool,
    },
}

/// Trains and evaluates all arms on all trials; finished results are read from the run folder.
///
/// # Errors
/// When data or configuration are wrong, training fails, or a stop was requested and everything is saved.
pub fn run(session: &Session<'_>) -> Result<Report> {
    match train_all(session) {
        Ok(report) => {
            session.run.write_json("results.json", &report)?;
            session.run.tell(Status::finish)?;
            Ok(report)
        }
        Err(failure) => {
            let stopped = session.stop.asked().is_some();
            session.run.tell(|status| {
                status.state = if stopped { State::Stopped } else { State::Failed };
                status.message = Some(failure.to_string());
            })?;
            Err(failure)
        }
    }
}

fn train_all(session: &Session<'_>) -> Result<Report> {
    let prepared = PreparedData::open(session.resolved, session.progress, session.stop)?;
    prepared.hold_to(session.run)?;
    let first = Trial::first(session, &prepared)?;
    let preview = Preview::new(session, &prepared, &first)?;
    if session.announce {
        session.progress.line(&preview);
    }
    session.run.write_json("splits/splits.json", &prepared.splits_by_id())?;
    let overall = session.overall.get_or_init(|| Overall::new(&preview));
    let results = each(session, &prepared, Some(first), |trial, arm| {
        let result = trial.run(arm)?;
        overall.finish(&arm.name);
        Ok(result)
    })?;
    report(session, &prepared, &results)
}

/// What [`run`] would do, without training.
///
/// # Errors
/// When data or configuration are wrong.
pub fn preview(session: &Session<'_>) -> Result<Preview> {
    let prepared = PreparedData::open(session.resolved, session.progress, session.stop)?;
    Preview::new(session, &prepared, &Trial::first(session, &prepared)?)
}

/// Evaluates all arms again, from their checkpoints, and returns the report. Writes no result.
///
/// # Errors
/// When the data is missing or has changed, or a checkpoint is missing or damaged.
pub fn judge_again(session: &Session<'_>) -> Result<Report> {
    let prepared = PreparedData::open(session.resolved, session.progress, session.stop)?;
    prepared.hold_to(session.run)?;
    let results = each(session, &prepared, None, |trial, arm| {
        if let Some(reason) = session.stop.asked() {
            return Err(reason.saved("nothing was changed"));
        }
        trial.judge_again(arm)
    })?;
    report(session, &prepared, &results)
}

/// Calls `todo` for every arm on every trial. Arms that train come first, because others use their networks. `first` is
/// the first trial, if it was made before.
fn each<'a>(
    session: &'a Session<'a>,
    prepared: &'a PreparedData,
    mut first: Option<Trial<'a>>,
    mut todo: impl FnMut(&Trial<'a>, &Arm) -> Result<Option<ArmResult>>,
) -> Result<Vec<ArmResult>> {
    let (training, derived): (Vec<Arm>, Vec<Arm>) =
        arms(session.resolved, prepared).into_iter().partition(|arm| arm.system().is_some());
    let config = &session.resolved.config;
    let folds = prepared.folds(config.only_fold)?;
    let trials: Vec<(u64, usize)> =
        config.seeds.iter().flat_map(|&seed| folds.clone().map(move |fold| (seed, fold))).collect();
    let mut results = Vec::new();
    for (done, &(seed, fold)) in trials.iter().enumerate() {
        let name = format!("seed {seed}, fold {}", fold + 1);
        session.run.tell(|status| status.begin(name, done, trials.len()))?;
        let trial = match first.take() {
            Some(trial) => trial,
            None => Trial::new(session, prepared, seed, fold)?,
        };
        trial.warn_of_labels();
        for arm in training.iter().chain(&derived) {
            results.extend(todo(&trial, arm)?);
        }
    }
    Ok(results)
}

/// The arms to run on the data's modalities, in the order of the table.
fn arms(resolved: &Resolved, prepared: &PreparedData) -> Vec<Arm> {
    resolved.arms.iter().flat_map(|arm| arm.on(&prepared.names)).collect()
}

fn report(session: &Session<'_>, prepared: &PreparedData, results: &[ArmResult]) -> Result<Report> {
    let mut stamp = prepared.stamp(session.resolved, session.device)?;
    let unfinished = results.iter().filter_map(|result| result.unfinished.as_ref());
    stamp.unfinished = unfinished.map(ToString::to_string).collect();
    stamp.unfinished.dedup();
    let seconds = session.run.seconds();
    let arms = arms(session.resolved, prepared);
    let run = session.run.path();
    Ok(Report::new(session.resolved, &arms, results, &prepared.classes, stamp, run, seconds))
}

#[cfg(test)]
mod sweep_tests;
