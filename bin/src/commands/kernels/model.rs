//! `mpuc kernels model`: the modelled time of kernels on GPUs that need not be there.

use super::{FOLDER, no_operation, not_the_repository};
use crate::Context;
use crate::cli::KernelsModelArgs;
use crate::commands::bench::{run_op, run_optimisers, run_step};
use crate::failure::{Failure, Kind, Result};
use crate::output;
use engine::Device;
use kernels::gpu::model::{self, Accepted, Gpu, Limiter, Modelled, Sampled, Time};
use kernels::gpu::{self, Resources};
use kernels::op::Compiled;
use kernels::ops::{Visitor, visit};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// A kernel's launches.
struct Row {
    kernel: &'static str,
    launches: u64,
    flops: f64,
    bytes: f64,
    /// For each GPU.
    times: Vec<Sum>,
    /// Seconds on the measured device.
    measured: Option<f64>,
}

/// The modelled time of a kernel's launches on a GPU.
#[derive(Clone, Copy)]
struct Sum {
    seconds: f64,
    roofline: f64,
    /// Of the launches that take most of the time.
    limiter: Limiter,
    occupancy: f64,
}

/// Runs `mpuc kernels model`.
///
/// # Errors
/// Exit code 2 when there is no such GPU or operation, 4 when a kernel exceeds its budget.
pub fn model(args: &KernelsModelArgs, context: &Context) -> Result<()> {
    let beside = args.device.map(|choice| choice.open(&context.progress)).transpose()?;
    let gpus = chosen(&args.gpu, beside.as_ref())?;
    let launches = launches(args, context)?;
    if args.all {
        return all(&launches, &gpus, args);
    }
    let measured = beside.map(|device| measure(args, &device)).transpose()?;
    let rows = rows(&launches, &gpus, measured.as_ref())?;
    if args.json {
        return output::json(&as_json(&rows, &gpus));
    }
    output::text_lines(text(&rows, &gpus, measured.is_some()))
}

/// What each launch does, by samples.
fn launches(args: &KernelsModelArgs, context: &Context) -> Result<Vec<Sampled>> {
    let task = context.progress.task("model", 0);
    let modelled = Modelled::default().saying(move |sampled, kernel| task.tick(sampled, kernel));
    let device = Device::Gpu(gpu::Device::new(Box::new(modelled.clone())));
    if args.all {
        every_op(&device)?;
        run_optimisers(&device)?;
    } else {
        run(args, &device, || modelled.reset())?;
    }
    Ok(modelled.launches())
}

/// The GPUs of these names. Without a name, the one that is measured, or all.
fn chosen(names: &[String], beside: Option<&Device>) -> Result<Vec<Gpu>> {
    let known =
        || format!("use --gpu with one or several of {}", Gpu::ALL.map(|gpu| gpu.name).join(", "));
    let unknown = |name: &str| {
        let what = format!("{name}: the model has no data sheet of this GPU");
        Failure::new(Kind::Usage, what).hint(known())
    };
    let real = beside.and_then(Device::gpu).map(gpu::Device::description);
    if let ([], Some(real)) = (names, real.filter(|real| !real.simulated)) {
        return Ok(vec![Gpu::of_device(&real.name).ok_or_else(|| unknown(&real.name))?]);
    }
    if names.is_empty() {
        return Ok(Gpu::ALL.to_vec());
    }
    names.iter().map(|name| Gpu::named(name).ok_or_else(|| unknown(name))).collect()
}

/// Runs what is modelled on a device. `first` is called before the part that counts.
fn run(args: &KernelsModelArgs, device: &Device, first: impl FnOnce()) -> Result<()> {
    match &args.op {
        None => run_step((args.batch, args.frames), device, first),
        Some(name) => {
            first();
            one_op(name, device)
        }
    }
}

/// Runs the cases of one op.
fn one_op(name: &str, device: &Device) -> Result<()> {
    struct Run<'a>(&'a str, &'a Device, Option<Result<()>>);
    impl Visitor for Run<'_> {
        fn visit<O: Compiled>(&mut self) {
            if O::NAME == self.0 {
                self.2 = Some(run_op::<O>(self.1));
            }
        }
    }
    let mut run = Run(name, device, None);
    visit(&mut run);
    run.2.unwrap_or_else(|| Err(no_operation(name)))
}

/// Runs the cases of every op.
fn every_op(device: &Device) -> Result<()> {
    struct Run<'a>(&'a Device, Result<()>);
    impl Visitor for Run<'_> {
        fn visit<O: Compiled>(&mut self) {
            if self.1.is_ok() {
                self.1 = run_op::<O>(self.0);
            }
        }
    }
    let mut run = Run(device, Ok(()));
    visit(&mut run);
    run.1
}

