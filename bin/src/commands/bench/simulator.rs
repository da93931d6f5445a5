//! `mpuc bench sim`: how fast the simulated GPU is.

use crate::Context;
use crate::cli::BenchSimArgs;
use crate::failure::Result;
use crate::output;
use kernels::gpu::{Device, Forward, GpuOp, Simulation, Simulator};
use kernels::{Shape, ops::Linear};
use serde::Serialize;
use std::time::Instant;

/// The side of the square matrices.
const SIDE: usize = 192;

/// One case of the report.
#[derive(Debug, Serialize)]
struct Row {
    case: &'static str,
    threads: usize,
    median_s: f64,
    repeats: usize,
    /// Instructions of single threads in one repeat.
    thread_instructions: u64,
    thread_instructions_per_s: f64,
}

/// Runs the command.
///
/// # Errors
/// When the kernel cannot run.
pub fn run(args: &BenchSimArgs, context: &Context) -> Result<()> {
    let cases = [
        ("sgemm192/checked", Simulation::CHECKED, 1),
        ("sgemm192/fast", Simulation::FAST, rayon::current_num_threads()),
    ];
    let mut rows = Vec::new();
    for (case, simulation, threads) in cases {
        if let Some(reason) = context.stop.asked() {
            return Err(reason.saved("stopped"));
        }
        rows.push(measure(case, simulation, threads, usize::from(args.repeats))?);
    }
    if args.json {
        return output::json(
            &serde_json::json!({ "results": rows, "version": env!("CARGO_PKG_VERSION") }),
        );
    }
    let cells = |row: &Row| {
        vec![
            row.case.to_owned(),
            row.threads.to_string(),
            format!("{:.1}", 1e3 * row.median_s),
            row.repeats.to_string(),
            format!("{:.0}", row.thread_instructions_per_s / 1e6),
        ]
    };
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output::text_lines(output::table(
        &["case", "threads", "median ms", "repeats", "M thread-instructions/s"],
        &cells,
    ))
}

/// Multiplies two matrices with the kernel of a linear layer.
fn measure(
    case: &'static str,
    simulation: Simulation,
    threads: usize,
    repeats: usize,
) -> Result<Row> {
    let simulator = Simulator::new(simulation);
    let device = Device::new(Box::new(simulator.clone()));
    let numbers: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 17) as f32).collect();
    let (x, weight) = (device.upload(&numbers)?, device.upload(&numbers)?);
    let output = device.allocate(4 * SIDE * SIDE)?;
    let shapes = [Shape::new(&[SIDE, SIDE]), Shape::new(&[SIDE, SIDE])];
    let multiply = || -> Result<f64> {
        let begin = Instant::now();
        let call = Forward {
            shapes: &shapes,
            inputs: &[x.pointer(), weight.pointer()],
            index_shapes: &[],
            indices: &[],
            output: output.pointer(),
            saved: &[],
        };
        Linear { bias: false, relu: false }.forward_gpu(&device, call)?;
        Ok(begin.elapsed().as_secs_f64())
    };
    // The first one loads the program.
    multiply()?;
    let count = || simulator.counters().values().map(|c| c.total.thread_instructions).sum::<u64>();
    let before = count();
    let mut times = (0..repeats).map(|_| multiply()).collect::<Result<Vec<f64>>>()?;
    let thread_instructions = (count() - before) / repeats as u64;
    times.sort_by(f64::total_cmp);
    let median_s = super::median(&times);
    let thread_instructions_per_s = thread_instructions as f64 / median_s;
    Ok(Row { case, threads, median_s, repeats, thread_instructions, thread_instructions_per_s })
}
