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
use ptx_sim::{Error, Kernel, Launch, Memory, Mode, Module, Settings};

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
        Failure::data("got bytes that are no text, expected PTX").of_file(&options.file)
    })?;
    let module = Module::parse(&text).map_err(|e| Failure::from(e).of_file(&options.file))?;
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
        warps: options.warps.0,
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
    let of_file = |failure: Failure| failure.of_file(&options.file);
    if let Some(name) = &options.kernel {
        return module.kernel(name).map_err(|error| of_file(error.into()));
    }
    let unsupported: Vec<(&str, &Error)> = module.unsupported().collect();
    let kernels: Vec<&Kernel> = module.kernels().collect();
    match (kernels.as_slice(), unsupported.as_slice()) {
        ([kernel], []) => Ok(kernel),
        ([], [(_, error)]) => Err(of_file((*error).clone().into())),
        ([], []) => Err(of_file(Failure::data("got no kernel, expected an .entry"))),
        _ => {
            let names = kernels.iter().map(|kernel| kernel.name());
            let names: Vec<&str> = names.chain(unsupported.iter().map(|(name, _)| *name)).collect();
            let (count, names) = (names.len(), names.join(", "));
            let what = format!("got no --kernel, and there are {count}; choose one of {names}");
            Err(of_file(Failure::usage(what)))
        }
    }
}
