//! `mpuc report --paper`: the paper's tables with rows for runs of this program.

mod earlier;
mod runs;

use crate::cli::ReportArgs;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use crate::published::TABLES;
use models::evaluate::metrics::Summary;
use runs::{Figures, Run};
use serde::Serialize;
use std::path::PathBuf;

/// A table of the paper with rows for runs.
#[derive(Debug, Serialize)]
struct Filled {
    title: &'static str,
    columns: &'static [&'static str],
    rows: Vec<Row>,
    note: &'static str,
}

/// A system's figures in percent.
#[derive(Debug, Serialize)]
struct Row {
    system: String,
    /// The number of its run, from 1; `None` for the paper.
    run: Option<usize>,
    cells: Vec<Option<Percent>>,
}

/// A figure in percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Percent {
    mean: f64,
    /// Standard deviation over seeds; the paper has none.
    std: Option<f64>,
}

/// A run of the report.
#[derive(Debug, Serialize)]
struct Origin {
    run: PathBuf,
    /// Its protocol as a line of text.
    protocol: String,
    /// Why it is in no table; `None` if it is in one.
    left_out: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    tables: Vec<Filled>,
    runs: Vec<Origin>,
}

impl From<Summary> for Percent {
    fn from(figure: Summary) -> Self {
        Percent { mean: 100.0 * figure.mean, std: Some(100.0 * figure.std) }
    }
}

/// Runs `mpuc report`.
///
/// # Errors
/// 2 without `--paper`, 66 for a folder without a finished run.
pub fn run(args: &ReportArgs) -> Result<()> {
    if !args.paper {
        return Err(Failure::new(Kind::Usage, "report: no report was chosen")
            .hint("--paper prints the paper's tables; `mpuc eval RUN` prints one run"));
    }
    let runs = args.runs.iter().map(|path| Run::read(path)).collect::<Result<Vec<_>>>()?;
    let report = fill(&runs);
    if args.json {
        return output::json(&report);
    }
    for table in &report.tables {
        print(table, args.markdown)?;
    }
    for (number, origin) in report.runs.iter().enumerate() {
        let left_out = origin.left_out.as_ref().map(|why| format!(" is in no table: it {why};"));
        output::text_lines(format_args!(
            "[{}] {}:{} {}",
            number + 1,
            origin.run.display(),
            left_out.unwrap_or_default(),
            origin.protocol
        ))?;
    }
    Ok(())
}

fn fill(runs: &[Run]) -> Report {
    let tables = TABLES.iter().map(|table| {
        let published = table.rows.iter().map(|(system, figures)| Row {
            system: (*system).to_owned(),
            run: None,
            cells: figures.iter().map(|&mean| Some(Percent { mean, std: None })).collect(),
        });
        let own = runs.iter().enumerate().filter(|(_, run)| run.refused(table.place).is_none());
        let own = own.flat_map(|(number, run)| {
            let row = move |(system, figures): (String, Figures)| Row {
                system,
                run: Some(number + 1),
                cells: figures.into_iter().map(|figure| figure.map(Percent::from)).collect(),
            };
            run.rows(table.place).into_iter().map(row)
        });
        let mut rows: Vec<Row> = published.chain(own).collect();
        if rows.iter().all(|row| row.run.is_none()) {
            let cells = vec![None; table.columns.len()];
            rows.push(Row {
                system: "this program: no run on this corpus was given".into(),
                run: None,
                cells,
            });
        }
        Filled { title: table.title, columns: table.columns, rows, note: table.note }
    });
    let origin = |run: &Run| {
        let reasons: Option<Vec<String>> =
            TABLES.iter().map(|table| run.refused(table.place)).collect();
        Origin {
            run: run.path.clone(),
            protocol: run.protocol.to_string(),
            left_out: reasons.and_then(|reasons| reasons.into_iter().next()),
        }
    };
    Report { tables: tables.collect(), runs: runs.iter().map(origin).collect() }
}

