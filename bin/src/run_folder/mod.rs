//! The folder of a run: what is needed to continue it, to evaluate it and to know how it was made.

mod contents;
mod lock;
mod metrics;

pub use metrics::{Metrics, Position};

use crate::config::Resolved;
use crate::failure::{Failure, Kind, Result};
use contents::{CONFIG, FOLDERS, INVOCATION, STATUS};
use engine::checkpoint::write_whole;
use lock::Lock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// A run folder. If it is locked, only this process writes to it, until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The content of `status.json`.
    status: Mutex<Status>,
    /// When this process opened it.
    opened: Instant,
    /// Seconds that earlier processes worked on the run.
    earlier: f64,
    /// Absent if the folder is only read.
    lock: Option<Lock>,
}

/// What a folder held before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    New,
    /// A run of the same configuration, to continue.
    Existing,
    /// A run that was removed. These files were not written by a run and stay.
    Cleared(Vec<PathBuf>),
}

/// How the run was last started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The command line.
    pub command: Vec<String>,
    /// The working directory.
    pub directory: PathBuf,
    /// The preset.
    pub preset: String,
    /// The program's version.
    pub version: String,
    /// Number of threads.
    pub threads: usize,
    /// The vector instructions of the CPU kernels.
    pub instructions: String,
    /// Time of the start, UTC.
    pub started: String,
}

impl Invocation {
    /// Of this process.
    pub fn now(preset: &str) -> Self {
        Invocation {
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            directory: std::env::current_dir().unwrap_or_default(),
            preset: preset.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            threads: rayon::current_num_threads(),
            instructions: format!("{:?}", kernels::cpu::simd::level()).to_lowercase(),
            started: now(),
        }
    }
}

/// The progress of a run, for people and programs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Seconds spent on the run, over all processes.
    #[serde(default)]
    pub seconds: f64,
    /// Seconds spent on each stage until its last checkpoint, over all processes.
    #[serde(default)]
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

impl RunFolder {
    /// The default folder of a configuration: the same configuration has the same folder.
    ///
    /// # Errors
    /// When the configuration cannot be written as TOML.
    pub fn default_path(resolved: &Resolved) -> Result<PathBuf> {
        Ok(Path::new("runs").join(format!("{}-{}", resolved.preset, resolved.hash()?)))
    }

    /// Creates the folder, or opens the one of the same configuration. `fresh` first removes the files of the run that is
    /// there.
    ///
    /// # Errors
    /// 73 when another process works in it, 74 when it cannot be written, 78 when it holds a run of another configuration
    /// or files of others.
    pub fn create(path: &Path, resolved: &Resolved, fresh: bool) -> Result<(Self, Found)> {
        fs::create_dir_all(path).map_err(|error| unwritable("create the folder", path, &error))?;
        let config = path.join(CONFIG);
        let here = config.exists();
        if !here {
            contents::refuse_unknown(path)?;
        }
        let mut run = Self::locked(path)?;
        let found = match (here, fresh) {
            (false, _) => Found::New,
            (true, true) => Found::Cleared(contents::clear(path)?),
            (true, false) => {
                same_configuration(&config, path, resolved)?;
                run.take_times();
                Found::Existing
            }
        };
        for folder in FOLDERS {
            let folder = path.join(folder);
            fs::create_dir_all(&folder)
                .map_err(|error| unwritable("create the folder", &folder, &error))?;
        }
        run.write_json(INVOCATION, &Invocation::now(&resolved.preset))?;
        resolved.save(&config)?;
        Ok((run, found))
    }

    /// Opens the folder of a run to read it, while another process may write to it. [`tell`](Self::tell) then does
    /// nothing.
    ///
    /// # Errors
    /// 66 when there is no run, 78 when its configuration cannot be read.
    pub fn read(path: &Path) -> Result<(Self, Resolved)> {
        let resolved = Self::configuration(path)?;
        Ok((Self::opened(path, None), resolved))
    }

    fn locked(path: &Path) -> Result<Self> {
        Ok(Self::opened(path, Some(Lock::take(path)?)))
    }

