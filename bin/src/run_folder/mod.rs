//! The folder of a run: everything needed to go on with it, to judge it and to say how it came about.

mod lock;
mod metrics;

pub use metrics::{Metrics, Position};

use crate::config::Resolved;
use crate::failure::{Failure, Kind, Result};
use engine::checkpoint::write_whole;
use lock::Lock;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What a run writes; `--fresh` removes these and nothing else.
const FILES: [&str; 4] = ["invocation.json", "metrics.jsonl", "results.json", "status.json"];
const FOLDERS: [&str; 4] = ["splits", "checkpoints", "eval", "models"];
/// Makes a folder a run folder: written first, removed last.
const CONFIG: &str = "config.toml";

/// A run folder that this process alone writes to, until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// What `status.json` says.
    status: Mutex<Status>,
    _lock: Lock,
}

/// Whether there is something to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The folder is new.
    New,
    /// It holds a run of the same configuration.
    Existing,
}

/// How the run was started, last of all times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The command line.
    pub command: Vec<String>,
    /// The folder it was given in.
    #[serde(serialize_with = "crate::output::path")]
    pub directory: PathBuf,
    /// The preset.
    pub preset: String,
    /// The program's version.
    pub version: String,
    /// Threads it ran on.
    pub threads: usize,
    /// The vector instructions it uses.
    pub instructions: String,
    /// When it was started, UTC.
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

/// How far a run is, for people and programs that watch it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// The seed and fold in hand, e.g. `seed 0, fold 1`.
    pub unit: String,
    /// Units done.
    pub units_done: usize,
    /// Units of the whole run.
    pub units: usize,
    /// What was trained of the unit when a checkpoint was last written, as it is called there, e.g. `seed0-fold1-mpuc`.
    pub stage: Option<String>,
    /// Its epochs done.
    pub epoch: u64,
    /// Its steps done, in all.
    pub step: u64,
    /// Its last epoch's mean loss.
    pub loss: Option<f64>,
    /// Why it stopped or failed.
    pub message: Option<String>,
}

/// What a run is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Working.
    #[default]
    Running,
    /// Saved and stopped before its end.
    Stopped,
    /// Done.
    Finished,
    /// Ended by an error.
    Failed,
}

impl RunFolder {
    /// Where a run goes that was not told where: the same configuration finds its folder again.
    ///
    /// # Errors
    /// When the configuration cannot be written as TOML.
    pub fn default_path(resolved: &Resolved) -> Result<PathBuf> {
        Ok(Path::new("runs").join(format!("{}-{}", resolved.preset, resolved.hash()?)))
    }

    /// Makes the folder, or takes up the one of the same configuration; `fresh` begins anew in it.
    ///
    /// # Errors
    /// 73 when another process works in it, 74 when it cannot be written, 78 when it holds something else.
    pub fn create(path: &Path, resolved: &Resolved, fresh: bool) -> Result<(Self, Found)> {
        fs::create_dir_all(path).map_err(|error| unwritable("make the folder", path, &error))?;
        let config = path.join(CONFIG);
        let here = config.exists();
        if !here {
            refuse_strangers(path)?;
        }
        let run = Self::locked(path)?;
        if here && fresh {
            run.clear()?;
        } else if here {
            same_configuration(&config, path, resolved)?;
        }
        let found = if here && !fresh { Found::Existing } else { Found::New };
        for folder in FOLDERS {
            let folder = path.join(folder);
            fs::create_dir_all(&folder)
                .map_err(|error| unwritable("make the folder", &folder, &error))?;
        }
        resolved.save(&config)?;
        run.write_json("invocation.json", &Invocation::now(&resolved.preset))?;
        Ok((run, found))
    }

    /// Opens the folder of a run that was made before, e.g. to evaluate it.
    ///
    /// # Errors
    /// 66 when there is no run, 73 when another process works in it, 78 when its configuration cannot be read.
    pub fn open(path: &Path) -> Result<(Self, Resolved)> {
        let resolved = Self::configuration(path)?;
        Ok((Self::locked(path)?, resolved))
    }

