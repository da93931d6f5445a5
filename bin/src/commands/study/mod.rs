//! `mpuc study`: runs the cells of a study and prints its tables.

mod document;
mod every;
mod jobs;

use crate::Context;
use crate::cli::StudyArgs;
use crate::config::Study;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use crate::signals::Stop;
use crate::study::{Job, Runner, StudyReport, finished};
use engine::checkpoint::write_whole;
use std::path::{Path, PathBuf};

/// The folder of studies without `--out`.
const RUNS: &str = "runs";

/// A study's report, and its folder.
type Reported = (StudyReport, PathBuf);

/// Runs `mpuc study`.
///
/// # Errors
/// When the study, a configuration, the data or training fails, or the study was stopped.
pub fn run(args: &StudyArgs, context: &Context) -> Result<()> {
    let stop = context.stop.clone().within(args.max_time);
    if args.study == Path::new(every::NAME) && !args.study.is_file() {
        return every::run(args, context, &stop);
    }
    let Some((report, folder)) = report(args, &args.study, args.out.as_deref(), context, &stop)?
    else {
        return Ok(());
    };
    match () {
        () if args.json => output::json(&report),
        () if args.markdown => output::text_lines(report.markdown()),
        () => output::text_lines(format_args!("{report}\n{}", folder.display())),
    }
}

/// Runs what is not finished of a study, and writes its reports and its tables in the document. `None` for a job without
/// cells.
///
/// # Errors
/// As [`run`].
fn report(
    args: &StudyArgs,
    name: &Path,
    folder: Option<&Path>,
    context: &Context,
    stop: &Stop,
) -> Result<Option<Reported>> {
    let mut study = Study::read(name, &args.set)?;
    let here = std::env::current_dir().unwrap_or_default();
    for cell in &mut study.cells {
        cell.resolved = cell.resolved.clone().located(&here);
    }
    let folder = match folder {
        Some(folder) => folder.to_owned(),
        None => Path::new(RUNS).join(format!("study-{}", study.name)),
    };
    if !args.print {
        if args.jobs > 1 {
            jobs::run(args, name, &study, &folder, context, stop)?;
        } else {
            let device = args.device.open(&context.progress)?;
            let runner = Runner {
                study: &study,
                folder: &folder,
                device: &device,
                progress: &context.progress,
                stop,
                fresh: args.fresh,
            };
            runner.run(args.job.unwrap_or(Job::ALL))?;
        }
    }
    let results = finished(&folder, &study)?;
    let Some(report) = StudyReport::new(&study, &results)? else {
        // More jobs than cells: this one had nothing to do.
        if args.job.is_some() {
            return Ok(None);
        }
        let what = format!("{}: no cell of the study is finished", folder.display());
        return Err(Failure::new(Kind::TryAgain, what).hint("run `mpuc study` without --print"));
    };
    let [done, all] = report.cells;
    write_reports(&folder, &report)?;
    if let Some(path) = &args.into {
        if done < all {
            let what = format!("{done} of {all} cells of the study are finished");
            return Err(Failure::new(Kind::TryAgain, what)
                .hint(format!("finish it before its tables are written into {}", path.display())));
        }
        for moved in document::write(path, &report.sections())? {
            context.progress.warn(format_args!("moved: {moved}"));
        }
    }
    Ok(Some((report, folder)))
}

fn write_reports(folder: &Path, report: &StudyReport) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(report).map_err(output::no_json)?;
    json.push(b'\n');
    let mut files: Vec<(PathBuf, Vec<u8>)> = vec![
        (folder.join("study.json"), json),
        (folder.join("study.md"), (report.markdown() + "\n").into_bytes()),
        (folder.join("study.html"), report.page()?.into_bytes()),
    ];
    for (name, plot) in report.plots() {
        files.push((folder.join(format!("{name}.svg")), plot.svg()?.into_bytes()));
        files.push((folder.join(format!("{name}.png")), plot.png()?));
    }
    for (path, bytes) in files {
        write_whole(&path, &bytes)?;
    }
    Ok(())
}
