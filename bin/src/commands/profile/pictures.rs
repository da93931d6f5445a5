//! Pictures of a profile: a flame graph, the roofline, and the memory over a step.

use super::summary::{OpRow, Summary};
use crate::experiment::Recorded;
use crate::failure::{Failure, Kind, Result};
use crate::plot::{Curve, Panel, Plot};
use engine::profile::Event;
use inferno::flamegraph::{Options, from_lines};
use kernels::cpu::probe::Peak;
use std::collections::BTreeMap;

/// The most ops of the roofline, those of the most time.
const OPS: usize = 14;

/// A flame graph of all recorded steps: modules, then ops, as wide as their time.
///
/// # Errors
/// None in practice.
pub(super) fn flame(recorded: &Recorded) -> Result<String> {
    let mut stacks: BTreeMap<String, u128> = BTreeMap::new();
    for step in &recorded.steps {
        for event in &step.events {
            let scope = &step.scopes[event.scope];
            let modules = scope.split('.').filter(|name| !name.is_empty());
            let op = format!("{} {}", event.name, event.part.name());
            let stack: Vec<&str> = modules.chain([op.as_str()]).collect();
            *stacks.entry(stack.join(";")).or_default() += event.own.as_micros();
        }
    }
    let lines: Vec<String> = stacks.iter().map(|(stack, time)| format!("{stack} {time}")).collect();
    let mut options = Options::default();
    options.title = format!("{}: {} steps", recorded.arm, recorded.steps.len());
    options.count_name = "microseconds".into();
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)
        .map_err(|error| Failure::new(Kind::Bug, format!("a flame graph: {error}")))?;
    Ok(String::from_utf8_lossy(&svg).into_owned())
}

/// The speed of ops against their arithmetic intensity, below the roofline.
pub(super) fn roofline(summary: &Summary, peak: &Peak) -> Plot {
    let bandwidth = peak.read.max(peak.copy);
    let ridge = peak.flops / bandwidth;
    let name = |row: &OpRow| format!("{} {}", row.op, row.part);
    let busy = summary.ops.iter().filter(|row| row.sums.flops > 0.0 && row.sums.bytes > 0.0);
    let ops: Vec<Curve> = busy
        .take(OPS)
        .map(|row| {
            let rate = row.sums.flops / row.sums.seconds().max(f64::MIN_POSITIVE);
            let point = (row.sums.flops / row.sums.bytes, rate / 1e9, 0.0);
            Curve { name: name(row), points: vec![point] }
        })
        .collect();
    let xs = ops.iter().flat_map(|curve| &curve.points).map(|point| point.0);
    let (low, high) = xs.fold((0.1, 10.0 * ridge), |(low, high), x: f64| (x.min(low), x.max(high)));
    let roof = |x: f64| (x, (x * bandwidth).min(peak.flops) / 1e9, 0.0);
    let roof = Curve { name: "roofline".into(), points: [low, ridge, high].map(roof).to_vec() };
    Plot {
        title: format!("{} on {}", summary.arm, summary.device),
        x: "FLOP per byte".into(),
        y: "GFLOP/s".into(),
        logarithmic: true,
        panels: vec![Panel {
            title: format!("mean of {} steps, batch {}", summary.steps, summary.batch),
            curves: std::iter::once(roof).chain(ops).collect(),
        }],
    }
}

/// The memory in use over the first recorded step.
pub(super) fn memory(recorded: &Recorded) -> Plot {
    let point = |event: &Event| {
        let end = event.start + event.whole;
        (1e3 * end.as_secs_f64(), event.in_use as f64 / f64::from(1 << 20), 0.0)
    };
    let events = recorded.steps.first().map_or(&[][..], |step| &step.events);
    // An op that another one runs again ends before it.
    let mut points: Vec<_> = events.iter().map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let curve = Curve { name: "at the end of each op".into(), points };
    Plot {
        title: format!("{}: tensors in use", recorded.arm),
        x: "ms".into(),
        y: "MiB".into(),
        panels: vec![Panel { title: "the first recorded step".into(), curves: vec![curve] }],
        ..Plot::default()
    }
}
