//! Runs a kernel of a PTX file under the checker.

mod argument;
mod element;
mod failure;
mod layout;
mod options;
mod output;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ptx_sim::{Kernel, Launch, Memory, Mode, Module, Settings};

use failure::{CLEAN, FINDINGS, Failure, USAGE};
use options::Options;
use output::{Contents, Outcome};

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            // A closed standard error cannot be told of anything.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { USAGE } else { CLEAN });
        }
    };
    let code = run(&options).unwrap_or_else(|failure| {
        drop(writeln!(std::io::stderr(), "ptx-sim: {}", failure.message));
        failure.code
    });
    ExitCode::from(code)
}

/// Does what the options say and returns the exit code.
fn run(options: &Options) -> Result<u8, Failure> {
    let bytes = argument::read(&options.file)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Failure::data(format!(
            "{}: got bytes that are no text, expected PTX",
            options.file.display()
        ))
    })?;
    let module = Module::parse(&text).map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{}: {}", options.file.display(), failure.message), ..failure }
    })?;
    if options.list {
        output::print(&output::list(&module, options.json))?;
        return Ok(CLEAN);
    }
    let kernel = chosen(&module, options)?;
    let mut memory = Memory::new();
    let arguments = layout::place(kernel, &options.arguments, &mut memory)?;
    for wanted in &options.print {
        wanted.place.buffer(kernel, &arguments.buffers)?;
    }
    for wanted in &options.write {
        wanted.place.buffer(kernel, &arguments.buffers)?;
    }
    let launch = Launch {
        grid: options.grid.unwrap_or_default().0,
        block: options.block.unwrap_or_default().0,
        dynamic_shared: options.shared,
        parameters: &arguments.parameters,
    };
    let defaults = Settings::default();
    let settings = Settings {
        mode: if options.values { Mode::Values } else { Mode::Checked },
        order: options.order.0,
        step_limit: options.steps.unwrap_or(defaults.step_limit),
        ..defaults
    };
    let start = Instant::now();
    let report = ptx_sim::run(kernel, &launch, &mut memory, &settings)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut contents = Vec::new();
    for wanted in &options.print {
        let buffer = wanted.place.buffer(kernel, &arguments.buffers)?;
        contents.push(Contents::read(&memory, buffer, wanted)?);
    }
    for wanted in &options.write {
        let buffer = wanted.place.buffer(kernel, &arguments.buffers)?;
        let mut bytes = vec![0; buffer.count * buffer.element.bytes()];
        memory.read(buffer.address, &mut bytes)?;
        std::fs::write(&wanted.file, bytes)
            .map_err(|error| Failure::io("write", &wanted.file, &error))?;
    }
    let outcome = Outcome { kernel, launch: &launch, report: &report, contents, seconds };
    let text =
        if options.json { outcome.json(options.counters) } else { outcome.text(options.counters) };
    output::print(&text)?;
    Ok(if report.findings.is_empty() { CLEAN } else { FINDINGS })
}

/// The kernel that the options name, or the only one of the module.
fn chosen<'a>(module: &'a Module, options: &Options) -> Result<&'a Kernel, Failure> {
    let kernels: Vec<&Kernel> = module.kernels().collect();
    let names = || kernels.iter().map(|kernel| kernel.name()).collect::<Vec<_>>().join(", ");
    let file = options.file.display();
    match (&options.kernel, kernels.as_slice()) {
        (_, []) => Err(Failure::data(format!("{file}: got no kernel, expected an .entry"))),
        (None, [kernel]) => Ok(kernel),
        (None, _) => Err(Failure::usage(format!(
            "{file}: got no --kernel and {} kernels; choose one of {}",
            kernels.len(),
            names()
        ))),
        (Some(name), all) => {
            all.iter().find(|kernel| kernel.name() == name).copied().ok_or_else(|| {
                Failure::usage(format!("{file}: no kernel is named {name}; it has {}", names()))
            })
        }
    }
}