/// Seconds of each kernel on a device.
fn measure(args: &KernelsModelArgs, device: &Device) -> Result<BTreeMap<&'static str, f64>> {
    let Some(gpu) = device.gpu() else {
        let what = "--device cpu: the CPU runs no kernels";
        return Err(Failure::new(Kind::Usage, what).hint("use cuda or sim:fast"));
    };
    run(args, device, || gpu.trace())?;
    Ok(gpu.traced()?.seconds())
}

/// A kernel's registers and shared memory on a GPU.
fn resources<'b>(budget: &'b [Resources], kernel: &str, gpu: &Gpu) -> Result<&'b Resources> {
    let target = gpu.target();
    budget.iter().find(|of| of.kernel == kernel && of.target == target).ok_or_else(|| {
        Failure::new(
            Kind::Other,
            format!("{kernel}: kernels/ptx/budget.csv has no registers for {target}"),
        )
        .hint("run `mpuc kernels compile --commit` in the repository, and build again")
    })
}

/// Sums launches by kernel, those of the most time first.
fn rows(
    sampled: &[Sampled],
    gpus: &[Gpu],
    measured: Option<&BTreeMap<&'static str, f64>>,
) -> Result<Vec<Row>> {
    let budget = gpu::budget();
    let mut kernels: BTreeMap<&'static str, Vec<&Sampled>> = BTreeMap::new();
    sampled.iter().for_each(|each| kernels.entry(each.kernel).or_default().push(each));
    let row = |(kernel, sampled): (&'static str, Vec<&Sampled>)| {
        let sum = |of: fn(&Sampled) -> f64| {
            sampled.iter().map(|each| each.launches as f64 * of(each)).sum::<f64>()
        };
        let times = gpus.iter().map(|gpu| {
            let resources = resources(&budget, kernel, gpu)?;
            let time = |each: &&Sampled| (Time::of(each, gpu, resources), each.launches as f64);
            Ok(total(&sampled.iter().map(time).collect::<Vec<_>>()))
        });
        Ok(Row {
            kernel,
            launches: sampled.iter().map(|each| each.launches).sum(),
            flops: sum(|each| each.estimate.flops + each.estimate.matrix_flops),
            bytes: sum(|each| each.estimate.memory_bytes),
            times: times.collect::<Result<_>>()?,
            measured: measured.and_then(|measured| measured.get(kernel).copied()),
        })
    };
    let mut rows: Vec<Row> = kernels.into_iter().map(row).collect::<Result<_>>()?;
    rows.sort_by(|a, b| b.times[0].seconds.total_cmp(&a.times[0].seconds));
    Ok(rows)
}

/// The sum of launches' times, each with their number.
fn total(times: &[(Time, f64)]) -> Sum {
    let mut by_limiter: BTreeMap<Limiter, f64> = BTreeMap::new();
    for (time, launches) in times {
        *by_limiter.entry(time.limiter).or_default() += time.seconds * launches;
    }
    let most = by_limiter.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let seconds = times.iter().map(|(time, launches)| time.seconds * launches).sum();
    let weighted: f64 =
        times.iter().map(|(time, launches)| time.occupancy * time.seconds * launches).sum();
    Sum {
        seconds,
        roofline: times.iter().map(|(time, launches)| time.roofline * launches).sum(),
        limiter: most.map_or(Limiter::Launch, |(limiter, _)| limiter),
        occupancy: weighted / seconds,
    }
}

/// A time in milliseconds.
fn milliseconds(seconds: f64) -> String {
    format!("{:.3}", 1e3 * seconds)
}

/// The table, and what it is.
fn text(rows: &[Row], gpus: &[Gpu], measured: bool) -> String {
    let mut header = vec!["kernel".to_owned(), "launches".into(), "GFLOP".into(), "MB".into()];
    for gpu in gpus {
        header.extend([format!("{} ms", gpu.name), "limiter".into(), "of roof".into()]);
        if gpus.len() == 1 {
            header.extend(["share".into(), "occupancy".into()]);
        }
    }
    if measured {
        header.extend(["measured ms".into(), "error".into()]);
    }
    let sums: Vec<f64> =
        (0..gpus.len()).map(|at| rows.iter().map(|row| row.times[at].seconds).sum()).collect();
    let line = |row: &Row| {
        let mut cells = vec![
            row.kernel.to_owned(),
            row.launches.to_string(),
            format!("{:.3}", row.flops / 1e9),
            format!("{:.1}", row.bytes / 1e6),
        ];
        for (time, sum) in row.times.iter().zip(&sums) {
            let of_roof = format!("{:.0} %", 100.0 * time.roofline / time.seconds);
            cells.extend([milliseconds(time.seconds), time.limiter.to_string(), of_roof]);
            if gpus.len() == 1 {
                cells.push(format!("{:.1} %", 100.0 * time.seconds / sum));
                cells.push(format!("{:.0} %", 100.0 * time.occupancy));
            }
        }
        if measured {
            cells.extend([
                row.measured.map_or("-".into(), milliseconds),
                row.measured.map_or("-".into(), |seconds| {
                    format!("{:+.0} %", 100.0 * (row.times[0].seconds / seconds - 1.0))
                }),
            ]);
        }
        cells
    };
    let mut cells: Vec<Vec<String>> = rows.iter().map(line).collect();
    cells.push(line(&whole(rows, gpus)));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let titles: Vec<&str> = gpus.iter().map(|gpu| gpu.title).collect();
    format!(
        "Model, not measured: {}. Uploads, and waits of the host, are not in it.\n\n{}",
        titles.join(", "),
        output::table(&header, &cells)
    )
}

