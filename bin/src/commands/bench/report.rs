//! The report of a bench: a table, Markdown, CSV or JSON.

use super::case::Work;
use crate::cli::BenchFormat;
use crate::failure::Result;
use crate::output;
use kernels::cpu::probe::Peak;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The measurements of one case.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Row {
    pub(super) case: String,
    pub(super) median_s: f64,
    pub(super) min_s: f64,
    pub(super) reps: usize,
    /// Floating point operations of one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gflops_per_s: Option<f64>,
    /// The fewest bytes that one run can move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gb_per_s: Option<f64>,
    /// The work of the roofline bound.
    #[serde(skip)]
    pub(super) floor: Work,
    /// The roofline bound divided by the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) of_floor: Option<f64>,
    /// The peak memory of the program during preparation and runs of the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_bytes: Option<u64>,
    /// Fresh allocations of the pool in all measured runs; should be 0.
    pub(super) fresh_allocations: u64,
    /// The median of the GPU's time; the other times are wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) device_s: Option<f64>,
    /// The most memory of tensors in use at once on the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gpu_peak_bytes: Option<usize>,
    /// Kernels that one run launches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) launches: Option<u64>,
    /// How often one run waits for the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) waits: Option<u64>,
    /// The kernels of one run, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kernels: Option<Vec<Kernel>>,
    /// The items that a run processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) items: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) items_per_s: Option<f64>,
    /// Seconds of sound processed per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) times_realtime: Option<f64>,
    /// The median divided by the baseline's median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) times_baseline: Option<f64>,
    #[serde(flatten)]
    pub(super) details: BTreeMap<&'static str, Value>,
}

/// The launches of a kernel in one run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Kernel {
    pub(super) kernel: &'static str,
    pub(super) launches: u64,
    /// The time of all its launches on the GPU. Where the GPU waits for the host, that includes the wait.
    pub(super) device_s: f64,
}

/// The report of a bench: machine and program, then a row for each case.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) device: String,
    pub(super) threads: usize,
    pub(super) instructions: String,
    pub(super) version: &'static str,
    /// The peak of the processor, measured before and after the cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_gflops_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_read_gb_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_copy_gb_per_s: Option<f64>,
    pub(super) results: Vec<Row>,
}

impl Report {
    /// Writes the report to standard output.
    ///
    /// # Errors
    /// As [`output::json`].
    pub(super) fn print(&self, format: &BenchFormat) -> Result<()> {
        if format.json {
            return output::json(self);
        }
        if format.csv {
            return output::text_lines(csv(&self.results)?);
        }
        let table = if format.markdown { output::markdown } else { output::table };
        let (header, rows) = cells(&self.results);
        output::text_lines(table(&header, &rows))?;
        for row in &self.results {
            if let Some(kernels) = &row.kernels {
                output::text_lines(format!("\n{}: kernels of one run\n", row.case))?;
                output::text_lines(table(&KERNEL, &kernel_cells(kernels)))?;
            }
        }
        if format.markdown { Ok(()) } else { output::text_lines(self.machine()) }
    }

    /// One line about the machine.
    fn machine(&self) -> String {
        let mut line = format!("{}, {} threads, {}", self.device, self.threads, self.instructions);
        let peaks = (self.peak_gflops_per_s, self.peak_read_gb_per_s, self.peak_copy_gb_per_s);
        if let (Some(flops), Some(read), Some(copy)) = peaks {
            line += &format!(
                "; at most {flops:.0} GFLOP/s, {read:.1} GB/s read, {copy:.1} GB/s copied"
            );
        }
        line
    }
}

impl Row {
    /// Computes the fraction of the processor's peak.
    pub(super) fn hold_against(&mut self, peak: &Peak) {
        let floor = peak.floor(self.floor.flops, self.floor.bytes);
        self.of_floor = (floor > 0.0).then(|| floor / self.median_s);
    }

    /// The progress message of a case.
    pub(super) fn line(&self) -> String {
        let (header, rows) = cells(std::slice::from_ref(self));
        let cells: Vec<String> = header
            .iter()
            .zip(&rows[0])
            .skip(1)
            .map(|(title, cell)| format!("{title} {cell}"))
            .collect();
        format!("{}: {}", self.case, cells.join(", "))
    }
}

/// A column: its title and its cell for a row.
type Column = (&'static str, fn(&Row) -> Option<String>);

const COLUMNS: [Column; 16] = [
    ("case", |row| Some(row.case.clone())),
    ("median ms", |row| Some(format!("{:.3}", 1e3 * row.median_s))),
    ("min ms", |row| Some(format!("{:.3}", 1e3 * row.min_s))),
    ("reps", |row| Some(row.reps.to_string())),
    ("device ms", |row| row.device_s.map(|s| format!("{:.3}", 1e3 * s))),
    ("GFLOP/s", |row| row.gflops_per_s.map(|rate| format!("{rate:.1}"))),
    ("GB/s", |row| row.gb_per_s.map(|rate| format!("{rate:.1}"))),
    ("of floor", |row| row.of_floor.map(|share| format!("{share:.2}"))),
    ("a second", |row| Some(format!("{} {}", short(row.items_per_s?), row.items?))),
    ("x realtime", |row| row.times_realtime.map(short)),
    ("peak MiB", |row| row.peak_bytes.map(|bytes| format!("{:.0}", bytes as f64 / 1048576.0))),
    ("device MiB", |row| {
        row.gpu_peak_bytes.map(|bytes| format!("{:.0}", bytes as f64 / 1048576.0))
    }),
    ("launches", |row| row.launches.map(|count| count.to_string())),
    ("waits", |row| row.waits.map(|count| count.to_string())),
    ("fresh", |row| Some(row.fresh_allocations.to_string())),
    ("x baseline", |row| row.times_baseline.map(|ratio| format!("{ratio:.2}"))),
];

/// Titles and cells of the columns that are not empty.
fn cells(rows: &[Row]) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let told = COLUMNS.iter().filter(|(_, show)| rows.iter().any(|row| show(row).is_some()));
    let told: Vec<&Column> = told.collect();
    let cells = |row: &Row| told.iter().map(|(_, show)| show(row).unwrap_or_default()).collect();
    (told.iter().map(|(title, _)| *title).collect(), rows.iter().map(cells).collect())
}

