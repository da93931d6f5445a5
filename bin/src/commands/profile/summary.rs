//! The sums of a profile: by module, and by op.

use super::launches::{self, Asked, KernelRow};
use crate::experiment::Recorded;
use crate::output;
use engine::Device;
use engine::profile::{Event, Part};
use kernels::cpu::probe::Peak;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A profile of a mean step.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    pub(super) arm: String,
    pub(super) batch: usize,
    pub(super) device: String,
    pub(super) threads: usize,
    /// Recorded steps.
    pub(super) steps: usize,
    /// The median duration of a recorded step, and of one without a record.
    pub(super) step_s: f64,
    pub(super) plain_step_s: f64,
    /// What the record of one event takes.
    pub(super) event_s: f64,
    /// The share of a recorded step that belongs to no event.
    pub(super) unattributed: f64,
    /// The most bytes of tensors at once; on a GPU, those of the CPU's pool.
    pub(super) peak_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_gflops_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_gb_per_s: Option<f64>,
    /// Every module, by its path; `""` is the whole step.
    pub(super) modules: BTreeMap<String, Sums>,
    /// By op and part.
    pub(super) ops: Vec<OpRow>,
    /// On a GPU, the kernels of one step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) kernels: Vec<KernelRow>,
    /// On a GPU, what one step asks of the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<Asked>,
    #[serde(skip)]
    peak: Option<Peak>,
}

/// Sums over events, of a mean step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Sums {
    /// Events.
    pub(super) calls: f64,
    pub(super) forward_s: f64,
    pub(super) backward_s: f64,
    /// Forward ops that ran again in the backward pass.
    pub(super) recomputed_s: f64,
    pub(super) other_s: f64,
    pub(super) flops: f64,
    pub(super) bytes: f64,
    /// The roofline bound of every event, summed; 0 without a measured peak.
    pub(super) floor_s: f64,
}

/// An op in one part of the step.
#[derive(Debug, Clone, Serialize)]
pub(super) struct OpRow {
    pub(super) op: &'static str,
    pub(super) part: &'static str,
    #[serde(flatten)]
    pub(super) sums: Sums,
}

impl Sums {
    pub(super) fn seconds(&self) -> f64 {
        self.forward_s + self.backward_s + self.recomputed_s + self.other_s
    }

    fn add(&mut self, event: &Event, share: f64, peak: Option<&Peak>) {
        let seconds = event.own.as_secs_f64() * share;
        self.calls += share;
        match event.part {
            Part::Forward => self.forward_s += seconds,
            Part::Backward => self.backward_s += seconds,
            Part::Recomputed => self.recomputed_s += seconds,
            Part::Other => self.other_s += seconds,
        }
        self.flops += event.flops * share;
        self.bytes += event.bytes * share;
        self.floor_s += peak.map_or(0.0, |peak| peak.floor(event.flops, event.bytes)) * share;
    }
}

