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
pub fn losses(run: &Path) -> Vec<f64> {
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

/// A library with the driver's functions, which checks how they are called.
const STUB: &str = include_str!("libcuda.c");

/// Compiles a library named like the driver's into a folder.
fn stub(folder: &Path, source: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join("cu.c");
    std::fs::write(&path, source).unwrap();
    let library = folder.join("libcuda.so.1");
    let mut cc = std::process::Command::new("cc");
    let built =
        cc.args(["-w", "-shared", "-fPIC", "-o"]).arg(&library).arg(&path).output().unwrap();
    assert!(built.status.success(), "{}", text(&built.stderr));
}

/// `doctor` and a training command with `auto` on a machine with this driver: what doctor says of driver and GPU, and
/// the outcome of training.
fn with_driver(folder: &Path, fail: &str) -> (String, std::process::Output) {
    with_settings(folder, &[("FAIL", fail)])
}

/// As [`with_driver`], with the stub's environment variables.
fn with_settings(folder: &Path, settings: &[(&str, &str)]) -> (String, std::process::Output) {
    let run = |arguments: &[&str]| {
        let mut command = command(arguments);
        command.env("LD_LIBRARY_PATH", folder).env("MPUC_NVRTC", "/nowhere");
        command.envs(settings.iter().copied()).output().unwrap()
    };
    let doctor = run(&["doctor", "--json"]);
    assert!(doctor.status.success(), "{settings:?}: {}", text(&doctor.stderr));
    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let said = format!("{} {}", found["driver"], found["devices"]);
    let out = tempfile::tempdir().unwrap();
    (said, run(&smoke(&out.path().join("run"), "auto")))
}

#[cfg(target_os = "linux")]
#[test]
fn a_driver_without_a_function_is_no_driver_and_auto_takes_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let names = STUB.lines().filter_map(|line| line.strip_prefix("DO(")?.split(',').next());
    let needed = ["cuInit", "cuLaunchKernel", "cuMemHostAlloc", "cuEventDestroy_v2"];
    assert!(needed.iter().all(|name| names.clone().any(|known| known == *name)));
    for name in needed {
        let own = folder.path().join(name);
        stub(&own, &STUB.replace(&format!("DO({name},"), "DO(other,"));
        let (said, output) = with_driver(&own, "");
        assert!(said.contains("missing") && said.contains(name), "{said}");
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("on the CPU"), "{}", text(&output.stderr));
    }
    // An empty library.
    let own = folder.path().join("empty");
    stub(&own, "");
    let (said, output) = with_driver(&own, "");
    assert!(said.contains("cuInit") && output.status.success(), "{said}");
}

/// The outcome of each call that fails: whether doctor and `auto` notice at once, or training names the call.
#[cfg(target_os = "linux")]
#[test]
fn each_call_of_the_driver_may_fail_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    stub(folder.path(), STUB);
    let starting = [
        "cuInit",
        "cuDriverGetVersion",
        "cuDeviceGet",
        "cuDeviceGetCount",
        "cuDeviceGetName",
        "cuDeviceGetAttribute",
        "cuDeviceTotalMem_v2",
        "cuDevicePrimaryCtxRetain",
        "cuCtxSetCurrent",
        "cuStreamCreate",
    ];
    for name in starting {
        let (said, output) = with_driver(folder.path(), name);
        let plain = name.trim_end_matches("_v2");
        assert!(
            said.contains("missing") && said.contains(plain) && said.contains("999"),
            "{name}: {said}"
        );
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("on the CPU"), "{}", text(&output.stderr));
    }
    let working = [
        "cuMemAllocAsync",
        "cuMemcpyHtoDAsync_v2",
        "cuEventCreate",
        "cuEventRecord",
        "cuModuleLoadData",
        "cuModuleGetFunction",
        "cuLaunchKernel",
    ];
    for name in working {
        let (said, output) = with_driver(folder.path(), name);
        assert!(!said.contains("missing"), "{name}: {said}");
        let message = text(&output.stderr);
        assert!(!output.status.success() && !message.contains("a bug"), "{name}: {message}");
        assert!(message.contains(name.trim_end_matches("_v2")), "{name}: {message}");
    }
    // A kernel that fails is known only when somebody waits for it.
    let out = folder.path().join("run");
    let mut command = command(&smoke(&out, "cuda"));
    command.env("LD_LIBRARY_PATH", folder.path()).env("MPUC_NVRTC", "/nowhere");
    command.env("FAIL", "cuStreamSynchronize").env("MPUC_CUDA_SYNC", "1");
    let message = text(&command.output().unwrap().stderr);
    for part in ["cuStreamSynchronize failed with code 999", " blocks of ", "arguments "] {
        assert!(message.contains(part), "{message}");
    }
}