/// The titles of a table of kernels.
const KERNEL: [&str; 4] = ["kernel", "launches", "device ms", "share"];

/// The cells of a table of kernels, and of their sum.
fn kernel_cells(kernels: &[Kernel]) -> Vec<Vec<String>> {
    let launches = kernels.iter().map(|kernel| kernel.launches).sum();
    let sum: f64 = kernels.iter().map(|kernel| kernel.device_s).sum();
    let cells = |name: &str, launches: u64, seconds: f64| {
        let share = if sum > 0.0 { format!("{:.1} %", 100.0 * seconds / sum) } else { "-".into() };
        vec![name.to_owned(), launches.to_string(), format!("{:.3}", 1e3 * seconds), share]
    };
    let mut rows: Vec<Vec<String>> =
        kernels.iter().map(|k| cells(k.kernel, k.launches, k.device_s)).collect();
    rows.push(cells("all", launches, sum));
    rows
}

/// A rate with about four digits.
fn short(rate: f64) -> String {
    match rate {
        1e9.. => format!("{:.1} G", rate / 1e9),
        1e6.. => format!("{:.1} M", rate / 1e6),
        1e4.. => format!("{:.1} k", rate / 1e3),
        100.0.. => format!("{rate:.0}"),
        _ => format!("{rate:.2}"),
    }
}

/// The fields of JSON as columns, `case` first.
fn csv(rows: &[Row]) -> Result<String> {
    let object = |row: &Row| match serde_json::to_value(row)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(serde_json::Map::new()),
    };
    let objects: Vec<_> =
        rows.iter().map(object).collect::<serde_json::Result<_>>().map_err(output::no_json)?;
    let names: BTreeSet<&String> = objects.iter().flat_map(|object| object.keys()).collect();
    let (first, rest): (Vec<&String>, Vec<&String>) =
        names.into_iter().partition(|name| *name == "case");
    let names = [first, rest].concat();
    let line = |cells: Vec<String>| cells.join(",");
    let mut lines = vec![line(names.iter().map(|name| (*name).clone()).collect())];
    lines.extend(objects.iter().map(|object| {
        line(names.iter().map(|name| object.get(*name).map_or_else(String::new, cell)).collect())
    }));
    Ok(lines.join("\n"))
}

/// A value in CSV format.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains([',', '"']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |case: &str| Row { case: case.into(), median_s: 0.5, reps: 3, ..Row::default() };
        let with = Row { gb_per_s: Some(2.0), details: [("batch", 8.into())].into(), ..row("a") };
        vec![with, row("b, c")]
    }

    #[test]
    fn only_columns_that_say_something_are_shown() {
        let (header, cells) = cells(&rows());
        assert_eq!(header, ["case", "median ms", "min ms", "reps", "GB/s", "fresh"]);
        assert_eq!(cells[0], ["a", "500.000", "0.000", "3", "2.0", "0"]);
        assert_eq!(cells[1][4], "");
        assert_eq!(rows()[1].line(), "b, c: median ms 500.000, min ms 0.000, reps 3, fresh 0");
    }

    #[test]
    fn csv_has_a_column_for_every_field() -> Result<()> {
        let text = csv(&rows())?;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "case,batch,fresh_allocations,gb_per_s,median_s,min_s,reps");
        assert_eq!(lines[1], "a,8,0,2.0,0.5,0.0,3");
        assert_eq!(lines[2], "\"b, c\",,0,,0.5,0.0,3");
        Ok(())
    }

    #[test]
    fn rates_are_short() {
        assert_eq!(
            [2.5, 250.0, 25e3, 2.5e6, 2.5e9].map(short),
            ["2.50", "250", "25.0 k", "2.5 M", "2.5 G"]
        );
    }

    #[test]
    fn kernels_have_their_share_of_the_time() {
        let kernel = |kernel, launches, device_s| Kernel { kernel, launches, device_s };
        let rows = kernel_cells(&[kernel("conv3d_forward", 20, 3e-3), kernel("set", 4, 1e-3)]);
        assert_eq!(rows[0], ["conv3d_forward", "20", "3.000", "75.0 %"]);
        assert_eq!(rows[2], ["all", "24", "4.000", "100.0 %"]);
        assert_eq!(kernel_cells(&[kernel("set", 1, 0.0)])[0][3], "-");
    }

    #[test]
    fn columns_of_a_gpu_are_shown_for_a_gpu() {
        let cpu = Row { case: "a".into(), ..Row::default() };
        let gpu =
            Row { launches: Some(7), waits: Some(1), gpu_peak_bytes: Some(3 << 20), ..cpu.clone() };
        let (without, _) = cells(std::slice::from_ref(&cpu));
        assert!(!without.contains(&"launches") && !without.contains(&"device MiB"));
        let (header, rows) = cells(&[cpu, gpu]);
        let cell = |title| rows[1][header.iter().position(|&t| t == title).unwrap()].as_str();
        assert_eq!((cell("launches"), cell("waits"), cell("device MiB")), ("7", "1", "3"));
    }
}