impl Summary {
    /// Sums a record. With a peak, rows are compared with the roofline.
    pub(super) fn new(recorded: &Recorded, device: &Device, peak: Option<Peak>) -> Self {
        let share = 1.0 / recorded.steps.len().max(1) as f64;
        let mut modules: BTreeMap<String, Sums> = BTreeMap::new();
        let mut ops: BTreeMap<(&str, Part), Sums> = BTreeMap::new();
        let (mut own, mut whole, mut peak_bytes) = (Duration::ZERO, Duration::ZERO, 0);
        for step in &recorded.steps {
            whole += step.whole;
            for event in &step.events {
                own += event.own;
                peak_bytes = peak_bytes.max(event.in_use);
                for path in paths(&step.scopes[event.scope]) {
                    modules.entry(path.to_owned()).or_default().add(event, share, peak.as_ref());
                }
                ops.entry((event.name, event.part)).or_default().add(event, share, peak.as_ref());
            }
        }
        let mut ops: Vec<OpRow> = ops
            .into_iter()
            .map(|((op, part), sums)| OpRow { op, part: part.name(), sums })
            .collect();
        ops.sort_by(|a, b| b.sums.seconds().total_cmp(&a.sums.seconds()));
        let traced = recorded.traced.as_ref().map(|(_, trace)| trace);
        let wholes = recorded.steps.iter().map(|step| step.whole);
        Summary {
            arm: recorded.arm.clone(),
            batch: recorded.batch,
            device: device.to_string(),
            threads: rayon::current_num_threads(),
            steps: recorded.steps.len(),
            step_s: median(wholes),
            plain_step_s: median(recorded.plain.iter().copied()),
            event_s: event_seconds(),
            unattributed: 1.0 - own.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE),
            peak_bytes,
            peak_gflops_per_s: peak.map(|peak| peak.flops / 1e9),
            peak_gb_per_s: peak.map(|peak| peak.read.max(peak.copy) / 1e9),
            modules,
            ops,
            kernels: traced.map_or(Vec::new(), |trace| launches::rows(trace, device)),
            driver: traced.map(|trace| Asked::of(&trace.counts)),
            peak,
        }
    }

    /// Tables of the modules down to a level, and of the ops.
    pub(super) fn tables(&self, depth: usize) -> String {
        let whole = self.modules.get("").copied().unwrap_or_default();
        let mut text = output::table(&self.header("module"), &self.module_rows(depth));
        let ops: Vec<Vec<String>> = self
            .ops
            .iter()
            .take(TOP)
            .map(|row| self.cells(format!("{} {}", row.op, row.part), &row.sums))
            .collect();
        text += &format!("\n\n{}", output::table(&self.header("op"), &ops));
        if !self.kernels.is_empty() {
            text += &format!("\n\n{}", launches::table(&self.kernels, TOP));
        }
        if let Some(asked) = &self.driver {
            text += &format!("\n\n{asked}");
        }
        text += &format!(
            "\n\n{}: batch {}, {}, {} threads; median step {:.2} ms ({:.2} ms without the record: {:+.1} %), {:.1} GFLOP",
            self.arm,
            self.batch,
            self.device,
            self.threads,
            1e3 * self.step_s,
            1e3 * self.plain_step_s,
            100.0 * (self.step_s / self.plain_step_s.max(f64::MIN_POSITIVE) - 1.0),
            whole.flops / 1e9,
        );
        let record = whole.calls * self.event_s;
        text += &format!(
            "\nthe record: {:.0} events of at least {:.0} ns each, {:.3} % of the step",
            whole.calls,
            1e9 * self.event_s,
            100.0 * record / self.step_s.max(f64::MIN_POSITIVE)
        );
        text += &format!(
            "\nnot in any row: {:.1} % of the time; at most {:.0} MiB of tensors",
            100.0 * self.unattributed,
            self.peak_bytes as f64 / f64::from(1 << 20)
        );
        if let (Some(flops), Some(bytes)) = (self.peak_gflops_per_s, self.peak_gb_per_s) {
            text += &format!(
                "\nroofline of this machine: {flops:.0} GFLOP/s, {bytes:.1} GB/s; `of floor`: the roofline's bound divided by the time (above 1 where an op reads from a cache or does fewer operations than counted)"
            );
        }
        text
    }

    fn header(&self, first: &'static str) -> Vec<&'static str> {
        let mut header = vec![
            first,
            "ms",
            "%",
            "forward",
            "backward",
            "recomputed",
            "other",
            "calls",
            "GFLOP/s",
            "GB/s",
        ];
        if self.peak.is_some() {
            header.push("of floor");
        }
        header
    }

    /// Modules below their parents, those of the most time first.
    fn module_rows(&self, depth: usize) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let whole = self.modules.get("").copied().unwrap_or_default();
        rows.push(self.cells("step".into(), &whole));
        self.below("", depth, &mut rows);
        rows
    }

    fn below(&self, parent: &str, depth: usize, rows: &mut Vec<Vec<String>>) {
        let level = if parent.is_empty() { 0 } else { parent.split('.').count() };
        if level >= depth {
            return;
        }
        let inside = |path: &&String| match path.rsplit_once('.') {
            Some((above, _)) => above == parent,
            None => parent.is_empty() && !path.is_empty(),
        };
        let mut children: Vec<&String> = self.modules.keys().filter(inside).collect();
        children.sort_by(|a, b| self.modules[*b].seconds().total_cmp(&self.modules[*a].seconds()));
        for path in children {
            let name = path.rsplit('.').next().unwrap_or(path);
            let label = format!("{}{name}", "  ".repeat(level + 1));
            rows.push(self.cells(label, &self.modules[path]));
            self.below(path, depth, rows);
        }
    }

    fn cells(&self, name: String, sums: &Sums) -> Vec<String> {
        let whole = self.modules.get("").map_or(0.0, Sums::seconds);
        let seconds = sums.seconds();
        let ms = |seconds: f64| match seconds > 0.0 {
            true => format!("{:.2}", 1e3 * seconds),
            false => String::new(),
        };
        let rate = |amount: f64| match amount > 0.0 && seconds > 0.0 {
            true => format!("{:.1}", amount / seconds / 1e9),
            false => String::new(),
        };
        let mut cells = vec![
            name,
            format!("{:.2}", 1e3 * seconds),
            format!("{:.1}", 100.0 * seconds / whole.max(f64::MIN_POSITIVE)),
            ms(sums.forward_s),
            ms(sums.backward_s),
            ms(sums.recomputed_s),
            ms(sums.other_s),
            format!("{:.0}", sums.calls),
            rate(sums.flops),
            rate(sums.bytes),
        ];
        if self.peak.is_some() {
            cells.push(match sums.floor_s > 0.0 && seconds > 0.0 {
                true => format!("{:.2}", sums.floor_s / seconds),
                false => String::new(),
            });
        }
        cells
    }
}

