//! Every setting with values that cannot work: refused with a message, or measured; never a panic, never much memory.

use super::{Session, Training, preview};
use crate::config::{Layers, Resolved};
use crate::progress::Progress;
use crate::run_folder::RunFolder;
use crate::signals::Stop;
use data::synth::{WorldSettings, generate};
use engine::Device;
use std::ops::ControlFlow;
use std::path::Path;
use toml::{Table, Value};

/// Keys and values of every leaf.
fn leaves(table: &Table, prefix: &str, found: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => leaves(inner, &path, found),
            _ => found.push((path, value.clone())),
        }
    }
}

/// What somebody may write in place of a value.
fn wrong(value: &Value) -> &'static [&'static str] {
    match value {
        Value::Integer(_) => {
            &["-1", "0", "2147483648", "4611686018427387904", "nan", "\"x\"", "true"]
        }
        Value::Float(_) => &["-1.0", "0.0", "nan", "inf", "1e308", "\"x\"", "[]"],
        Value::Boolean(_) => &["3", "\"x\"", "nan"],
        Value::String(_) => &["\"\"", "\"nonsense\"", "3", "[\"a\"]", "\"\\u0000\""],
        Value::Array(_) => {
            &["[]", "[-1]", "[0]", "[\"nonsense\"]", "[4611686018427387904]", "3", "[nan]"]
        }
        _ => &["3"],
    }
}

/// The most memory that the process used so far, in kB.
fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// Measures a configuration on the world; an error is as good as a result.
fn measure(folder: &Path, resolved: &Resolved) {
    let (run, _) = RunFolder::create(&folder.join("run"), resolved, false).unwrap();
    let (progress, stop) = (Progress::new(true), Stop::default());
    let (device, training) = (&Device::Cpu, Training::Continue);
    let (progress, stop, overall) = (&progress, &stop, Default::default());
    let (announce, donors) = (false, &[][..]);
    let run = &run;
    let session =
        Session { resolved, run, device, progress, stop, training, donors, announce, overall };
    let _ = preview(&session);
}

/// Set in the process that does the work: it has no other tests, whose memory would count too.
const ALONE: &str = "MPUC_TEST_ALONE";

#[test]
fn any_value_of_any_setting_is_refused_or_measured() {
    if std::env::var_os(ALONE).is_none() {
        let name = "experiment::sweep_tests::any_value_of_any_setting_is_refused_or_measured";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let output =
            command.args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let world = folder.path().join("world");
    let settings = WorldSettings { actors: 3, clips_per_actor: 8, ..WorldSettings::default() };
    generate(&settings, &world, &|_| ControlFlow::Continue(())).unwrap();
    let path = format!("data.path={}", world.display());
    let cache = format!("data.cache={}", folder.path().join("cache").display());
    let base = [path, cache, "training.batch=4".into(), "data.run_folds=1".into()];
    let resolve = |set: &[String]| {
        let set = [&base[..], set].concat();
        Resolved::new(&Layers { preset: Some("smoke"), set: &set, ..Layers::default() })
    };
    let usual = resolve(&[]).unwrap();
    let mut keys = Vec::new();
    leaves(&toml::from_str(&usual.to_text().unwrap()).unwrap(), "", &mut keys);
    keys.retain(|(key, _)| !["data.path", "data.cache"].contains(&key.as_str()));
    assert!(keys.len() > 80, "{}", keys.len());
    measure(folder.path(), &usual);

    let (mut refused, mut measured, mut problems) = (0, Vec::new(), Vec::new());
    for (key, value) in &keys {
        for wrong in wrong(value) {
            let pair = format!("{key}={wrong}");
            match std::panic::catch_unwind(|| resolve(std::slice::from_ref(&pair))) {
                Err(_) => problems.push(format!("--set {pair}: a panic")),
                Ok(Ok(resolved)) => measured.push((pair, resolved)),
                Ok(Err(failure)) => {
                    refused += 1;
                    let message = failure.to_string();
                    let named = key.rsplit('.').next().unwrap();
                    if ![2, 78].contains(&failure.code()) || !message.contains(named) {
                        problems.push(format!("--set {pair}: {message}"));
                    }
                }
            }
        }
    }
    assert!(refused > 300, "{refused}");
    let before = peak();
    for (number, (pair, resolved)) in measured.iter().enumerate() {
        let own = folder.path().join(format!("{number}"));
        let run = || measure(&own, resolved);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        if outcome.is_err() {
            problems.push(format!("--set {pair}: a panic"));
        }
        if peak() > before + 200_000 {
            problems.push(format!("--set {pair}: {} kB", peak() - before));
            break;
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