/// Training that the stub lets end without a complaint about a call.
#[cfg(target_os = "linux")]
fn trains(folder: &Path, settings: &[(&str, &str)]) -> String {
    let (said, output) = with_settings(folder, settings);
    let message = text(&output.stderr);
    assert!(output.status.success(), "{settings:?}: {message}");
    assert!(!message.contains("on the CPU"), "{settings:?}: {message}");
    said
}

/// Rows: what the driver lacks, and what doctor says of it. The stub aborts the process when a pinned block is written
/// before its copy, a pageable one freed before it, or memory freed under running work.
#[cfg(target_os = "linux")]
#[test]
fn a_driver_without_pools_or_pinned_memory_trains_and_doctor_says_so() {
    let folder = tempfile::tempdir().unwrap();
    stub(folder.path(), STUB);
    let pools = "memory without the driver's pools";
    let said = trains(folder.path(), &[]);
    assert!(!said.contains(pools), "{said}");
    for (settings, reason) in [
        (&[("POOLS", "0")], "does not support them"),
        (&[("FAIL", "cuDeviceGetDefaultMemPool")], "cuDeviceGetDefaultMemPool failed"),
        (&[("FAIL", "cuMemPoolSetAttribute")], "cuMemPoolSetAttribute failed"),
    ] {
        let said = trains(folder.path(), settings);
        assert!(said.contains(pools) && said.contains(reason), "{said}");
    }
    let (_, output) = with_settings(folder.path(), &[("POOLS", "0"), ("FAIL", "cuMemAlloc_v2")]);
    assert!(text(&output.stderr).contains("cuMemAlloc failed"), "{}", text(&output.stderr));
    trains(folder.path(), &[("FAIL", "cuMemHostAlloc")]);
}

/// Out of memory: the cached blocks are freed, and the pool is trimmed, before the second try.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_is_short_is_asked_for_again_after_a_trim() {
    let folder = tempfile::tempdir().unwrap();
    stub(folder.path(), STUB);
    trains(folder.path(), &[("SHORT", "250")]);
    trains(folder.path(), &[("SHORT", "250"), ("POOLS", "0")]);
    // At this allocation a step has dropped blocks. A trim that fails leaves the memory short.
    let (_, output) =
        with_settings(folder.path(), &[("SHORT", "250"), ("FAIL", "cuMemPoolTrimTo")]);
    let message = text(&output.stderr);
    assert!(!output.status.success() && message.contains("cuMemPoolTrimTo"), "{message}");
}

#[test]
fn the_profilers_recipes_are_commands_of_this_program() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/README.md");
    let document = std::fs::read_to_string(document).unwrap();
    let recipes = document
        .lines()
        .filter(|line| line.starts_with("nsys profile ") || line.starts_with("ncu "));
    let recipes: Vec<&str> =
        recipes.filter_map(|line| line.split_once(" mpuc ")).map(|(_, own)| own).collect();
    assert_eq!(recipes.len(), 3, "{recipes:?}");
    for recipe in recipes {
        let mut command = command(&recipe.split(' ').collect::<Vec<_>>());
        let output =
            command.env("LD_LIBRARY_PATH", "").env("MPUC_NVRTC", "/nowhere").output().unwrap();
        // Without a GPU: the options are right, the device is missing.
        let right = output.status.success() || output.status.code() == Some(69);
        assert!(right, "{recipe}: {}", text(&output.stderr));
    }
}
