//! Running the cells of a study: one run folder each, so that every cell continues after any stop.

use super::results::CellResult;
use super::sharing::{groups, siblings};
use crate::config::{Cell, Study};
use crate::experiment::{self, Session, Training};
use crate::failure::{Failure, Kind, Result};
use crate::progress::{Progress, seconds};
use crate::run_folder::RunFolder;
use crate::signals::Stop;
use engine::Device;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The share of the cells that a process runs: job `number` of `of`, from 1. Cells that share networks are in one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// The number of the job, from 1.
    pub number: usize,
    /// The number of jobs.
    pub of: usize,
}

impl Job {
    /// All cells.
    pub const ALL: Job = Job { number: 1, of: 1 };

    fn has(self, group: usize) -> bool {
        group % self.of == self.number - 1
    }
}

/// `2/8`.
impl std::str::FromStr for Job {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split_once('/');
        let numbers = parts.and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Job { number, of }),
            _ => Err("expected K/N, with K from 1 to N, e.g. 2/8".into()),
        }
    }
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// A study that runs in its folder.
pub struct Runner<'a> {
    /// The study.
    pub study: &'a Study,
    /// Its folder.
    pub folder: &'a Path,
    /// The device of the networks.
    pub device: &'a Device,
    /// The progress display.
    pub progress: &'a Progress,
    /// The request to stop.
    pub stop: &'a Stop,
    /// Whether the runs of finished cells are removed first.
    pub fresh: bool,
}

/// `, 12 min left`, once a cell was measured.
fn time_left(began: Instant, done: usize, count: usize) -> String {
    if done == 0 {
        return String::new();
    }
    let each = began.elapsed().as_secs_f64() / done as f64;
    format!(", {} left", seconds(each * (count - done) as f64))
}

impl Runner<'_> {
    /// Runs the cells of a job that are not finished. Cells in which another process works are left to it. A cell takes
    /// the networks of a sibling where their training would be the same.
    ///
    /// # Errors
    /// When a configuration cannot work on its data, before anything is trained; when a stop was requested; at the end,
    /// the first failure of a cell, or 75 if cells were left to other processes.
    pub fn run(&self, job: Job) -> Result<()> {
        let groups = groups(self.study)?;
        let own = self.study.cells.iter().zip(groups).filter(|(_, group)| job.has(*group));
        let mut left = Vec::new();
        for (cell, _) in own {
            if self.fresh || CellResult::read(self.folder, cell)?.is_none() {
                left.push(cell);
            }
        }
        self.check(&left)?;
        let mut ran = BTreeSet::new();
        let (began, count) = (Instant::now(), left.len());
        let (mut failed, mut locked) = (None, 0);
        for (done, cell) in left.into_iter().enumerate() {
            self.progress.line(format_args!(
                "cell {} of {count}: {}{}",
                done + 1,
                cell.folder.display(),
                time_left(began, done, count)
            ));
            // What another process has not removed yet is no donor of a study that starts again.
            let donors = siblings(self.study, cell)
                .filter(|other| !self.fresh || ran.contains(&other.folder))
                .map(|other| self.folder.join(&other.folder));
            match self.run_cell(cell, &donors.collect::<Vec<_>>()) {
                Ok(()) => {
                    ran.insert(&cell.folder);
                }
                Err(failure) if failure.kind() == Kind::Locked => {
                    self.progress.warn(format_args!("{failure}"));
                    locked += 1;
                }
                Err(failure) if self.stop.asked().is_some() || failure.kind() == Kind::Config => {
                    return Err(failure.context(cell.folder.display()));
                }
                Err(failure) => {
                    self.progress.warn(format_args!("{}: {failure}", cell.folder.display()));
                    failed.get_or_insert(failure.context(cell.folder.display()));
                }
            }
        }
        match failed {
            Some(failure) => Err(failure),
            None if locked > 0 => {
                let what = format!("other processes work in {locked} cells of this study");
                Err(Failure::new(Kind::TryAgain, what)
                    .hint("the same command merges the results when they have finished"))
            }
            None => Ok(()),
        }
    }

    /// Prepares the first of these cells under each condition, so that a setting or data that cannot work is refused
    /// before anything is trained.
    fn check(&self, cells: &[&Cell]) -> Result<()> {
        let mut known = BTreeSet::new();
        let first = cells.iter().filter(|cell| known.insert(cell.condition));
        for cell in first.collect::<Vec<_>>() {
            let condition = &self.study.conditions[cell.condition];
            self.progress.line(format_args!("checking condition {}", condition.name));
            let scratch = tempfile::tempdir().map_err(|error| {
                Failure::io("create a folder in", &std::env::temp_dir(), &error)
            })?;
            let (run, _) = RunFolder::create(&scratch.path().join("run"), &cell.resolved, false)?;
            let preview = experiment::preview(&self.session(cell, &run, &[]));
            let preview = preview
                .map_err(|failure| failure.context(format_args!("condition {}", condition.name)))?;
            self.progress.line(preview);
        }
        Ok(())
    }

    fn run_cell(&self, cell: &Cell, donors: &[PathBuf]) -> Result<()> {
        let path = self.folder.join(&cell.folder);
        let (run, _) = RunFolder::create(&path, &cell.resolved, self.fresh)?;
        if let Some(status) = run.status() {
            self.stop.note_end_in(Arc::clone(status));
        }
        experiment::run(&self.session(cell, &run, donors)).map(drop)
    }

    fn session<'b>(
        &'b self,
        cell: &'b Cell,
        run: &'b RunFolder,
        donors: &'b [PathBuf],
    ) -> Session<'b> {
        Session {
            resolved: &cell.resolved,
            run,
            device: self.device,
            progress: self.progress,
            stop: self.stop,
            training: Training::Continue,
            donors,
            announce: false,
            overall: OnceCell::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_share_the_groups_of_cells() {
        let job: Job = "2/3".parse().unwrap();
        assert_eq!(job, Job { number: 2, of: 3 });
        assert_eq!((0..7).filter(|&group| job.has(group)).collect::<Vec<_>>(), [1, 4]);
        for wrong in ["", "3", "0/3", "4/3", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert!(wrong.parse::<Job>().is_err(), "{wrong}");
        }
        assert_eq!((0..4).filter(|&group| Job::ALL.has(group)).count(), 4);
    }
}