/// The sum of all rows. Its limiter is the one that most of the time has.
fn whole(rows: &[Row], gpus: &[Gpu]) -> Row {
    let times = (0..gpus.len()).map(|at| {
        let time = |row: &Row| {
            let Sum { seconds, roofline, limiter, occupancy } = row.times[at];
            (Time { seconds, roofline, limiter, occupancy }, 1.0)
        };
        total(&rows.iter().map(time).collect::<Vec<_>>())
    });
    let sum = |of: fn(&Row) -> f64| rows.iter().map(of).sum::<f64>();
    let measured = rows.iter().filter_map(|row| row.measured).sum::<f64>();
    Row {
        kernel: "all",
        launches: rows.iter().map(|row| row.launches).sum(),
        flops: sum(|row| row.flops),
        bytes: sum(|row| row.bytes),
        times: times.collect(),
        measured: rows.iter().any(|row| row.measured.is_some()).then_some(measured),
    }
}

fn as_json(rows: &[Row], gpus: &[Gpu]) -> serde_json::Value {
    let row = |row: &Row| {
        let times = gpus.iter().zip(&row.times).map(|(gpu, time)| {
            let time = json!({
                "seconds": time.seconds, "roofline_seconds": time.roofline, "limiter": time.limiter.to_string(),
                "occupancy": time.occupancy,
            });
            (gpu.name.to_owned(), time)
        });
        json!({
            "kernel": row.kernel, "launches": row.launches, "flops": row.flops, "bytes": row.bytes,
            "model": times.collect::<serde_json::Map<_, _>>(), "measured_seconds": row.measured,
        })
    };
    json!({ "kernels": rows.iter().map(row).collect::<Vec<_>>(), "total": row(&whole(rows, gpus)) })
}

/// Compares the largest launch of every kernel with the budget, or writes the budget.
fn all(sampled: &[Sampled], gpus: &[Gpu], args: &KernelsModelArgs) -> Result<()> {
    let registers = gpu::budget();
    let mut largest: BTreeMap<&'static str, &Sampled> = BTreeMap::new();
    for each in sampled {
        let known = largest.entry(each.kernel).or_insert(each);
        if each.estimate.instructions() > known.estimate.instructions() {
            *known = each;
        }
    }
    let mut times = Vec::new();
    for (kernel, sampled) in &largest {
        let mut nanoseconds = [0.0; Gpu::ALL.len()];
        for (gpu, nanoseconds) in Gpu::ALL.iter().zip(&mut nanoseconds) {
            *nanoseconds =
                1e9 * Time::of(sampled, gpu, resources(&registers, kernel, gpu)?).seconds;
        }
        times.push(Accepted { kernel: (*kernel).to_owned(), nanoseconds });
    }
    if args.commit {
        if !Path::new(FOLDER).is_dir() {
            return Err(not_the_repository());
        }
        let path = Path::new(FOLDER).join("model.csv");
        std::fs::write(&path, model::budget_of(&times))
            .map_err(|error| Failure::io("write", &path, &error))?;
        output::note(format_args!(
            "{} kernels written to {}; build again",
            times.len(),
            path.display()
        ));
        return Ok(());
    }
    let one = |each: &&Sampled| Sampled { launches: 1, ..(*each).clone() };
    let largest: Vec<Sampled> = largest.values().map(one).collect();
    let rows = rows(&largest, gpus, None)?;
    let budget = model::budget();
    let complaints: Vec<String> = times.iter().filter_map(|time| time.complaint(&budget)).collect();
    if args.json {
        let mut report = as_json(&rows, gpus);
        report["over_budget"] = json!(complaints);
        output::json(&report)?;
    } else {
        output::text_lines(text(&rows, gpus, false))?;
    }
    if complaints.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::CheckFailed, complaints.join("\n")).hint(
        "make the kernel faster, or accept the time with `mpuc kernels model --all --commit`",
    ))
}
