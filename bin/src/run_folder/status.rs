//! `status.json`: the progress of a run, for people and programs.

use super::{now, write_json};
use crate::failure::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The progress of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The state.
    pub state: State,
    /// The current trial, a seed on a fold, e.g. `seed 0, fold 1`.
    pub trial: String,
    /// Finished trials.
    pub trials_done: usize,
    /// Trials of the whole run.
    pub trials: usize,
    /// The trial and arm of the last checkpoint, e.g. `seed0-fold1-mpuc`.
    pub stage: Option<String>,
    /// Finished epochs of the stage.
    pub epoch: u64,
    /// Finished steps of the stage, over all epochs.
    pub step: u64,
    /// Mean loss of the stage's last epoch.
    pub loss: Option<f64>,
    /// The share of the run's training that is done, from 0 to 1, at the stage's last checkpoint.
    pub share: Option<f64>,
    /// The seconds that the run's training still needs, estimated at the stage's last checkpoint.
    pub seconds_left: Option<f64>,
    /// Seconds spent on the run, over all processes.
    pub seconds: f64,
    /// Those of earlier processes.
    #[serde(skip)]
    earlier: f64,
    /// Seconds spent on each stage until its last checkpoint, over all processes.
    pub stages: BTreeMap<String, f64>,
    /// Why it stopped or failed.
    pub message: Option<String>,
}

/// The state of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Running.
    #[default]
    Running,
    /// Saved and stopped before its end.
    Stopped,
    /// All trials are finished.
    Finished,
    /// Ended by an error.
    Failed,
}

/// The file, which is written at each change.
#[derive(Debug)]
pub struct StatusFile {
    path: PathBuf,
    opened: Instant,
    status: Mutex<Status>,
}

/// The content of the file.
#[derive(Serialize)]
struct Stamped<'a> {
    #[serde(flatten)]
    status: &'a Status,
    process: u32,
    updated: String,
}

impl Status {
    /// Begins a trial: what was said of the one before goes, except the times.
    pub fn begin(&mut self, trial: String, trials_done: usize, trials: usize) {
        let Status { earlier, stages, .. } = std::mem::take(self);
        *self = Status { trial, trials_done, trials, earlier, stages, ..Status::default() };
    }

    /// Ends the run.
    pub fn finish(&mut self) {
        self.begin(String::new(), self.trials, self.trials);
        self.state = State::Finished;
    }
}

impl StatusFile {
    pub(super) fn new(path: PathBuf) -> Self {
        StatusFile { path, opened: Instant::now(), status: Mutex::default() }
    }

    /// Reads from the file how long earlier processes worked on the run and its stages.
    pub(super) fn add_earlier(&self) {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        let Ok(before) = serde_json::from_slice::<Status>(&bytes) else { return };
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.earlier = before.seconds;
        status.stages = before.stages;
    }

    /// See [`RunFolder::tell`](super::RunFolder::tell).
    pub(super) fn tell(&self, change: impl FnOnce(&mut Status)) -> Result<()> {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        self.write(&mut status)
    }

    fn write(&self, status: &mut Status) -> Result<()> {
        status.seconds = status.earlier + self.opened.elapsed().as_secs_f64();
        let (process, updated) = (std::process::id(), now());
        write_json(&self.path, &Stamped { status, process, updated })
    }

    /// Notes the end of the program, if no other thread is writing the file. Ignores errors: the program ends anyway.
    pub fn end(&self, state: State, message: &str) {
        if let Ok(mut status) = self.status.try_lock() {
            (status.state, status.message) = (state, Some(message.to_owned()));
            let _ = self.write(&mut status);
        }
    }

    pub(super) fn seconds(&self) -> f64 {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.earlier + self.opened.elapsed().as_secs_f64()
    }

    pub(super) fn seconds_of(&self, stage: &str) -> f64 {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.stages.get(stage).copied().unwrap_or(0.0)
    }
}