fn print(table: &Filled, markdown: bool) -> Result<()> {
    let cell = |cell: &Option<Percent>| match cell {
        None => String::new(),
        Some(Percent { mean, std: Some(std) }) => {
            format!("{mean:.2} +- {std:.2}")
        }
        Some(Percent { mean, std: None }) => format!("{mean:.2}"),
    };
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| {
            let mark = row.run.map_or(String::new(), |run| format!(" [{run}]"));
            let system = format!("{}{mark}", row.system);
            [system].into_iter().chain(row.cells.iter().map(cell)).collect()
        })
        .collect();
    let mut header = vec!["system"];
    header.extend(table.columns);
    let (title, body) = match markdown {
        true => (format!("### {}\n", table.title), output::markdown(&header, &rows)),
        false => (table.title.to_owned(), output::table(&header, &rows)),
    };
    output::text_lines(format_args!("{title}\n{body}\n\n{}\n", table.note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, Resolved};
    use serde_json::{Value, json};

    /// A finished run's folder, as `mpuc train` leaves it.
    fn folder(preset: &str, set: &[&str], results: Value) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let set: Vec<String> = set.iter().map(|pair| (*pair).to_owned()).collect();
        let layers = Layers { preset: Some(preset), set: &set, ..Layers::default() };
        let resolved = Resolved::new(&layers).unwrap();
        resolved.save(&folder.path().join("config.toml")).unwrap();
        std::fs::write(folder.path().join("results.json"), results.to_string()).unwrap();
        folder
    }

    fn stamp(corpus: Option<&str>, protocol: &str) -> Value {
        let mut stamp = json!({
            "learning": "inductive", "labels_in_pretraining": false, "protocol": protocol, "folds": 10,
            "run_folds": 10, "split_hash": "00", "preset": "paper", "loss": "exclude_positive",
            "reduction": "mean", "views": 1, "independent_windows": false, "sampler": "uniform",
            "seeds": [0], "device": "cpu", "configuration": "00", "version": "0",
        });
        if let Some(corpus) = corpus {
            stamp["corpus"] = corpus.into();
        }
        stamp
    }

    fn figure(mean: f64) -> Value {
        json!({ "mean": mean, "deviation": 0.01 })
    }

    fn report(folders: &[&tempfile::TempDir]) -> Report {
        let runs: Vec<Run> =
            folders.iter().map(|folder| Run::read(folder.path()).unwrap()).collect();
        fill(&runs)
    }

    #[test]
    fn every_published_row_fits_its_columns() {
        for table in &TABLES {
            assert!(table.rows.iter().all(|(_, figures)| figures.len() == table.columns.len()));
        }
        // The overall figures are the means of the emotions'.
        for (system, figures) in TABLES[1].rows.iter().chain(TABLES[2].rows) {
            for measure in 0..2 {
                let mean = (0..6).map(|emotion| figures[2 * emotion + measure]).sum::<f64>() / 6.0;
                assert!((mean - figures[12 + measure]).abs() < 0.12, "{system}: {mean}");
            }
        }
    }

    #[test]
    fn a_run_on_ravdess_stands_in_the_first_table_alone() {
        let results = json!({
            "mpuc": figure(0.7), "single": { "voice": figure(0.5) }, "protocol": stamp(Some("ravdess"), "by_group"),
        });
        let folder = folder("paper", &["data.path=somewhere", "arms=[single, mpuc]"], results);
        let report = report(&[&folder]);
        let own: Vec<&Row> = report.tables[0].rows.iter().filter(|row| row.run.is_some()).collect();
        assert_eq!(own.len(), 2);
        assert_eq!(own[0].system, "MPUC's audio alone, frozen");
        assert_eq!(own[1].system, "MPUC: face images, landmarks, audio");
        assert!((own[1].cells[0].unwrap().mean - 70.0).abs() < 1e-9 && own[1].cells[1].is_none());
        assert!(report.tables[1..].iter().all(|t| t.rows.iter().all(|row| row.run.is_none())));
        assert!(report.tables[1].rows.last().unwrap().cells.iter().all(Option::is_none));
        assert_eq!(report.runs[0].left_out, None);
    }

    #[test]
    fn synthetic_worlds_songs_and_runs_of_unknown_origin_have_no_cell() {
        let with = |set: &[&str], corpus: Option<&str>| {
            folder(
                "paper",
                set,
                json!({ "mpuc": figure(0.9), "protocol": stamp(corpus, "stratified") }),
            )
        };
        let folders = [
            with(&[], Some("synthetic world")),
            with(&["data.path=x"], None),
            with(&["data.path=x", "data.vocal=song"], Some("ravdess")),
        ];
        let report = report(&folders.iter().collect::<Vec<_>>());
        assert!(report.tables.iter().all(|t| t.rows.iter().all(|row| row.run.is_none())));
        assert!(report.runs.iter().all(|run| run.left_out.is_some()));
    }

    #[test]
    fn runs_on_mosei_fill_the_other_tables() {
        let emotion = |name: &str, mean: f64| {
            json!({
                "name": name, "positives": 3, "weighted_accuracy": figure(mean), "f1_weighted": figure(mean / 2.0),
                "f1_binary": figure(0.1),
            })
        };
        let results = json!({
            "weighted_accuracy": figure(0.6), "f1_weighted": figure(0.65),
            "emotions": [emotion("sad", 0.5), emotion("happy", 0.8)],
            "protocol": stamp(Some("mosei"), "by_group"),
        });
        let folder = folder("paper", &["data.path=x"], results);
        let report = report(&[&folder]);
        let own =
            |table: usize| report.tables[table].rows.iter().find(|row| row.run == Some(1)).unwrap();
        let mean = |cell: &Option<Percent>| cell.map(|figure| figure.mean.round());
        let cells: Vec<_> = own(1).cells.iter().map(mean).collect();
        assert_eq!(cells[..4], [Some(80.0), Some(40.0), Some(50.0), Some(25.0)]);
        assert_eq!((cells[4], cells[12], cells[13]), (None, Some(60.0), Some(65.0)));
        assert_eq!(own(3).cells.iter().map(mean).collect::<Vec<_>>(), [Some(60.0), Some(65.0)]);
    }
}
