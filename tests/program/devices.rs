//! Devices: the CPU, the simulated GPU, and the message on a machine without a GPU.

use super::world::{command, mpuc, text};
use serde_json::Value;
use std::path::Path;

fn smoke<'a>(out: &'a Path, device: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--preset", "smoke", "--device", device, "--json"];
    arguments.extend(["--set", "steps=3", "--set", "arms=[mpuc]", "--out", out.to_str().unwrap()]);
    arguments
}

/// The loss of each step of a run.
fn losses(run: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| !line["step"].is_null())
        .map(|line| line["loss"].as_f64().unwrap())
        .collect()
}

#[test]
fn a_simulated_gpu_learns_what_the_cpu_learns() {
    let folder = tempfile::tempdir().unwrap();
    let (on_cpu, on_sim) = (folder.path().join("cpu"), folder.path().join("sim"));
    for (out, device) in [(&on_cpu, "cpu"), (&on_sim, "sim")] {
        let output = mpuc(&smoke(out, device));
        assert!(output.status.success(), "{device}: {}", text(&output.stderr));
    }
    let (cpu, sim) = (losses(&on_cpu), losses(&on_sim));
    assert_eq!((cpu.len(), sim.len()), (3, 3));
    for (cpu, sim) in cpu.iter().zip(&sim) {
        assert!((cpu - sim).abs() < 1e-4 * cpu.abs().max(1.0), "{cpu} on the CPU, {sim} simulated");
    }
}

#[test]
fn a_machine_without_a_gpu_is_told_so() {
    let bare = |arguments: &[&str]| {
        let mut command = command(arguments);
        command.env("LD_LIBRARY_PATH", "").env("MPUC_NVRTC", "/nowhere").output().unwrap()
    };
    let doctor = bare(&["doctor", "--json"]);
    assert!(doctor.status.success(), "{}", text(&doctor.stderr));
    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert!(found["nvrtc"]["missing"].as_str().unwrap().contains("/nowhere"), "{found}");
    assert_eq!((&found["works"]["cpu"], &found["works"]["sim"]), (&true.into(), &true.into()));
    assert!(bare(&["doctor"]).status.success());
    if found["works"]["cuda"] == true {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let output = bare(&smoke(&run, "cuda"));
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("no CUDA driver"), "{}", text(&output.stderr));
    assert!(!run.exists());
    let output = bare(&smoke(&run, "auto"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("on the CPU: no CUDA driver"),
        "{}",
        text(&output.stderr)
    );
}
