//! `mpuc bench`: times of single operations, networks, reading of data, and the simulated GPU.
//!
//! A bench is a list of [`case::Case`]s. Measurement, output and the comparison with an earlier report are shared.

mod baseline;
mod case;
mod convolutions;
mod files;
mod measure;
mod memory;
mod modelled;
mod networks;
mod on_gpu;
mod one_op;
mod operations;
mod report;
mod simulator;
mod sweep;

use crate::Context;
use crate::cli::{BenchArgs, BenchDataArgs, BenchModelArgs, BenchOpsArgs, BenchSimArgs};
use crate::device::Choice;
use crate::failure::{Failure, Kind, Result};
use crate::output;
use baseline::Baseline;
use case::Case;
use kernels::cpu::probe::Peak;
use measure::Measure;
use report::Report;

pub(in crate::commands) use modelled::{
    op as run_op, optimisers as run_optimisers, step as run_step,
};

/// Runs `mpuc bench ops`.
///
/// # Errors
/// As [`measure_all`].
pub fn ops(args: &BenchOpsArgs, context: &Context) -> Result<()> {
    at_least("--batch", &args.batch, 1)?;
    at_least("--frames", &args.frames, 1)?;
    if args.sweep {
        return measure_all(sweep::cases(), args.device, &args.bench, context);
    }
    let mut cases = operations::cases();
    cases.extend(convolutions::cases(&args.batch, &args.frames));
    measure_all(cases, args.device, &args.bench, context)
}

/// Runs `mpuc bench model`.
///
/// # Errors
/// As [`measure_all`].
pub fn model(args: &BenchModelArgs, context: &Context) -> Result<()> {
    // InfoNCE needs at least 2 samples.
    at_least("--batch", &args.batch, 2)?;
    at_least("--frames", &args.frames, 1)?;
    let cases = networks::cases(&args.batch, &args.frames);
    measure_all(cases, args.device, &args.bench, context)
}

/// Runs `mpuc bench data`.
///
/// # Errors
/// As [`measure_all`].
pub fn data(args: &BenchDataArgs, context: &Context) -> Result<()> {
    measure_all(files::cases(), Choice::Cpu, &args.bench, context)
}

/// Runs `mpuc bench sim`.
///
/// # Errors
/// As [`measure_all`].
pub fn simulator(args: &BenchSimArgs, context: &Context) -> Result<()> {
    measure_all(simulator::cases(), Choice::Cpu, &args.bench, context)
}

fn at_least(flag: &str, values: &[usize], least: usize) -> Result<()> {
    if values.iter().all(|&value| value >= least) {
        return Ok(());
    }
    Err(Failure::new(Kind::Usage, format!("{flag}: give at least {least}")))
}

/// Measures the selected cases and prints the report.
///
/// # Errors
/// Exit code 2 when no case begins with a given name, 5 when a case is slower than the baseline allows, and any error
/// of a case.
fn measure_all(
    cases: Vec<Case>,
    device: Choice,
    args: &BenchArgs,
    context: &Context,
) -> Result<()> {
    let cases = case::choose(cases, &args.only)?;
    if args.list {
        return cases.iter().try_for_each(|case| output::text_lines(&case.name));
    }
    let baseline = args.baseline.as_deref().map(Baseline::read).transpose()?;
    let device = device.open(&context.progress)?;
    // The peak is that of the CPU.
    let peak = device.gpu().is_none().then(Peak::measure);
    let measure = Measure {
        device: &device,
        repeats: args.repeats,
        peak,
        stop: &context.stop,
        kernels: args.kernels,
    };
    let task = context.progress.task("bench", cases.len() as u64);
    let mut results = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        task.tick(number as u64, &case.name);
        let row = measure.case(case)?;
        context.progress.line(row.line());
        results.push(row);
    }
    drop(task);
    let peak = peak.map(|peak| peak.better(Peak::measure()));
    for row in &mut results {
        if let Some(peak) = &peak {
            row.hold_against(peak);
        }
    }
    let rate = |of: fn(&Peak) -> f64| peak.as_ref().map(|peak| of(peak) / 1e9);
    let mut report = Report {
        device: device.to_string(),
        threads: rayon::current_num_threads(),
        instructions: format!("{:?}", kernels::cpu::simd::level()).to_lowercase(),
        version: env!("CARGO_PKG_VERSION"),
        peak_gflops_per_s: rate(|peak| peak.flops),
        peak_read_gb_per_s: rate(|peak| peak.read),
        peak_copy_gb_per_s: rate(|peak| peak.copy),
        results,
    };
    if let Some(baseline) = &baseline {
        baseline.compare(&mut report, &args.only, &context.progress);
    }
    report.print(&args.format)?;
    match (&baseline, args.fail_above) {
        (Some(baseline), Some(limit)) => baseline.judge(&report, limit),
        _ => Ok(()),
    }
}
