//! `mpuc profile`: what it prints and writes.

use super::signals::{ends, signal};
use super::world::{command, mpuc, text, world};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn profile(more: &[&str]) -> (Value, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("profile");
    let data = world().to_str().unwrap();
    let usual = ["profile", "--preset", "smoke", "--data", data, "--steps", "2", "--json", "--out"];
    let output = mpuc(&[&usual[..], &[out.to_str().unwrap()], more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), folder)
}

#[test]
fn modules_add_up_and_every_file_is_written() {
    let (summary, folder) = profile(&["--device", "cpu"]);
    let modules = &summary["modules"];
    let seconds = |path: &str| -> f64 {
        let parts = ["forward_s", "backward_s", "recomputed_s", "other_s"];
        parts.map(|part| modules[path][part].as_f64().unwrap()).iter().sum()
    };
    let top: Vec<&String> = modules.as_object().unwrap().keys().collect();
    let top: Vec<&&String> = top.iter().filter(|k| !k.is_empty() && !k.contains('.')).collect();
    let sum: f64 = top.iter().map(|path| seconds(path)).sum();
    assert!((sum - seconds("")).abs() < 1e-6 * sum, "{sum} and {}", seconds(""));
    for module in ["voice", "landmarks", "faces", "loss", "optimizer", "data"] {
        assert!(seconds(module) > 0.0, "{module}: {top:?}");
    }
    let flops = |path: &str| modules[path]["flops"].as_f64().unwrap();
    assert!(flops("voice") > 0.0 && flops("") > flops("voice") && flops("optimizer") == 0.0);
    assert_eq!((&summary["steps"], &summary["arm"]), (&2.into(), &"mpuc".into()));
    let unattributed = summary["unattributed"].as_f64().unwrap();
    assert!((0.0..0.5).contains(&unattributed), "{unattributed}");
    assert!(summary["event_s"].as_f64() > Some(0.0), "{summary}");

    let file =
        |name: &str| std::fs::read_to_string(folder.path().join("profile").join(name)).unwrap();
    let trace: Value = serde_json::from_str(&file("trace.json")).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let linear = events.iter().find(|e| e["ph"] == "X" && e["name"] == "linear").unwrap();
    for key in ["ts", "dur", "pid", "tid"] {
        assert!(linear[key].is_number(), "{linear}");
    }
    for picture in ["flame.svg", "roofline.svg", "memory.svg"] {
        assert!(file(picture).trim_end().ends_with("</svg>"), "{picture}");
    }
    assert!(file("flame.svg").contains("voice"));
    let written: Value = serde_json::from_str(&file("profile.json")).unwrap();
    assert_eq!(written["modules"], summary["modules"]);
}

#[test]
fn a_simulated_gpu_lists_its_kernels() {
    let (summary, folder) =
        profile(&["--device", "sim:fast", "--arm", "late_fusion", "--set", "arms=[late_fusion]"]);
    let kernels = summary["kernels"].as_array().unwrap();
    assert!(kernels.iter().any(|row| row["launches"].as_u64() > Some(0)), "{summary}");
    for row in kernels {
        assert!(
            row["threads"][0].as_u64() > Some(0) && row["registers"].as_u64() > Some(0),
            "{row}"
        );
        assert!((0.0..=1.0).contains(&row["occupancy"].as_f64().unwrap()), "{row}");
    }
    let launched: u64 = kernels.iter().map(|row| row["launches"].as_u64().unwrap()).sum();
    assert_eq!(summary["driver"]["launches"], launched);
    let trace = std::fs::read_to_string(folder.path().join("profile/trace.json")).unwrap();
    let trace: Value = serde_json::from_str(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap().iter();
    assert_eq!(events.filter(|event| event["cat"] == "kernel").count() as u64, launched);
    assert!(summary["peak_gflops_per_s"].is_null());
}

#[test]
fn what_cannot_be_profiled_is_said() {
    let data = world().to_str().unwrap();
    let refused = |more: &[&str], wanted: &str| {
        let usual = ["profile", "--preset", "smoke", "--data", data];
        let output = mpuc(&[&usual[..], more].concat());
        assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(wanted), "{}", text(&output.stderr));
    };
    refused(&["--arm", "mpcu"], "`mpcu` is no arm of this configuration that trains");
    refused(&["--arm", "single.voice"], "the arms that train are");
    refused(&["--set", "arms=[factors]"], "no arm of this configuration trains");
    let file = tempfile::NamedTempFile::new().unwrap();
    let out = file.path().to_str().unwrap();
    let output = mpuc(&["profile", "--preset", "smoke", "--data", data, "--out", out]);
    assert!(!output.status.success() && text(&output.stderr).contains("create the folder"));
}

#[test]
fn a_profile_that_is_stopped_writes_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("profile");
    let data = world().to_str().unwrap();
    let usual = ["profile", "--preset", "smoke", "--data", data, "--device", "cpu", "--json"];
    let mut command =
        command(&[&usual[..], &["--steps", "1000", "--out", out.to_str().unwrap()]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    // The first recorded step follows three others.
    let done = |line: String| line.split_once("/2003")?.0.rsplit(' ').next()?.parse::<u32>().ok();
    let done = stderr.lines().map(Result::unwrap).filter_map(done).find(|&done| done >= 4);
    assert!(done.is_some());
    signal(&child, "-INT");
    let output = ends(child);
    assert_eq!(output.status.code(), Some(130));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let steps = summary["steps"].as_u64().unwrap();
    assert!((1..1000).contains(&steps), "{steps}");
    let written = std::fs::read_to_string(out.join("profile.json")).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["steps"], steps);
    assert!(out.join("trace.json").exists() && out.join("flame.svg").exists());
}

#[test]
fn a_profiler_that_is_missing_and_a_folder_that_cannot_be_written_are_named() {
    let data = world().to_str().unwrap();
    let usual = ["profile", "--preset", "smoke", "--data", data, "--device", "cpu", "--steps", "1"];
    let mut command = command(&usual);
    let output = command.env("NVTX_INJECTION64_PATH", "/nowhere/libtool.so").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("/nowhere/libtool.so"), "{}", text(&output.stderr));
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("profile");
    let output = mpuc(&[&usual[..], &["--out", below.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(74), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains(below.to_str().unwrap()), "{}", text(&output.stderr));
    // A folder in the place of a file is found before the first step.
    let out = tempfile::tempdir().unwrap();
    std::fs::create_dir(out.path().join("trace.json")).unwrap();
    let output = mpuc(&[&usual[..], &["--out", out.path().to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(74), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("trace.json"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty() && !out.path().join("profile.json").exists());
}
