//! Results as text and as JSON.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use ptx_sim::{Finding, Kernel, Launch, Memory, Module, Report, Tally};
use serde_json::{Value, json};

use crate::element::Element;
use crate::failure::{Failure, IO};
use crate::layout::{self, Buffer};
use crate::options::Print;

/// Elements of a buffer in one line.
const IN_A_LINE: usize = 8;

/// A run with what is to be printed of it.
pub struct Outcome<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// Its launch.
    pub launch: &'a Launch<'a>,
    /// Its findings and counters.
    pub report: &'a Report,
    /// The buffers to print.
    pub contents: Vec<Contents>,
    /// Seconds of the run.
    pub seconds: f64,
}

/// The elements of a buffer after the run.
pub struct Contents {
    name: String,
    element: Element,
    /// The bytes of each element; `None` where it is uninitialised.
    elements: Vec<Option<Vec<u8>>>,
    /// The elements of the whole buffer.
    all: usize,
}

impl Contents {
    /// Reads a buffer.
    pub fn read(memory: &Memory, buffer: &Buffer, wanted: &Print) -> Result<Contents, Failure> {
        let size = buffer.element.bytes();
        let count = wanted.count.unwrap_or(buffer.count).min(buffer.count);
        let mut elements = Vec::with_capacity(count);
        for at in (buffer.address..).step_by(size).take(count) {
            let mut bytes = vec![0; size];
            memory.read(at, &mut bytes)?;
            elements.push(memory.initialised(at, size).then_some(bytes));
        }
        let name = match buffer.field {
            0 => buffer.argument.to_string(),
            field => format!("{}.{field}", buffer.argument),
        };
        Ok(Contents { name, element: buffer.element, elements, all: buffer.count })
    }

    fn text(&self) -> String {
        let mut text = format!("argument {}: {} of {}\n", self.name, self.all, self.element.name());
        for (row, elements) in self.elements.chunks(IN_A_LINE).enumerate() {
            let words: Vec<String> = elements
                .iter()
                .map(|bytes| match bytes {
                    Some(bytes) => self.element.show(bytes),
                    None => "unset".to_owned(),
                })
                .collect();
            _ = writeln!(text, "  {}: {}", row * IN_A_LINE, words.join(" "));
        }
        text
    }

    fn json(&self) -> Value {
        let values: Vec<Value> = self
            .elements
            .iter()
            .map(|bytes| bytes.as_ref().map_or(Value::Null, |bytes| self.element.json(bytes)))
            .collect();
        json!({ "argument": self.name, "type": self.element.name(), "values": values })
    }
}

impl Outcome<'_> {
    /// The result as text.
    pub fn text(&self, counters: bool) -> String {
        let mut text = String::new();
        for finding in &self.report.findings {
            text.push_str(&paragraph(finding));
        }
        for contents in &self.contents {
            text.push_str(&contents.text());
        }
        if counters {
            text.push_str(&self.table());
        }
        let verdict = match self.report.findings.len() {
            0 => "no findings".to_owned(),
            1 => "1 finding".to_owned(),
            count => format!("{count} findings"),
        };
        let total = &self.report.counters.total;
        _ = writeln!(
            text,
            "{}, grid {:?}, block {:?}: {verdict}; {} warp instructions in {:.1?}",
            self.kernel.name(),
            self.launch.grid,
            self.launch.block,
            total.warp_instructions,
            Duration::from_secs_f64(self.seconds)
        );
        text
    }

    /// The counters of every source line.
    fn table(&self) -> String {
        let mut text = format!(
            "{:>12} {:>14} {:>7} {:>12} {:>12}  line\n",
            "warp instr.", "thread instr.", "active", "sectors", "wavefronts"
        );
        let mut row = |tally: &Tally, place: &str| {
            _ = writeln!(
                text,
                "{:>12} {:>14} {:>7.3} {:>12} {:>12}  {place}",
                tally.warp_instructions,
                tally.thread_instructions,
                tally.active_share(),
                tally.global_sectors,
                tally.shared_wavefronts
            );
        };
        for line in &self.report.counters.lines {
            let place = match line.line {
                0 => "without a line".to_owned(),
                number => format!("{}:{number}", near(&line.file)),
            };
            row(&line.tally, &place);
        }
        row(&self.report.counters.total, "in all");
        text
    }

    /// The result as JSON.
    pub fn json(&self, counters: bool) -> String {
        let findings: Vec<Value> = self.report.findings.iter().map(object).collect();
        let mut value = json!({
            "kernel": self.kernel.name(),
            "grid": self.launch.grid,
            "block": self.launch.block,
            "findings": findings,
            "seconds": self.seconds,
            "total": tally(&self.report.counters.total),
            "buffers": self.contents.iter().map(Contents::json).collect::<Vec<_>>(),
        });
        if counters {
            let lines = self.report.counters.lines.iter().map(|line| {
                let mut row = tally(&line.tally);
                row["file"] = json!(line.file);
                row["line"] = json!(line.line);
                row
            });
            value["lines"] = lines.collect();
        }
        format!("{value}\n")
    }
}

