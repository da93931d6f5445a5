//! `mpuc kernels`: lists, compiles, disassembles, simulates and models the CUDA kernels, without a GPU.

mod model;

use crate::Context;
use crate::cli::{KernelsCompileArgs, KernelsListArgs, KernelsSassArgs, KernelsSimArgs};
use crate::failure::{Failure, Kind, Result};
use crate::output;
use kernels::gpu::{self, Counters, Device, Program, Resources, Simulation, Simulator, Target};
use kernels::op::Compiled;
use kernels::ops::{Visitor, visit};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

pub use model::model;

/// The compute capabilities in the budget.
const TARGETS: [(u32, u32); 3] = [(8, 0), (9, 0), (10, 0)];
/// Where the repository keeps PTX and budget.
const FOLDER: &str = "kernels/ptx";

/// Runs `mpuc kernels list`.
///
/// # Errors
/// Exit code 2 when the budget does not have this architecture.
pub fn list(args: &KernelsListArgs) -> Result<()> {
    let budget = gpu::budget();
    if !budget.iter().any(|needs| needs.target == args.arch) {
        let known = TARGETS.map(|(major, minor)| format!("sm_{major}{minor}")).join(", ");
        let what = format!("--arch {}: the budget does not have this architecture", args.arch);
        return Err(Failure::new(Kind::Usage, what).hint(format!("use one of {known}")));
    }
    let rows: Vec<(&str, &str, Option<&Resources>)> = gpu::programs()
        .into_iter()
        .flat_map(|program| program.kernels().into_iter().map(move |kernel| (program.name, kernel)))
        .map(|(program, kernel)| {
            (program, kernel, budget.iter().find(|b| b.kernel == kernel && b.target == args.arch))
        })
        .collect();
    if args.json {
        let row = |(program, kernel, needs): &(&str, &str, Option<&Resources>)| {
            serde_json::json!({
                "program": program, "kernel": kernel, "registers": needs.map(|n| n.registers),
                "spills": needs.map(|n| n.spills), "shared": needs.map(|n| n.shared),
            })
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        return output::json(&serde_json::json!({ "arch": args.arch, "kernels": rows }));
    }
    let cells = |(program, kernel, needs): &(&str, &str, Option<&Resources>)| {
        let number = |f: fn(&Resources) -> u32| needs.map_or("-".into(), |n| f(n).to_string());
        vec![
            (*kernel).to_owned(),
            (*program).to_owned(),
            number(|n| n.registers),
            number(|n| n.spills),
            number(|n| n.shared),
        ]
    };
    let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output::text_lines(output::table(
        &["kernel", "program", "registers", "spills", "shared"],
        &cells,
    ))
}

/// Runs `mpuc kernels compile`.
///
/// # Errors
/// Exit code 69 without NVRTC, 4 when a kernel exceeds its budget.
pub fn compile(args: &KernelsCompileArgs, context: &Context) -> Result<()> {
    let programs: Vec<&'static Program> = match &args.op[..] {
        [] => gpu::programs(),
        names => names.iter().map(|name| program(name)).collect::<Result<_>>()?,
    };
    gpu::nvrtc_version()?;
    let task = context.progress.task("compile", programs.len() as u64);
    let done = AtomicU64::new(0);
    let compiled: Vec<(String, Vec<Resources>)> = programs
        .par_iter()
        .with_max_len(1)
        .map(|program| {
            let ptx = gpu::compile(program, Target::Ptx)?;
            let ptx = program.to_commit(&String::from_utf8_lossy(&ptx));
            let mut needs = Vec::new();
            for target in TARGETS {
                needs.extend(gpu::resources(program, target)?);
            }
            task.tick(done.fetch_add(1, Ordering::Relaxed) + 1, program.name);
            Ok((ptx, needs))
        })
        .collect::<gpu::Result<_>>()?;
    drop(task);
    let needs: Vec<&Resources> = compiled.iter().flat_map(|(_, needs)| needs).collect();
    if args.commit {
        let all: Vec<Resources> = needs.into_iter().cloned().collect();
        return commit(&programs, &compiled, &all);
    }
    let budget = gpu::budget();
    let complaints: Vec<String> =
        needs.iter().filter_map(|needs| needs.complaint(&budget)).collect();
    if args.json {
        let row = |n: &&Resources| {
            serde_json::json!({
                "kernel": n.kernel, "target": n.target, "registers": n.registers, "spills": n.spills, "shared": n.shared,
            })
        };
        let rows: Vec<_> = needs.iter().map(row).collect();
        output::json(&serde_json::json!({ "kernels": rows, "over_budget": complaints }))?;
    } else {
        let cells = |n: &&Resources| {
            vec![
                n.kernel.clone(),
                n.target.clone(),
                n.registers.to_string(),
                n.spills.to_string(),
                n.shared.to_string(),
            ]
        };
        let cells: Vec<Vec<String>> = needs.iter().map(cells).collect();
        output::text_lines(output::table(
            &["kernel", "target", "registers", "spills", "shared"],
            &cells,
        ))?;
    }
    if complaints.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::CheckFailed, complaints.join("\n"))
        .hint("reduce the kernel's resources, or measure its speed and accept the new budget with `mpuc kernels compile --commit`"))
}

