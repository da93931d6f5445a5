//! The trace of a profile in Chrome's trace event format, which Perfetto opens.

use crate::experiment::Recorded;
use crate::failure::Result;
use crate::output;
use kernels::gpu::{Grid, Trace};
use serde::Serialize;
use serde_json::{Value, json};

/// The processes of the trace: the host and the GPU.
const PROCESS: u32 = 1;
const GPU: u32 = 2;
/// The lanes of the host.
const OPS: u32 = 1;
const MODULES: u32 = 2;
/// The lanes of the GPU.
const STREAM: u32 = 1;

/// One event. Times are in microseconds.
#[derive(Debug, Serialize)]
struct TraceEvent {
    name: String,
    cat: &'static str,
    ph: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: u32,
    tid: u32,
    args: Value,
}

/// The recorded steps one after the other: a lane of ops, a lane of modules, and a curve of the memory in use. On a GPU a
/// last step has a lane of kernels too. A kernel starts there when its launch was called, or when the kernel before it ended.
///
/// # Errors
/// None in practice.
pub(super) fn chrome(recorded: &Recorded) -> Result<String> {
    let mut events = vec![
        named((PROCESS, OPS), "process_name", &format!("mpuc profile: {}", recorded.arm)),
        named((PROCESS, OPS), "thread_name", "ops"),
        named((PROCESS, MODULES), "thread_name", "modules"),
    ];
    let mut begin = 0.0;
    let last = recorded.traced.iter().map(|(step, _)| step);
    for step in recorded.steps.iter().chain(last) {
        // The module of the lane, its start and its end.
        let mut open: Option<(String, &'static str, f64, f64)> = None;
        let close = |open: Option<(String, &'static str, f64, f64)>| {
            open.map(|(name, cat, ts, end)| TraceEvent {
                name,
                cat,
                ph: "X",
                ts,
                dur: Some(end - ts),
                pid: PROCESS,
                tid: MODULES,
                args: json!({}),
            })
        };
        for event in &step.events {
            let ts = begin + 1e6 * event.start.as_secs_f64();
            let dur = 1e6 * event.whole.as_secs_f64();
            let scope = &step.scopes[event.scope];
            let part = event.part.name();
            events.push(TraceEvent {
                name: event.name.into(),
                cat: part,
                ph: "X",
                ts,
                dur: Some(dur),
                pid: PROCESS,
                tid: OPS,
                args: json!({ "module": scope, "part": part, "flops": event.flops, "bytes": event.bytes }),
            });
            events.push(TraceEvent {
                name: "tensors".into(),
                cat: "memory",
                ph: "C",
                ts: ts + dur,
                dur: None,
                pid: PROCESS,
                tid: OPS,
                args: json!({ "bytes": event.in_use }),
            });
            let module = scope.split('.').next().filter(|name| !name.is_empty());
            let module = module.unwrap_or(event.name);
            match &mut open {
                // An op inside a span ends before it.
                Some((name, cat, _, end)) if name == module && *cat == part => {
                    *end = end.max(ts + dur);
                }
                _ => {
                    events.extend(close(open.take()));
                    open = Some((module.to_owned(), part, ts, ts + dur));
                }
            }
        }
        events.extend(close(open));
        begin += 1e6 * step.whole.as_secs_f64();
    }
    if let Some((step, trace)) = &recorded.traced {
        events.extend(kernels(begin - 1e6 * step.whole.as_secs_f64(), trace));
    }
    let trace = json!({ "displayTimeUnit": "ms", "traceEvents": events });
    serde_json::to_string(&trace).map_err(output::no_json)
}

/// The name of a process or lane.
fn named((pid, tid): (u32, u32), kind: &str, name: &str) -> TraceEvent {
    let args = json!({ "name": name });
    TraceEvent { name: kind.into(), cat: "__metadata", ph: "M", ts: 0.0, dur: None, pid, tid, args }
}

/// The launches of a step that begins at `begin`.
fn kernels(begin: f64, trace: &Trace) -> Vec<TraceEvent> {
    let lane = (GPU, STREAM);
    let mut events =
        vec![named(lane, "process_name", "GPU"), named(lane, "thread_name", "kernels")];
    let mut free = begin;
    for launch in &trace.launches {
        let ts = free.max(begin + 1e6 * launch.called.as_secs_f64());
        let dur = 1e6 * launch.seconds;
        free = ts + dur;
        let Grid { blocks, threads, shared } = launch.grid;
        events.push(TraceEvent {
            name: launch.name.into(),
            cat: "kernel",
            ph: "X",
            ts,
            dur: Some(dur),
            pid: GPU,
            tid: STREAM,
            args: json!({ "blocks": blocks, "threads": threads, "dynamic_shared": shared }),
        });
    }
    events
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::recorded;
    use super::*;
    use kernels::gpu::Kernel;
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// Checks a trace against the trace event format: the fields that each phase needs, and spans that nest.
    fn follows_the_format(trace: &Value) {
        let events = trace["traceEvents"].as_array().unwrap();
        let mut lanes: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
        let mut names = Vec::new();
        for event in events {
            let lane = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
            let ts = event["ts"].as_f64().unwrap();
            assert!(ts >= 0.0 && event["name"].is_string() && event["cat"].is_string(), "{event}");
            assert!(event["args"].is_object(), "{event}");
            match event["ph"].as_str().unwrap() {
                "M" => {
                    assert!(event["args"]["name"].is_string(), "{event}");
                    names.push((lane, event["name"].as_str().unwrap()));
                }
                "X" => {
                    let dur = event["dur"].as_f64().unwrap();
                    assert!(dur >= 0.0, "{event}");
                    lanes.entry(lane).or_default().push((ts, ts + dur));
                }
                "C" => {
                    let values = event["args"].as_object().unwrap();
                    assert!(values.values().all(Value::is_number), "{event}");
                }
                other => panic!("phase {other}: {event}"),
            }
        }
        for (lane, mut spans) in lanes {
            assert!(names.contains(&(lane, "thread_name")), "{lane:?} has no name");
            assert!(names.iter().any(|(of, kind)| of.0 == lane.0 && *kind == "process_name"));
            spans.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
            let mut open: Vec<f64> = Vec::new();
            for (start, end) in spans {
                open.retain(|&outer| outer > start + 1e-6);
                assert!(
                    open.iter().all(|&outer| end <= outer + 1e-6),
                    "{lane:?}: {start} to {end}"
                );
                open.push(end);
            }
        }
    }

    fn parsed(recorded: &Recorded) -> Value {
        serde_json::from_str(&chrome(recorded).unwrap()).unwrap()
    }

    /// Spans of a lane: starts and ends.
    fn spans(trace: &Value, pid: u32, tid: u32) -> Vec<(f64, f64)> {
        let events = trace["traceEvents"].as_array().unwrap();
        let of_lane =
            events.iter().filter(|e| e["ph"] == "X" && e["pid"] == pid && e["tid"] == tid);
        let span = |e: &Value| Some((e["ts"].as_f64()?, e["ts"].as_f64()? + e["dur"].as_f64()?));
        of_lane.filter_map(span).collect()
    }

    #[test]
    fn events_of_a_lane_do_not_overlap() {
        let trace = parsed(&recorded());
        follows_the_format(&trace);
        for lane in [OPS, MODULES] {
            let spans = spans(&trace, PROCESS, lane);
            // Two steps: four ops each, or two modules each (forward and backward of the voice).
            assert_eq!(spans.len(), if lane == OPS { 8 } else { 4 });
            assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0 + 1e-6), "{spans:?}");
        }
        let events = trace["traceEvents"].as_array().unwrap();
        assert!(events.iter().any(|e| e["ph"] == "C" && e["args"]["bytes"] == 1 << 20));
        assert!(spans(&trace, GPU, STREAM).is_empty());
    }

    #[test]
    fn a_module_lasts_as_long_as_its_span() {
        let mut recorded = recorded();
        recorded.steps.truncate(1);
        // The second op runs inside the first one, which is a span of 4 ms.
        let inside = &mut recorded.steps[0].events[1];
        (inside.start, inside.whole) = (Duration::from_millis(1), Duration::from_millis(1));
        let trace = parsed(&recorded);
        follows_the_format(&trace);
        let first = spans(&trace, PROCESS, MODULES)[0];
        assert!((first.1 - first.0 - 4000.0).abs() < 1e-6, "{first:?}");
    }

    #[test]
    fn kernels_have_a_lane_in_the_last_step() {
        let mut recorded = recorded();
        let launch = |called, milliseconds: f64| Kernel {
            name: "sgd",
            grid: Grid::blocks(3),
            called: Duration::from_millis(called),
            seconds: 1e-3 * milliseconds,
        };
        let launches = vec![launch(1, 5.0), launch(2, 1.0), launch(15, 2.0)];
        recorded.traced = Some((recorded.steps[0].clone(), Trace { launches, ..Trace::default() }));
        let trace = parsed(&recorded);
        follows_the_format(&trace);
        // The third step begins at 40 ms. The second kernel waits for the first.
        let milliseconds: Vec<_> = spans(&trace, GPU, STREAM)
            .iter()
            .map(|(start, end)| ((start / 1e3).round(), (end / 1e3).round()))
            .collect();
        assert_eq!(milliseconds, [(41.0, 46.0), (46.0, 47.0), (55.0, 57.0)]);
        assert_eq!(spans(&trace, PROCESS, OPS).len(), 12);
    }
}
