//! Compares a bench with an earlier one.

use super::case::asked;
use super::report::Report;
use crate::failure::{Failure, Kind, Result};
use crate::progress::Progress;
use data::plain::of_serde;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The fields of an earlier report that are read.
#[derive(Debug, Deserialize)]
struct Earlier {
    device: String,
    threads: usize,
    results: Vec<Measured>,
}

#[derive(Debug, Deserialize)]
struct Measured {
    case: String,
    median_s: f64,
}

/// An earlier report.
#[derive(Debug)]
pub(super) struct Baseline {
    path: PathBuf,
    earlier: Earlier,
}

impl Baseline {
    /// Reads a report that `--json` printed.
    ///
    /// # Errors
    /// Exit code 66 when the file does not exist, 65 when it is not a report.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::io("read the baseline", path, &error))?;
        let earlier = serde_json::from_str(&text).map_err(|error| {
            Failure::new(
                Kind::BadData,
                format!("{}: is not a report of a bench: {}", path.display(), of_serde(error)),
            )
            .hint("make one with `mpuc bench ... --json > FILE`")
        })?;
        Ok(Baseline { path: path.to_owned(), earlier })
    }

    /// Adds to each case of the report the ratio of its median to the baseline's; warns about cases without a counterpart.
    pub(super) fn compare(&self, report: &mut Report, only: &[String], progress: &Progress) {
        let file = self.path.display();
        let Earlier { device, threads, results } = &self.earlier;
        if (device, threads) != (&report.device, &report.threads) {
            progress.warn(format_args!("{file} was measured on {device} with {threads} threads"));
        }
        for row in &mut report.results {
            let before = results.iter().find(|earlier| earlier.case == row.case);
            row.times_baseline = before.map(|earlier| row.median_s / earlier.median_s);
            if before.is_none() {
                progress.warn(format_args!("{}: not in {file}", row.case));
            }
        }
        let measured = |name: &str| report.results.iter().any(|row| row.case == name);
        for Measured { case, .. } in results {
            if asked(case, only) && !measured(case) {
                progress.warn(format_args!("{case}: in {file}, not measured now"));
            }
        }
    }

    /// Checks that no case takes more than `limit` times as long as in the baseline.
    ///
    /// # Errors
    /// Exit code 5 when one does.
    pub(super) fn judge(&self, report: &Report, limit: f64) -> Result<()> {
        let slower: Vec<String> = report
            .results
            .iter()
            .filter_map(|row| Some((row, row.times_baseline?)))
            .filter(|(_, ratio)| *ratio > limit || ratio.is_nan())
            .map(|(row, ratio)| format!("{} ({ratio:.2})", row.case))
            .collect();
        if slower.is_empty() {
            return Ok(());
        }
        let (file, all) = (self.path.display(), report.results.len());
        let message = format!(
            "{} of {all} cases take more than {limit} times as long as in {file}: {}",
            slower.len(),
            slower.join(", ")
        );
        Err(Failure::new(Kind::Slower, message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Row;
    use super::*;

    fn report(medians: &[(&str, f64)]) -> Report {
        let row =
            |&(case, median_s): &(&str, f64)| Row { case: case.into(), median_s, ..Row::default() };
        Report {
            device: "cpu".into(),
            threads: 2,
            instructions: String::new(),
            version: "",
            peak_gflops_per_s: None,
            peak_read_gb_per_s: None,
            peak_copy_gb_per_s: None,
            results: medians.iter().map(row).collect(),
        }
    }

    fn baseline(medians: &[(&str, f64)]) -> Result<Baseline> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("before.json");
        std::fs::write(&path, serde_json::to_string(&report(medians)).unwrap())?;
        Baseline::read(&path)
    }

    #[test]
    fn slower_cases_fail() -> Result<()> {
        let before = baseline(&[("a", 1.0), ("b", 1.0), ("gone", 1.0)])?;
        let mut now = report(&[("a", 1.05), ("b", 2.0), ("new", 9.0)]);
        before.compare(&mut now, &[], &Progress::new(true));
        let ratios: Vec<Option<f64>> = now.results.iter().map(|row| row.times_baseline).collect();
        assert_eq!(ratios, [Some(1.05), Some(2.0), None]);
        let failure = before.judge(&now, 1.1).unwrap_err();
        assert_eq!(failure.code(), 5);
        let text = failure.to_string();
        assert!(text.contains("1 of 3 cases") && text.contains("b (2.00)"), "{text}");
        before.judge(&now, 2.0)
    }

    #[test]
    fn what_is_no_report_is_refused() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("x.json");
        assert_eq!(Baseline::read(&path).unwrap_err().code(), 66);
        std::fs::write(&path, "{}")?;
        assert_eq!(Baseline::read(&path).unwrap_err().code(), 65);
        Ok(())
    }
}
