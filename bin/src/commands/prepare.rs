//! `mpuc data prepare`: decodes the features of a configuration into the cache.

use crate::Context;
use crate::cli::PrepareArgs;
use crate::experiment::{Decoded, decode};
use crate::failure::Result;
use crate::output;
use crate::progress::seconds;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, Serialize)]
struct Report {
    #[serde(serialize_with = "crate::output::path")]
    path: PathBuf,
    samples: usize,
    features: usize,
    /// The number of features decoded now; the others were in the cache.
    computed: usize,
    skipped: usize,
    warnings: usize,
    seconds: f64,
    /// Samples per second, with all modalities.
    clips_per_second: f64,
}

/// Runs `mpuc data prepare`.
///
/// # Errors
/// When the configuration or a file is not valid.
pub fn run(args: &PrepareArgs, context: &Context) -> Result<()> {
    let resolved = args.config.resolve(Vec::new())?;
    let Decoded { root, corpus, prepared, seconds: time, .. } =
        decode(&resolved.config, &context.progress, &context.stop)?;
    let present = corpus.samples.iter().flat_map(|sample| &sample.files).flatten().count();
    let report = Report {
        path: root,
        samples: corpus.samples.len(),
        features: present - prepared.skipped.len(),
        computed: prepared.computed,
        skipped: prepared.skipped.len(),
        warnings: prepared.warnings.len(),
        seconds: time,
        clips_per_second: corpus.samples.len() as f64 / time.max(1e-9),
    };
    if args.json {
        return output::json(&report);
    }
    output::text_lines(format_args!(
        "{}: {} features of {} clips, {} of them decoded now, {} left out, in {} ({:.1} clips/s)",
        report.path.display(),
        report.features,
        report.samples,
        report.computed,
        report.skipped,
        seconds(report.seconds),
        report.clips_per_second
    ))
}
