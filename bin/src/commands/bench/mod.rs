//! `mpuc bench`: how long the networks take, and how fast the simulated GPU is.

mod cases;
mod networks;
pub mod simulator;

use crate::Context;
use crate::cli::BenchModelArgs;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use crate::signals::Stop;
use cases::{Case, Phase};
use engine::{Device, pool};
use networks::Network;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Steps before the clock runs: the pool, the caches and the branch predictor are warm then.
const WARM_UP: usize = 2;

/// One case of the report.
#[derive(Debug, Clone, Serialize)]
struct Row {
    case: String,
    median_s: f64,
    min_s: f64,
    repeats: usize,
    batch: usize,
    parameters: usize,
    /// Floating point operations of one repeat, as the ops count them.
    flops: f64,
    gflops_per_s: f64,
    /// Buffers got from the operating system or the driver in all repeats together; should be 0.
    fresh_allocations: u64,
    /// The median of the time that a GPU worked; the others are of the whole program's.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_s: Option<f64>,
}

/// Runs `mpuc bench model`.
///
/// # Errors
/// 2 when no case begins with the names asked for.
pub fn run(args: &BenchModelArgs, context: &Context) -> Result<()> {
    let cases = wanted(args)?;
    if args.list {
        return cases.iter().flat_map(|case| &case.names).try_for_each(output::text_lines);
    }
    let device = args.device.open(&context.progress)?;
    let task = context.progress.task("bench", cases.len() as u64);
    let mut rows: Vec<Row> = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        task.tick(number as u64, &case.names[0]);
        let row = measure(case, args.repeats, &device, &context.stop)?;
        context.progress.line(format_args!(
            "{}: {:.1} ms, {:.1} GFLOP/s",
            case.names.join(", "),
            1e3 * row.median_s,
            row.gflops_per_s
        ));
        rows.extend(case.names.iter().map(|name| Row { case: name.clone(), ..row.clone() }));
    }
    drop(task);
    let (threads, level) = (rayon::current_num_threads(), kernels::cpu::simd::level());
    let instructions = format!("{level:?}").to_lowercase();
    if args.json {
        let report = serde_json::json!({
            "device": device.to_string(), "results": rows, "threads": threads, "instructions": instructions, "version": env!("CARGO_PKG_VERSION"),
        });
        return output::json(&report);
    }
    let cells = |row: &Row| {
        vec![
            row.case.clone(),
            format!("{:.3}", 1e3 * row.median_s),
            format!("{:.3}", 1e3 * row.min_s),
            row.repeats.to_string(),
            format!("{:.1}", row.gflops_per_s),
            row.fresh_allocations.to_string(),
        ]
    };
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output::text_lines(output::table(
        &["case", "median ms", "min ms", "repeats", "GFLOP/s", "fresh"],
        &cells,
    ))?;
    output::text_lines(format_args!("{device}, {threads} threads, {instructions}"))
}