    fn opened(path: &Path, lock: Option<Lock>) -> Self {
        let status = Mutex::default();
        RunFolder { path: path.into(), status, opened: Instant::now(), earlier: 0.0, lock }
    }

    /// Reads from `status.json` how long earlier processes worked on the run.
    fn take_times(&mut self) {
        let bytes = fs::read(self.file(STATUS)).unwrap_or_default();
        let Ok(before) = serde_json::from_slice::<Status>(&bytes) else { return };
        self.earlier = before.seconds;
        let status = self.status.get_mut().unwrap_or_else(PoisonError::into_inner);
        status.stages = before.stages;
    }

    /// Seconds spent on the run until now, over all processes; since its last change of status only of this process.
    pub fn seconds(&self) -> f64 {
        self.earlier + self.opened.elapsed().as_secs_f64()
    }

    /// Seconds spent on a stage until its last checkpoint, over all processes; 0 for a stage without a checkpoint.
    pub fn seconds_of(&self, stage: &str) -> f64 {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.stages.get(stage).copied().unwrap_or(0.0)
    }

    /// The configuration of a run.
    ///
    /// # Errors
    /// 66 when there is no run, 78 when its configuration cannot be read.
    pub fn configuration(path: &Path) -> Result<Resolved> {
        let config = path.join(CONFIG);
        if !config.exists() {
            let message = format!("{}: there is no run here: it has no {CONFIG}", path.display());
            return Err(Failure::new(Kind::MissingData, message)
                .hint("name the folder that `mpuc train` printed"));
        }
        let preset = fs::read(path.join(INVOCATION))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Invocation>(&bytes).ok())
            .map_or_else(|| "unknown".to_owned(), |invocation| invocation.preset);
        Resolved::load(&config, &preset)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file as JSON, atomically.
    ///
    /// # Errors
    /// When the operating system reports an error.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| {
            Failure::new(Kind::Bug, format!("{name} cannot be written as JSON: {error}"))
        })?;
        bytes.push(b'\n');
        let path = self.file(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .map_err(|error| unwritable("create the folder", folder, &error))?;
        }
        write_whole(&path, &bytes)?;
        Ok(())
    }

    /// Changes the status and writes it to `status.json`.
    ///
    /// # Errors
    /// When the operating system reports an error.
    pub fn tell(&self, change: impl FnOnce(&mut Status)) -> Result<()> {
        #[derive(Serialize)]
        struct Stamped<'a> {
            #[serde(flatten)]
            status: &'a Status,
            process: u32,
            updated: String,
        }
        if self.lock.is_none() {
            return Ok(());
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        status.seconds = self.seconds();
        self.write_json(
            STATUS,
            &Stamped { status: &status, process: std::process::id(), updated: now() },
        )
    }

    /// Opens the metrics and removes the records for which `keep` is false: those after the checkpoint.
    ///
    /// # Errors
    /// When the operating system reports an error, or a line within the file is not a record.
    pub fn metrics(&self, keep: impl FnMut(&Position) -> bool) -> Result<Metrics> {
        Metrics::open(&self.file("metrics.jsonl"), keep)
    }
}

fn same_configuration(config: &Path, path: &Path, resolved: &Resolved) -> Result<()> {
    let before = Resolved::load(config, &resolved.preset).map_err(|failure| {
        failure
            .context("the run in this folder")
            .hint("name another folder with --out, or remove this one with --fresh")
    })?;
    let Some(difference) = resolved.difference(&before)? else { return Ok(()) };
    let message = format!(
        "{}: holds a run of another configuration: `{}` is {} there and {} now",
        path.display(),
        difference.key,
        difference.there,
        difference.here
    );
    Err(Failure::config(message).hint(
        "name another folder with --out; --fresh deletes the run that is here and starts again",
    ))
}

/// The failure to write to a folder.
fn unwritable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Io, format!("{}: cannot {what}: {error}", path.display()))
        .hint("check its permissions and the free space, or name another folder with --out")
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests;
