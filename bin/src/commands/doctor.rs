//! `mpuc doctor`: what this machine has, which devices work, and how to add what is missing.

use crate::cli::DoctorArgs;
use crate::failure::Result;
use crate::output;
use kernels::gpu;
use serde::Serialize;

/// The findings on this machine.
#[derive(Debug, Serialize)]
struct Findings {
    version: &'static str,
    threads: usize,
    instructions: String,
    driver: Found,
    devices: Vec<Found>,
    nvrtc: Found,
    kernels: Found,
    /// Which choices of `--device` work on this machine.
    works: Works,
}

/// A component that works, or the reason why it does not.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Found {
    There { found: String },
    Missing { missing: String },
}

#[derive(Debug, Serialize)]
struct Works {
    cpu: bool,
    sim: bool,
    cuda: bool,
}

impl Found {
    fn new(result: std::result::Result<String, String>) -> Self {
        match result {
            Ok(found) => Found::There { found },
            Err(missing) => Found::Missing { missing },
        }
    }

    fn is_there(&self) -> bool {
        matches!(self, Found::There { .. })
    }

    fn line(&self) -> String {
        match self {
            Found::There { found } => format!("ok       {found}"),
            Found::Missing { missing } => format!("no       {missing}"),
        }
    }
}

/// Runs `mpuc doctor`.
///
/// # Errors
/// When standard output cannot be written; a missing component is not an error.
pub fn run(args: &DoctorArgs) -> Result<()> {
    let findings = look();
    if args.json {
        return output::json(&findings);
    }
    let mut lines = vec![
        format!("mpuc {}", findings.version),
        format!("cpu      {} threads, {}", findings.threads, findings.instructions),
        format!("driver   {}", findings.driver.line()),
    ];
    for (number, device) in findings.devices.iter().enumerate() {
        lines.push(format!("cuda:{number}   {}", device.line()));
    }
    lines.push(format!("nvrtc    {}", findings.nvrtc.line()));
    lines.push(format!("kernels  {}", findings.kernels.line()));
    let works = |works: bool| if works { "works" } else { "does not work here" };
    lines.push(String::new());
    lines.push(format!("--device cpu   {}", works(findings.works.cpu)));
    lines.push(format!("--device sim   {}", works(findings.works.sim)));
    lines.push(format!("--device cuda  {}", works(findings.works.cuda)));
    output::text_lines(lines.join("\n"))
}

fn look() -> Findings {
    let doctor = gpu::doctor();
    let text = |error: gpu::Error| error.to_string();
    let driver = doctor.driver.map(|(major, minor)| format!("CUDA {major}.{minor}")).map_err(text);
    let describe = |device: gpu::Result<gpu::Description>| {
        let describe = |d: gpu::Description| {
            let ((major, minor), memory) = (d.capability, d.memory >> 30);
            let plain = |why| format!("; memory without the driver's pools: {why}");
            let pool = d.without_pool.map_or_else(String::new, plain);
            format!(
                "{}, compute capability {major}.{minor}, {} multiprocessors, {memory} GiB{pool}",
                d.name, d.multiprocessors
            )
        };
        Found::new(device.map(describe).map_err(text))
    };
    let devices: Vec<Found> = doctor.devices.into_iter().map(describe).collect();
    let nvrtc =
        doctor.nvrtc.map(|((major, minor), path)| format!("{major}.{minor} at {}", path.display()));
    let nvrtc = Found::new(nvrtc.map_err(text));
    let programs = gpu::programs();
    let stale: Vec<&str> =
        programs.iter().filter(|p| p.committed().is_none()).map(|p| p.name).collect();
    let kernels = if stale.is_empty() {
        Ok(format!("the committed PTX of all {} programs matches their sources", programs.len()))
    } else {
        Err(format!(
            "the committed PTX of {} does not match the source; run `mpuc kernels compile --commit`",
            stale.join(", ")
        ))
    };
    let kernels = Found::new(kernels);
    let runnable = kernels.is_there() || nvrtc.is_there();
    Findings {
        version: env!("CARGO_PKG_VERSION"),
        threads: rayon::current_num_threads(),
        instructions: format!("{:?}", kernels::cpu::simd::level()).to_lowercase(),
        works: Works {
            cpu: true,
            sim: runnable,
            cuda: runnable && devices.iter().any(Found::is_there),
        },
        driver: Found::new(driver),
        devices,
        nvrtc,
        kernels,
    }
}