    fn locked(path: &Path) -> Result<Self> {
        let lock = Lock::take(path)?;
        Ok(RunFolder { path: path.into(), status: Mutex::default(), _lock: lock })
    }

    /// The configuration of a run, which may be going on.
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
        let preset = fs::read(path.join("invocation.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Invocation>(&bytes).ok())
            .map_or_else(|| "unknown".to_owned(), |invocation| invocation.preset);
        Resolved::load(&config, &preset)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of it.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file of it as JSON, whole or not at all.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| {
            Failure::new(Kind::Bug, format!("{name} cannot be written as JSON: {error}"))
        })?;
        bytes.push(b'\n');
        let path = self.file(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .map_err(|error| unwritable("make the folder", folder, &error))?;
        }
        write_whole(&path, &bytes)?;
        Ok(())
    }

    /// Says how far the run is, by changing what was said before.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn tell(&self, change: impl FnOnce(&mut Status)) -> Result<()> {
        #[derive(Serialize)]
        struct Stamped<'a> {
            #[serde(flatten)]
            status: &'a Status,
            process: u32,
            updated: String,
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status);
        self.write_json(
            "status.json",
            &Stamped { status: &status, process: std::process::id(), updated: now() },
        )
    }

    /// The metrics, with the records for which `keep` says so: those that a checkpoint knows of.
    ///
    /// # Errors
    /// When the operating system refuses, or a line within the file is no record.
    pub fn metrics(&self, keep: impl FnMut(&Position) -> bool) -> Result<Metrics> {
        Metrics::open(&self.file("metrics.jsonl"), keep)
    }

    /// Removes what a run wrote; the configuration last, so that a half cleared folder is still one of ours.
    fn clear(&self) -> Result<()> {
        let gone = |path: &Path, outcome: std::io::Result<()>| match outcome {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(unwritable("remove", path, &error))
            }
            _ => Ok(()),
        };
        for folder in FOLDERS.map(|name| self.file(name)) {
            gone(&folder, fs::remove_dir_all(&folder))?;
        }
        for file in FILES.into_iter().chain([CONFIG]).map(|name| self.file(name)) {
            gone(&file, fs::remove_file(&file))?;
        }
        Ok(())
    }
}

/// A folder without a configuration must not hold anything of somebody else's.
fn refuse_strangers(path: &Path) -> Result<()> {
    let entries =
        fs::read_dir(path).map_err(|error| unwritable("read the folder", path, &error))?;
    let ours = |name: &str| {
        name == lock::NAME
            || name.ends_with(".partial")
            || FILES.contains(&name)
            || FOLDERS.contains(&name)
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !ours(&name.to_string_lossy()) {
            let message = format!(
                "{}: not a run folder: it holds {}",
                path.display(),
                name.to_string_lossy()
            );
            return Err(Failure::config(message).hint("name an empty or a new folder with --out"));
        }
    }
    Ok(())
}

fn same_configuration(config: &Path, path: &Path, resolved: &Resolved) -> Result<()> {
    let before = Resolved::load(config, &resolved.preset).map_err(|failure| {
        failure
            .context("the run that is here")
            .hint("--fresh begins anew; --out names another folder")
    })?;
    let Some(difference) = resolved.difference(&before)? else { return Ok(()) };
    let message = format!(
        "{}: holds a run of another configuration: `{}` is {} there and {} now",
        path.display(),
        difference.key,
        difference.there,
        difference.here
    );
    Err(Failure::config(message).hint("--fresh begins anew in it; --out names another folder"))
}

/// The operating system refused in a folder that is to be written.
fn unwritable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Io, format!("{}: cannot {what}: {error}", path.display()))
        .hint("check its permissions and the free space, or name another folder with --out")
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests;
