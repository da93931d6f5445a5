//! `mpuc study all --into FILE`: every built-in study that has a section in a document.

use super::{RUNS, document, report};
use crate::Context;
use crate::cli::StudyArgs;
use crate::config::Study;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use crate::signals::Stop;
use indexmap::IndexMap;
use std::path::Path;

/// The word in place of a study's name.
pub const NAME: &str = "all";

/// Runs the studies one after another; a study that fails does not keep the next ones from running. Prints all reports.
///
/// # Errors
/// When no document is named, or it has no section of a built-in study; when a stop was requested; at the end, the first
/// failure of a study.
pub fn run(args: &StudyArgs, context: &Context, stop: &Stop) -> Result<()> {
    let Some(path) = &args.into else {
        let what =
            "`mpuc study all` needs --into FILE, the document whose sections name the studies";
        return Err(Failure::new(Kind::Usage, what).hint("e.g. mpuc study all --into README.md"));
    };
    let (known, others): (Vec<String>, Vec<String>) = document::studies(path)?
        .into_iter()
        .partition(|name| Study::built_in().any(|known| known == name));
    for name in others {
        context.progress.warn(format_args!(
            "{}: the section of `{name}` is left as it is: there is no such built-in study; name its file in a command of its own",
            path.display()
        ));
    }
    if known.is_empty() {
        let what = format!("{}: has no section of a built-in study", path.display());
        let names: Vec<&str> = Study::built_in().collect();
        return Err(Failure::new(Kind::BadData, what).hint(format!(
            "add the lines `<!-- study NAME -->` and `<!-- end of study -->`; the studies are {}",
            names.join(", ")
        )));
    }
    let runs = args.out.as_deref().unwrap_or(Path::new(RUNS));
    let (mut reports, mut failed) = (IndexMap::new(), None);
    for name in known {
        context.progress.line(format_args!("study {name}"));
        let folder = runs.join(format!("study-{name}"));
        match report(args, Path::new(&name), Some(&folder), context, stop) {
            Ok(reported) => reports.extend(reported.map(|reported| (name, reported))),
            Err(failure) => {
                let failure = failure.context(format_args!("study {name}"));
                if stop.asked().is_some() {
                    return Err(failure);
                }
                context.progress.warn(format_args!("{failure}"));
                failed.get_or_insert(failure);
            }
        }
    }
    if args.json {
        let reports: IndexMap<&String, _> =
            reports.iter().map(|(name, (r, _))| (name, r)).collect();
        output::json(&reports)?;
    } else {
        for (report, folder) in reports.values() {
            match args.markdown {
                true => output::text_lines(report.markdown())?,
                false => output::text_lines(format_args!("{report}\n{}", folder.display()))?,
            }
        }
    }
    failed.map_or(Ok(()), Err)
}
