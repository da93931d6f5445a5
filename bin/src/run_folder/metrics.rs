//! `metrics.jsonl`: one record for each line, append only.

use super::unwritable;
use crate::failure::{Failure, Kind, Result};
use engine::checkpoint::write_whole;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The position of a record in a run; every record has these fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The trial and the arm that is trained, e.g. `seed0-fold1-mpuc`; named `unit` in runs of old versions.
    #[serde(alias = "unit")]
    pub stage: String,
    /// Its epoch, from 0; absent in a record about the whole stage.
    pub epoch: Option<u64>,
    /// Its step since its start, from 0; absent in a record about an epoch.
    pub step: Option<u64>,
}

/// The file, open for appending.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file. Removes the records for which `keep` is false (work that will be done again), and a partial
    /// last line of a killed process.
    pub(super) fn open(path: &Path, mut keep: impl FnMut(&Position) -> bool) -> Result<Self> {
        let before = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(unwritable("read", path, &error)),
        };
        let mut after = Vec::with_capacity(before.len());
        for (number, line) in before.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if line.last() != Some(&b'\n') {
                break;
            }
            let position: Position = serde_json::from_slice(line).map_err(|error| {
                let message =
                    format!("{}:{}: not a record of metrics: {error}", path.display(), number + 1);
                Failure::new(Kind::BadData, message)
                    .hint("remove the line, or start again with --fresh")
            })?;
            if keep(&position) {
                after.extend_from_slice(line);
            }
        }
        if after.len() != before.len() {
            write_whole(path, &after)?;
        }
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(|error| unwritable("open", path, &error))?;
        Ok(Metrics { path: path.into(), file })
    }

    /// Appends a record with the fields of its position and of the measurement.
    ///
    /// # Errors
    /// When the operating system reports an error.
    pub fn add(&mut self, position: &Position, measured: &impl Serialize) -> Result<()> {
        #[derive(Serialize)]
        struct Record<'a, T> {
            #[serde(flatten)]
            position: &'a Position,
            #[serde(flatten)]
            measured: &'a T,
        }
        let mut line = serde_json::to_vec(&Record { position, measured }).map_err(|error| {
            Failure::new(Kind::Bug, format!("a record cannot be written as JSON: {error}"))
        })?;
        line.push(b'\n');
        // One write for each line, so that other processes read complete lines.
        self.file.write_all(&line).map_err(|error| unwritable("write", &self.path, &error))
    }

    /// Syncs all records to disk. Call it before a checkpoint that depends on them is saved.
    ///
    /// # Errors
    /// When the operating system reports an error.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|error| unwritable("sync", &self.path, &error))
    }
}