/// Writes PTX and budget into the repository.
fn commit(
    programs: &[&Program],
    compiled: &[(String, Vec<Resources>)],
    needs: &[Resources],
) -> Result<()> {
    let folder = Path::new(FOLDER);
    if !folder.is_dir() {
        return Err(not_the_repository());
    }
    let write = |path: PathBuf, text: &str| {
        std::fs::write(&path, text).map_err(|error| Failure::io("write", &path, &error))
    };
    for (program, (ptx, _)) in programs.iter().zip(compiled) {
        write(folder.join(format!("{}.ptx", program.name)), ptx)?;
    }
    write(folder.join("budget.csv"), &gpu::budget_of(needs))?;
    output::note(format_args!(
        "{} programs written to {FOLDER}; build again to include them",
        programs.len()
    ));
    Ok(())
}

/// The error of a command that writes into the repository, elsewhere.
fn not_the_repository() -> Failure {
    Failure::new(Kind::Usage, format!("the current folder has no {FOLDER}"))
        .hint("run this command in the repository's root")
}

/// The error of an operation that does not exist.
fn no_operation(name: &str) -> Failure {
    Failure::new(Kind::Usage, format!("operation `{name}` does not exist"))
        .hint("`mpuc kernels list` lists the operations")
}

/// Runs `mpuc kernels sass`.
///
/// # Errors
/// Exit code 69 without NVRTC or nvdisasm.
pub fn sass(args: &KernelsSassArgs) -> Result<()> {
    let program = program(&args.op)?;
    let digits = args
        .arch
        .strip_prefix("sm_")
        .and_then(|digits| digits.parse::<u32>().ok())
        .filter(|&n| n >= 80);
    let Some(number) = digits else {
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "--arch {}: is not an architecture; use for example sm_80, sm_90 or sm_100",
                args.arch
            ),
        ));
    };
    let image = gpu::compile(program, Target::Cubin(number / 10, number % 10))?;
    let Some(disassembler) = disassembler() else {
        return Err(Failure::new(
            Kind::NoDevice,
            "nvdisasm was not found in PATH or in a Python or CUDA folder",
        )
        .hint("`pip install nvidia-cuda-nvdisasm`, or add its folder to PATH"));
    };
    let file =
        std::env::temp_dir().join(format!("mpuc-{}-{}.cubin", program.name, std::process::id()));
    std::fs::write(&file, image).map_err(|error| Failure::io("write", &file, &error))?;
    let listing = std::process::Command::new(&disassembler).arg("-c").arg(&file).output();
    // The temporary file is not needed any more; a failure to remove it is harmless.
    let _ = std::fs::remove_file(&file);
    let listing = listing.map_err(|error| Failure::io("run", &disassembler, &error))?;
    if !listing.status.success() {
        let said = String::from_utf8_lossy(&listing.stderr).trim().to_owned();
        return Err(Failure::new(Kind::Other, format!("{}: {said}", disassembler.display())));
    }
    output::text_lines(String::from_utf8_lossy(&listing.stdout).trim_end())
}

