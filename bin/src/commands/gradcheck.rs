//! `mpuc gradcheck`: every operation against central differences, or its CUDA kernels against the CPU.

use crate::Context;
use crate::cli::GradcheckArgs;
use crate::device::Choice;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use crate::panics::catching;
use engine::Device;
use kernels::check::{Report, check};
use kernels::op::Compiled;
use kernels::ops::{Visitor, visit};
use rayon::prelude::*;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// The checks of every op, by name.
#[derive(Default)]
struct Checks(Vec<Check>);

/// An op's name, and its check on the CPU or a GPU with a number of random cases and a seed.
type Check = (&'static str, fn(&Device, u32, u64) -> Report);

impl Visitor for Checks {
    fn visit<O: Compiled>(&mut self) {
        self.0.push((O::NAME, |device, cases, seed| match device.gpu() {
            None => check::<O>(cases, seed),
            Some(gpu) => kernels::gpu::check::check::<O>(gpu, cases, seed),
        }));
    }
}

/// One op of the report.
#[derive(Debug, Serialize)]
struct Row {
    op: &'static str,
    cases: usize,
    worst_relative_error: f64,
    findings: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reproduce: Option<String>,
    #[serde(skip)]
    worst: String,
}

impl Row {
    fn new(
        op: &'static str,
        outcome: std::result::Result<Report, String>,
        args: &GradcheckArgs,
    ) -> Self {
        let (report, passed) = match outcome {
            Ok(report) => {
                let passed = report.passed();
                (report, passed)
            }
            Err(panic) => {
                let findings = vec![format!("panicked: {panic}")];
                (Report { op, findings, ..Report::default() }, false)
            }
        };
        let mut details = report.findings;
        if !passed && details.is_empty() {
            details.push(format!(
                "worst relative error {:e} at {}",
                report.worst_relative_error, report.worst
            ));
        }
        let (device, cases, seed) = (args.device, args.cases, args.seed);
        let line =
            format!("mpuc gradcheck --device {device} --op {op} --cases {cases} --seed {seed}");
        Row {
            op,
            cases: report.cases,
            worst_relative_error: report.worst_relative_error,
            findings: details.len(),
            reproduce: (!passed).then_some(line),
            details,
            worst: report.worst,
        }
    }
}

/// Runs `mpuc gradcheck`.
///
/// # Errors
/// Exit code 4 when an op fails, 2 when an op does not exist.
pub fn run(args: &GradcheckArgs, context: &Context) -> Result<()> {
    let mut checks = Checks::default();
    visit(&mut checks);
    let checks = wanted(checks.0, &args.op)?;
    let device = args.device.open(&context.progress)?;
    let task = context.progress.task("gradcheck", checks.len() as u64);
    let done = AtomicU64::new(0);
    let rows: Vec<Row> = checks
        .into_par_iter()
        // One op for each task, since their times differ much.
        .with_max_len(1)
        .map(|(op, check)| {
            // A simulated GPU for each op, so that they run in parallel.
            let own = match args.device {
                Choice::Sim { .. } => args.device.open(&context.progress),
                _ => Ok(device.clone()),
            };
            let outcome = own.map_err(|failure| failure.to_string());
            let outcome = outcome.and_then(|own| catching(|| check(&own, args.cases, args.seed)));
            task.tick(done.fetch_add(1, Ordering::Relaxed) + 1, op);
            Row::new(op, outcome, args)
        })
        .collect();
    drop(task);
    report(&rows, &device, args.json)?;
    let failed: Vec<&Row> = rows.iter().filter(|row| row.findings > 0).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = failed.iter().map(|row| row.op).collect();
    let lines: Vec<&str> = failed.iter().filter_map(|row| row.reproduce.as_deref()).collect();
    Err(Failure::new(
        Kind::CheckFailed,
        format!("{} of {} operations failed: {}", failed.len(), rows.len(), names.join(", ")),
    )
    .hint(format!("reproduce with\n  {}", lines.join("\n  "))))
}

fn wanted(checks: Vec<Check>, names: &[String]) -> Result<Vec<Check>> {
    let all: Vec<&str> = checks.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !all.contains(&name.as_str())) {
        return Err(Failure::new(Kind::Usage, format!("operation `{unknown}` does not exist"))
            .hint(format!("the operations are {}", all.join(", "))));
    }
    let asked = |check: &Check| names.is_empty() || names.iter().any(|name| name == check.0);
    Ok(checks.into_iter().filter(asked).collect())
}

fn report(rows: &[Row], device: &Device, json: bool) -> Result<()> {
    let tolerance = match device.gpu() {
        None => kernels::check::TOLERANCE,
        Some(_) => kernels::gpu::check::TOLERANCE,
    };
    if json {
        return output::json(&serde_json::json!({
            "device": device.to_string(), "ops": rows, "tolerance": tolerance,
        }));
    }
    let cells = |row: &Row| {
        let verdict = if row.findings == 0 { "ok" } else { "FAILED" };
        vec![
            row.op.into(),
            row.cases.to_string(),
            format!("{:.1e}", row.worst_relative_error),
            verdict.into(),
        ]
    };
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output::text_lines(output::table(&["operation", "cases", "worst error", ""], &cells))?;
    for row in rows.iter().filter(|row| row.findings > 0) {
        output::text_lines(format_args!("\n{}: worst at {}", row.op, row.worst))?;
        for detail in &row.details {
            output::text_lines(format_args!("  {detail}"))?;
        }
        if let Some(line) = &row.reproduce {
            output::text_lines(format_args!("  reproduce with: {line}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ops_are_chosen_by_name() {
        let mut checks = Checks::default();
        visit(&mut checks);
        assert!(checks.0.len() > 20);
        let first = checks.0[0].0;
        assert_eq!(
            wanted(checks.0.clone(), &[first.to_owned()]).map(|all| all.len()).ok(),
            Some(1)
        );
        assert_eq!(wanted(checks.0, &["conv9d".to_owned()]).map(|_| ()).unwrap_err().code(), 2);
    }

    #[test]
    fn failures_carry_a_line_that_reproduces_them() {
        let args = GradcheckArgs { device: Choice::Cpu, op: vec![], cases: 3, seed: 5, json: true };
        let row = Row::new("softmax", Err("index out of range".into()), &args);
        let value = serde_json::to_value(&row).unwrap();
        assert_eq!(
            (&value["findings"], &value["details"][0]),
            (&1.into(), &"panicked: index out of range".into())
        );
        assert_eq!(
            value["reproduce"],
            "mpuc gradcheck --device cpu --op softmax --cases 3 --seed 5"
        );
        let row = Row::new(
            "softmax",
            Ok(Report { worst_relative_error: 1.0, tolerance: 1e-6, ..Report::default() }),
            &args,
        );
        assert_eq!(row.findings, 1);
        let row = Row::new("softmax", Ok(Report { tolerance: 1e-6, ..Report::default() }), &args);
        assert!(row.findings == 0 && row.reproduce.is_none());
    }
}
