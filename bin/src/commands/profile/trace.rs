//! The trace of a profile in Chrome's trace event format, which Perfetto opens.

use crate::experiment::Recorded;
use crate::failure::Result;
use crate::output;
use serde::Serialize;
use serde_json::{Value, json};

/// A process of the trace, and its lanes.
const PROCESS: u32 = 1;
const OPS: u32 = 1;
const MODULES: u32 = 2;

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

/// The recorded steps one after the other: a lane of ops, a lane of modules, and a curve of the memory in use.
///
/// # Errors
/// None in practice.
pub(super) fn chrome(recorded: &Recorded) -> Result<String> {
    let named = |tid: u32, kind: &str, name: &str| TraceEvent {
        name: kind.into(),
        cat: "__metadata",
        ph: "M",
        ts: 0.0,
        dur: None,
        pid: PROCESS,
        tid,
        args: json!({ "name": name }),
    };
    let mut events = vec![
        named(OPS, "process_name", &format!("mpuc profile: {}", recorded.arm)),
        named(OPS, "thread_name", "ops"),
        named(MODULES, "thread_name", "modules"),
    ];
    let mut begin = 0.0;
    for step in &recorded.steps {
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
                Some((name, cat, _, end)) if name == module && *cat == part => *end = ts + dur,
                _ => {
                    events.extend(close(open.take()));
                    open = Some((module.to_owned(), part, ts, ts + dur));
                }
            }
        }
        events.extend(close(open));
        begin += 1e6 * step.whole.as_secs_f64();
    }
    let trace = json!({ "displayTimeUnit": "ms", "traceEvents": events });
    serde_json::to_string(&trace).map_err(output::no_json)
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::recorded;
    use super::*;

    #[test]
    fn events_of_a_lane_do_not_overlap() -> Result<()> {
        let trace: Value = serde_json::from_str(&chrome(&recorded())?).map_err(output::no_json)?;
        let events = trace["traceEvents"].as_array().cloned().unwrap_or_default();
        for lane in [OPS, MODULES] {
            let spans = events.iter().filter(|e| e["ph"] == "X" && e["tid"] == lane);
            let spans: Vec<(f64, f64)> =
                spans.filter_map(|e| Some((e["ts"].as_f64()?, e["dur"].as_f64()?))).collect();
            // Two steps: four ops each, or two modules each (forward and backward of the voice).
            assert_eq!(spans.len(), if lane == OPS { 8 } else { 4 });
            for pair in spans.windows(2) {
                assert!(pair[0].0 + pair[0].1 <= pair[1].0 + 1e-6, "{pair:?}");
            }
        }
        assert!(events.iter().any(|e| e["ph"] == "C" && e["args"]["bytes"] == 1 << 20));
        Ok(())
    }
}
