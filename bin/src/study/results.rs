//! The results of a study's cells, as their run folders hold them.

use crate::config::{Cell, Study};
use crate::experiment::{ArmResult, Report};
use crate::failure::{Failure, Kind, Result};
use data::plain::of_serde;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::Path;

/// The results of one finished cell.
pub struct CellResult<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// Its report.
    pub report: Report,
    /// The result of each arm that its data allows, in the order of the report.
    pub arms: Vec<ArmResult>,
}

impl<'a> CellResult<'a> {
    /// Reads the results of a cell; `None` if it is not finished with this configuration.
    ///
    /// # Errors
    /// When a result cannot be read.
    pub fn read(folder: &Path, cell: &'a Cell) -> Result<Option<Self>> {
        let run = folder.join(&cell.folder);
        let Some(report) = read::<Report>(&run.join("results.json"))? else { return Ok(None) };
        if report.protocol.configuration != cell.resolved.hash()? {
            return Ok(None);
        }
        let mut arms = Vec::new();
        for name in report.arms.keys() {
            let file = format!("eval/seed{}-fold{}-{name}.json", cell.seed, cell.fold);
            let Some(result) = read(&run.join(file))? else { return Ok(None) };
            arms.push(result);
        }
        Ok(Some(CellResult { cell, report, arms }))
    }
}

/// The results of all cells that are finished.
///
/// # Errors
/// When a result cannot be read.
pub fn finished<'a>(folder: &Path, study: &'a Study) -> Result<Vec<CellResult<'a>>> {
    study.cells.iter().filter_map(|cell| CellResult::read(folder, cell).transpose()).collect()
}

/// Reads a JSON file; `None` if there is none.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::io("read", path, &error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Failure::new(Kind::BadData, format!("{}: {}", path.display(), of_serde(error)))
            .hint("remove the file; the same `mpuc study` command makes it again")
    })
}