fn wanted(args: &BenchModelArgs) -> Result<Vec<Case>> {
    if args.batch.is_some_and(|batch| batch < 2) {
        return Err(Failure::new(Kind::Usage, "--batch: the contrastive loss needs at least 2"));
    }
    if args.repeats == Some(0) {
        return Err(Failure::new(Kind::Usage, "--repeats: at least 1 is needed"));
    }
    let all = cases::all(args.batch);
    // Whole parts of a name: `voice/fwd` is not `voice/fwd+bwd`.
    let begins = |name: &String, start: &String| {
        name.strip_prefix(start.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let asked =
        |name: &String| args.only.is_empty() || args.only.iter().any(|start| begins(name, start));
    let chosen: Vec<Case> = all.iter().filter_map(|case| case.only(&asked)).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let names: Vec<&str> = all.iter().flat_map(|case| &case.names).map(String::as_str).collect();
    Err(Failure::new(Kind::Usage, format!("no case begins with {}", args.only.join(" or ")))
        .hint(format!("there are {}", names.join(", "))))
}

fn measure(case: &Case, repeats: Option<usize>, device: &Device, stop: &Stop) -> Result<Row> {
    // What the case before left in the pool would hide what this one allocates.
    pool::trim();
    if let Some(gpu) = device.gpu() {
        gpu.trim();
    }
    let fresh = || pool::statistics().fresh + device.gpu().map_or(0, |gpu| gpu.statistics().fresh);
    let mut network = Network::new(case.subject, case.batch, device)?;
    let (first, cost) = engine::work::count(|| network.run(case.phase));
    first?;
    for _ in 1..WARM_UP {
        network.run(case.phase)?;
    }
    let before = fresh();
    let (mut times, mut device_times) = (Vec::new(), Vec::new());
    let (least, most, budget) = match repeats {
        Some(repeats) => (repeats, repeats, Duration::ZERO),
        None if case.subject.is_slow() => (3, 200, Duration::from_secs(6)),
        None => (5, 200, Duration::from_secs(3)),
    };
    let begin = Instant::now();
    while times.len() < least || (times.len() < most && begin.elapsed() < budget) {
        if let Some(reason) = stop.asked() {
            return Err(Failure::new(
                reason.saved("").kind(),
                format!("stopped at {}", case.names[0]),
            ));
        }
        let start = Instant::now();
        let from = device.gpu().map(|gpu| gpu.driver().mark()).transpose()?;
        network.run(case.phase)?;
        if let (Some(gpu), Some(from)) = (device.gpu(), from) {
            let to = gpu.driver().mark()?;
            device_times.push(gpu.driver().seconds(from, to)?);
        }
        times.push(start.elapsed().as_secs_f64());
    }
    let fresh_allocations = fresh() - before;
    times.sort_by(f64::total_cmp);
    device_times.sort_by(f64::total_cmp);
    let median_s = median(&times);
    let backward = if case.phase == Phase::Forward { 0.0 } else { cost.backward_flops };
    let flops = cost.forward_flops + backward;
    Ok(Row {
        case: case.names[0].clone(),
        median_s,
        min_s: times[0],
        repeats: times.len(),
        batch: case.batch,
        parameters: network.parameters(),
        flops,
        gflops_per_s: flops / median_s / 1e9,
        fresh_allocations,
        device_s: (!device_times.is_empty()).then(|| median(&device_times)),
    })
}

/// The middle of sorted numbers.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { 0.5 * (sorted[middle - 1] + sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Choice;

    fn args(only: &[&str], batch: Option<usize>) -> BenchModelArgs {
        let only = only.iter().map(|name| (*name).to_owned()).collect();
        BenchModelArgs {
            device: Choice::Cpu,
            only,
            batch,
            repeats: Some(1),
            list: false,
            json: true,
        }
    }

    #[test]
    fn cases_are_chosen_by_their_beginning() -> Result<()> {
        assert_eq!(wanted(&args(&["mpuc"], None))?[0].names, ["mpuc/step/b8"]);
        assert_eq!(wanted(&args(&["text/b32/step"], None))?.len(), 1);
        let face = wanted(&args(&["face-t10/b8/step"], None))?;
        assert_eq!(face[0].names, ["face-t10/b8/step"]);
        assert_eq!(wanted(&args(&["face/step"], Some(4)))?[0].names, ["face/step/b4"]);
        assert_eq!(wanted(&args(&["nose"], None)).unwrap_err().code(), 2);
        assert_eq!(wanted(&args(&[], Some(1))).unwrap_err().code(), 2);
        Ok(())
    }

    #[test]
    fn medians() {
        assert_eq!((median(&[1.0, 2.0, 9.0]), median(&[1.0, 2.0, 4.0, 9.0])), (2.0, 3.0));
    }

    /// Small enough for a test: the voice network learns, and needs no fresh memory once it is warm.
    #[test]
    fn a_warm_step_allocates_nothing() -> Result<()> {
        let case = &wanted(&args(&["voice/step"], Some(2)))?[0];
        let row = measure(case, Some(2), &Device::Cpu, &Stop::default())?;
        assert!(row.median_s > 0.0 && row.gflops_per_s > 0.0 && row.repeats == 2, "{row:?}");
        assert!(
            row.flops > 3.0 * 2.0 * 2.0 * 22e6 * 0.9,
            "a TCN on 128 x 80 is 22 million multiply-adds: {row:?}"
        );
        Ok(())
    }
}