/// The path of NVIDIA's disassembler: in PATH, or in the folder of NVRTC.
fn disassembler() -> Option<PathBuf> {
    let name = "nvdisasm";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = gpu::nvrtc_version()
        .ok()
        .and_then(|(_, nvrtc)| Some(nvrtc.parent()?.parent()?.join("bin")));
    std::env::split_paths(&path)
        .chain(beside)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Runs `mpuc kernels sim`.
///
/// # Errors
/// Exit code 4 when a case fails, 2 when there is no such operation.
pub fn simulate(args: &KernelsSimArgs) -> Result<()> {
    struct Run<'a>(&'a str, &'a Device, Option<kernels::check::Report>);
    impl Visitor for Run<'_> {
        fn visit<O: Compiled>(&mut self) {
            if O::NAME == self.0 {
                self.2 = Some(gpu::check::check::<O>(self.1, 0, 1));
            }
        }
    }
    let simulator = Simulator::new(Simulation::CHECKED);
    let device = Device::new(Box::new(simulator.clone()));
    let mut run = Run(&args.op, &device, None);
    visit(&mut run);
    let Some(report) = run.2 else {
        return Err(no_operation(&args.op));
    };
    let counters = simulator.counters();
    if args.json {
        let all: serde_json::Map<String, serde_json::Value> = counters
            .iter()
            .map(|(kernel, counters)| ((*kernel).to_owned(), as_json(counters)))
            .collect();
        output::json(&serde_json::json!({ "op": args.op, "kernels": all }))?;
    } else {
        for (kernel, counters) in &counters {
            output::text_lines(describe(kernel, counters, args.lines))?;
        }
    }
    if report.passed() {
        return Ok(());
    }
    Err(Failure::new(Kind::CheckFailed, report.findings.join("\n")))
}

fn as_json(counters: &Counters) -> serde_json::Value {
    let tally = |t: &gpu::Tally| {
        serde_json::json!({
            "warp_instructions": t.warp_instructions, "thread_instructions": t.thread_instructions,
            "active_share": t.active_share(), "global_sectors": t.global_sectors, "shared_wavefronts": t.shared_wavefronts,
        })
    };
    let lines: Vec<_> = counters
        .lines
        .iter()
        .map(|line| serde_json::json!({ "file": line.file, "line": line.line, "tally": tally(&line.tally) }))
        .collect();
    serde_json::json!({ "total": tally(&counters.total), "lines": lines })
}

fn describe(kernel: &str, counters: &Counters, most: usize) -> String {
    let cells = |place: String, t: &gpu::Tally| {
        vec![
            place,
            t.warp_instructions.to_string(),
            format!("{:.0} %", 100.0 * t.active_share()),
            t.global_sectors.to_string(),
            t.shared_wavefronts.to_string(),
        ]
    };
    let mut lines: Vec<_> = counters.lines.iter().collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.tally.warp_instructions));
    let mut rows = vec![cells(kernel.to_owned(), &counters.total)];
    rows.extend(
        lines
            .iter()
            .take(most)
            .map(|line| cells(format!("  {}:{}", line.file, line.line), &line.tally)),
    );
    output::table(&["", "warp instructions", "active", "sectors", "wavefronts"], &rows)
}

/// Finds a program by name.
fn program(name: &str) -> Result<&'static Program> {
    let all = gpu::programs();
    all.iter().find(|program| program.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|program| program.name).collect();
        Failure::new(Kind::Usage, format!("program `{name}` does not exist"))
            .hint(format!("the programs are {}", names.join(", ")))
    })
}
