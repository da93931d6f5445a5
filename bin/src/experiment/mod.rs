//! The experiment: every seed and fold of a configuration, with its controls, resumable at any moment.

mod batches;
mod corpora;
mod judge;
mod material;
mod pretrained;
mod report;
mod stage;
mod unit;

pub use batches::{AHEAD, WORKERS};

pub use material::{Decoded, Material, decode};
pub use pretrained::{lacking, matched};
pub use report::Report;
pub use unit::{UnitResult, judge_again};

use crate::config::Resolved;
use crate::failure::Result;
use crate::progress::Progress;
use crate::run_folder::{RunFolder, State, Status};
use crate::signals::Stop;
use engine::Device;
use std::time::Instant;

/// What every part of an experiment is handed.
pub struct Session<'a> {
    /// The configuration.
    pub resolved: &'a Resolved,
    /// Where everything is written.
    pub run: &'a RunFolder,
    /// Where networks are computed.
    pub device: &'a Device,
    /// Where progress is shown.
    pub progress: &'a Progress,
    /// What long work polls.
    pub stop: &'a Stop,
}

/// Runs all seeds and folds; those that were done before are taken from the run folder.
///
/// # Errors
/// Whatever is wrong with the data or the configuration; a stop that was asked for, once everything is saved.
pub fn run(session: &Session<'_>) -> Result<Report> {
    let started = Instant::now();
    let config = &session.resolved.config;
    let material = Material::open(session.resolved, session.progress, session.stop)?;
    material.hold_to(session.run)?;
    session.run.write_json("splits/splits.json", &material.splits_by_id())?;
    let units: Vec<(u64, usize)> = config
        .seeds
        .iter()
        .flat_map(|&seed| (0..material.splits.len()).map(move |fold| (seed, fold)))
        .collect();
    let mut results = Vec::new();
    for (done, &(seed, fold)) in units.iter().enumerate() {
        session.run.tell(|status| {
            *status = Status {
                unit: format!("seed {seed}, fold {}", fold + 1),
                units_done: done,
                units: units.len(),
                ..Status::default()
            };
        })?;
        match unit::run(session, &material, seed, fold) {
            Ok(result) => results.push(result),
            Err(failure) => {
                let stopped = session.stop.asked().is_some();
                session.run.tell(|status| {
                    status.state = if stopped { State::Stopped } else { State::Failed };
                    status.message = Some(failure.to_string());
                })?;
                return Err(failure);
            }
        }
    }
    let stamp = material.stamp(session.resolved, session.device)?;
    let elapsed = started.elapsed().as_secs_f64();
    let report = Report::new(&results, &material.classes, stamp, session.run.path(), elapsed);
    session.run.write_json("results.json", &report)?;
    session.run.tell(|status| {
        let units = units.len();
        *status = Status { state: State::Finished, units_done: units, units, ..Status::default() };
    })?;
    Ok(report)
}