/// Rows of the tables of ops and kernels.
const TOP: usize = 20;

/// A path and the paths above it: `a.b` gives ``, `a` and `a.b`.
fn paths(path: &str) -> impl Iterator<Item = &str> {
    let dots = path.match_indices('.').map(|(at, _)| at);
    let ends = std::iter::once(0).chain(dots).chain(std::iter::once(path.len()));
    let mut ends: Vec<usize> = ends.collect();
    ends.dedup();
    ends.into_iter().map(move |end| &path[..end])
}

/// The time that the record of one event takes: the least of a few means.
fn event_seconds() -> f64 {
    const EVENTS: u32 = 2000;
    let mean = |_| {
        let started = Instant::now();
        engine::profile::record(|| {
            for _ in 0..EVENTS {
                engine::profile::span("event", Part::Other, || ());
            }
        });
        started.elapsed().as_secs_f64() / f64::from(EVENTS)
    };
    (0..5).map(mean).fold(f64::INFINITY, f64::min)
}

fn median(times: impl Iterator<Item = Duration>) -> f64 {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use engine::profile::Profile;

    #[test]
    fn a_path_has_those_above_it() {
        assert_eq!(paths("a.b.c").collect::<Vec<_>>(), ["", "a", "a.b", "a.b.c"]);
        assert_eq!(paths("a").collect::<Vec<_>>(), ["", "a"]);
        assert_eq!(paths("").collect::<Vec<_>>(), [""]);
    }

    pub(in crate::commands::profile) fn recorded() -> Recorded {
        let event = |scope, name, part, start: u64, own: u64| Event {
            scope,
            name,
            part,
            start: Duration::from_millis(start),
            whole: Duration::from_millis(own),
            own: Duration::from_millis(own),
            flops: 1e6,
            bytes: 1e3,
            in_use: 1 << 20,
        };
        let step = Profile {
            events: vec![
                event(1, "linear", Part::Forward, 0, 4),
                event(2, "linear", Part::Forward, 4, 2),
                event(2, "linear", Part::Backward, 6, 6),
                event(1, "linear", Part::Backward, 12, 7),
            ],
            scopes: vec![String::new(), "voice.first".into(), "voice.second".into()],
            whole: Duration::from_millis(20),
        };
        Recorded {
            arm: "mpuc".into(),
            batch: 8,
            steps: vec![step.clone(), step],
            plain: vec![Duration::from_millis(19)],
            ..Recorded::default()
        }
    }

    #[test]
    fn modules_have_the_sums_of_what_is_inside_them() {
        let peak = Peak { flops: 1e9, read: 1e9, copy: 1e9 };
        let summary = Summary::new(&recorded(), &Device::Cpu, Some(peak));
        let voice = summary.modules["voice"];
        let close = |got: f64, expected: f64| (got - expected).abs() < 1e-12;
        assert!(close(voice.forward_s, 0.006) && close(voice.backward_s, 0.013), "{voice:?}");
        assert_eq!((voice.calls, summary.modules[""]), (4.0, voice));
        assert!(close(summary.modules["voice.first"].forward_s, 0.004));
        assert!((summary.unattributed - 0.05).abs() < 1e-9);
        assert!((voice.floor_s - 0.004).abs() < 1e-12);
        let text = summary.tables(2);
        let order = ["step", "  voice", "    first", "    second"];
        let places: Vec<_> =
            order.map(|name| text.lines().position(|line| line.starts_with(name))).to_vec();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");
        assert!(!summary.tables(1).contains("first"));
        assert!(
            text.contains("linear backward") && text.contains("not in any row: 5.0 %"),
            "{text}"
        );
    }
}