/// A file's path from the current folder, where it is inside.
fn near(file: &str) -> String {
    let inside = std::env::current_dir().ok();
    let inside = inside.as_ref().and_then(|folder| Path::new(file).strip_prefix(folder).ok());
    inside.map_or(file.to_owned(), |path| path.display().to_string())
}

/// A finding as a paragraph.
fn paragraph(finding: &Finding) -> String {
    let mut text = format!("{:?}", finding.kind);
    if let Some((file, line)) = &finding.line {
        _ = write!(text, " at {}:{line}", near(file));
    }
    for (file, line) in &finding.calls {
        _ = write!(text, ", called at {}:{line}", near(file));
    }
    let Finding { message, instruction, block, thread, .. } = finding;
    text + &format!("\n  {message}\n  {instruction}\n  block {block:?}, thread {thread:?}\n\n")
}

/// A finding as JSON.
fn object(finding: &Finding) -> Value {
    json!({
        "kind": format!("{:?}", finding.kind),
        "message": finding.message,
        "instruction": finding.instruction,
        "file": finding.line.as_ref().map(|(file, _)| file),
        "line": finding.line.as_ref().map(|(_, line)| line),
        "calls": finding.calls,
        "block": finding.block,
        "thread": finding.thread,
    })
}

/// A tally as JSON.
fn tally(tally: &Tally) -> Value {
    json!({
        "warp_instructions": tally.warp_instructions,
        "thread_instructions": tally.thread_instructions,
        "global_sectors": tally.global_sectors,
        "shared_wavefronts": tally.shared_wavefronts,
    })
}

/// The kernels of a module.
pub fn list(module: &Module, as_json: bool) -> String {
    if as_json {
        let kernels: Vec<Value> = module.kernels().map(entry).collect();
        let unsupported: Vec<Value> = module
            .unsupported()
            .map(|(name, error)| json!({ "name": name, "error": error.to_string() }))
            .collect();
        return format!("{}\n", json!({ "kernels": kernels, "unsupported": unsupported }));
    }
    let mut text = String::new();
    for kernel in module.kernels() {
        _ = writeln!(text, "{}", kernel.name());
        if let Some(block) = kernel.required_block() {
            _ = writeln!(text, "  block {block:?} only");
        }
        if let Some(most) = kernel.most_threads() {
            _ = writeln!(text, "  at most {most} threads in a block");
        }
        _ = writeln!(
            text,
            "  {} bytes of static shared memory, {} of local memory of a thread",
            kernel.shared_bytes(),
            kernel.local_bytes()
        );
        _ = writeln!(text, "  {}", layout::listed(kernel).replace('\n', "\n  "));
    }
    for (name, error) in module.unsupported() {
        _ = writeln!(text, "{name}\n  not supported: {error}");
    }
    text
}

/// A kernel as JSON.
fn entry(kernel: &Kernel) -> Value {
    let parameters = kernel.parameters().iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "type": parameter.type_name,
            "offset": parameter.offset,
            "bytes": parameter.bytes,
            "align": parameter.align,
        })
    });
    json!({
        "name": kernel.name(),
        "parameters": parameters.collect::<Vec<_>>(),
        "required_block": kernel.required_block(),
        "most_threads": kernel.most_threads(),
        "shared_bytes": kernel.shared_bytes(),
        "local_bytes": kernel.local_bytes(),
    })
}

/// Writes to standard output; that its reader has closed it is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure { code: IO, message: format!("cannot write to standard output: {error}") })
        }
        _ => Ok(()),
    }
}
