//! The folder of a run: what is needed to continue it, to evaluate it and to know how it was made.

mod contents;
mod lock;
mod metrics;
mod status;

pub use metrics::{Metrics, Position};
pub use status::{State, Status, StatusFile};

use crate::config::Resolved;
use crate::failure::{Failure, Kind, Result};
use contents::{CONFIG, FOLDERS, INVOCATION, STATUS};
use engine::checkpoint::write_whole;
use lock::Lock;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// A run folder. If it is locked, only this process writes to it, until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// When this process opened it.
    opened: Instant,
    /// Absent if the folder is only read, like the lock.
    status: Option<Arc<StatusFile>>,
    _lock: Option<Lock>,
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
    #[serde(serialize_with = "crate::output::path")]
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

impl RunFolder {
    /// The default folder of a configuration: the same configuration has the same folder.
    ///
    /// # Errors
    /// When the configuration cannot be written as TOML.
    pub fn default_path(resolved: &Resolved) -> Result<PathBuf> {
        let named = |resolved: &Resolved| -> Result<PathBuf> {
            Ok(Path::new("runs").join(format!("{}-{}", resolved.preset, resolved.hash()?)))
        };
        // Before paths were made absolute, the folder had the path as it was spelled.
        let spelled = named(resolved)?;
        let folder = std::env::current_dir().unwrap_or_default();
        if spelled.exists() { Ok(spelled) } else { named(&resolved.clone().located(&folder)) }
    }

    /// Creates the folder, or opens the one of the same configuration. `fresh` first removes the files of the run that is
    /// there.
    ///
    /// # Errors
    /// 73 when another process works in it, 74 when it cannot be written, 78 when it holds a run of another configuration
    /// or files of others.
    pub fn create(path: &Path, resolved: &Resolved, fresh: bool) -> Result<(Self, Found)> {
        // The run can be evaluated from any other folder.
        let resolved = &resolved.clone().located(&std::env::current_dir().unwrap_or_default());
        fs::create_dir_all(path).map_err(|error| unwritable("create the folder", path, &error))?;
        let config = path.join(CONFIG);
        let here = config.exists();
        if !here {
            contents::refuse_unknown(path)?;
        }
        let run = Self::locked(path)?;
        let found = match (here, fresh) {
            (false, _) => Found::New,
            (true, true) => Found::Cleared(contents::clear(path)?),
            (true, false) => {
                same_configuration(&config, path, resolved)?;
                run.status.iter().for_each(|status| status.add_earlier());
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
        let status = lock.is_some().then(|| Arc::new(StatusFile::new(path.join(STATUS))));
        RunFolder { path: path.into(), opened: Instant::now(), status, _lock: lock }
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
        let invocation = fs::read(path.join(INVOCATION)).ok();
        let invocation =
            invocation.and_then(|bytes| serde_json::from_slice::<Invocation>(&bytes).ok());
        match invocation {
            // Old runs have paths relative to the folder in which they were started.
            Some(Invocation { preset, directory, .. }) => {
                Ok(Resolved::load(&config, &preset)?.located(&directory))
            }
            None => Resolved::load(&config, "unknown"),
        }
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
        write_json(&self.file(name), value)
    }

    /// The status file; absent if the folder is only read.
    pub fn status(&self) -> Option<&Arc<StatusFile>> {
        self.status.as_ref()
    }

    /// Changes the status and writes it to `status.json`; does nothing if the folder is only read.
    ///
    /// # Errors
    /// When the operating system reports an error.
    pub fn tell(&self, change: impl FnOnce(&mut Status)) -> Result<()> {
        self.status.as_ref().map_or(Ok(()), |status| status.tell(change))
    }

    /// Seconds spent on the run until now, over all processes; of a folder that is only read, by this process.
    pub fn seconds(&self) -> f64 {
        self.status.as_ref().map_or(self.opened.elapsed().as_secs_f64(), |status| status.seconds())
    }

    /// Seconds spent on a stage until its last checkpoint, over all processes; 0 for a stage without a checkpoint.
    pub fn seconds_of(&self, stage: &str) -> f64 {
        self.status.as_ref().map_or(0.0, |status| status.seconds_of(stage))
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

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| {
        let name = path.file_name().unwrap_or_default().display();
        Failure::new(Kind::Bug, format!("{name} cannot be written as JSON: {error}"))
    })?;
    bytes.push(b'\n');
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .map_err(|error| unwritable("create the folder", folder, &error))?;
    }
    write_whole(path, &bytes)?;
    Ok(())
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
