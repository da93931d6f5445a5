//! Signals and several processes at once.

use super::world::{command, short_run, text};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a slow machine, and less than any of the commands would take.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The output of a process that must end soon.
pub fn ends(mut child: Child) -> Output {
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!(
                "still running after {PATIENCE:?}: {}",
                text(&child.wait_with_output().unwrap().stderr)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

fn start(arguments: &[&str], cache: &Path) -> Child {
    let mut command = command(arguments);
    command.env("XDG_CACHE_HOME", cache).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until a path exists.
fn appears(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < PATIENCE, "{} does not appear", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_ends_a_command_that_waits_for_its_input() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("m.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (name, code) in [("-INT", 130), ("-TERM", 143), ("-USR1", 143)] {
        let arguments = ["data", "check", pipe.to_str().unwrap(), "--format", "manifest"];
        let child = start(&arguments, folder.path());
        // The process opens the pipe to read it and waits for a writer.
        std::thread::sleep(Duration::from_millis(300));
        signal(&child, name);
        let output = ends(child);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("mpuc: "), "{}", text(&output.stderr));
    }
}

#[test]
fn a_signal_ends_the_making_of_a_world_and_the_next_start_removes_what_it_left() {
    let folder = tempfile::tempdir().unwrap();
    let world = folder.path().join("world");
    let arguments = ["data", "synth", world.to_str().unwrap(), "--actors", "24", "--clips", "60"];
    let child = start(&arguments, folder.path());
    let aside = folder.path().join(format!(".world.partial-{}", child.id()));
    appears(&aside);
    signal(&child, "-TERM");
    let output = ends(child);
    assert_eq!(output.status.code(), Some(143), "{}", text(&output.stderr));
    assert!(!world.exists());
    let arguments = ["data", "synth", world.to_str().unwrap(), "--actors", "1", "--clips", "1"];
    let output = ends(start(&arguments, folder.path()));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut left =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.next().unwrap() == "world" && left.next().is_none(), "only the world is left");
}

#[test]
fn processes_that_start_at_once_make_one_world_and_share_a_cold_cache() {
    let folder = tempfile::tempdir().unwrap();
    let (world, cache) = (folder.path().join("world"), folder.path().join("cache"));
    let arguments =
        ["data", "synth", world.to_str().unwrap(), "--actors", "6", "--clips", "16", "--json"];
    let makers = [(); 3].map(|()| start(&arguments, &cache));
    let summaries = makers.map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        output.stdout
    });
    assert!(summaries[0] == summaries[1] && summaries[1] == summaries[2]);
    let outs = ["first", "second"].map(|name| folder.path().join(name));
    let runs =
        outs.each_ref().map(|out| start(&short_run(out, &["--set", "arms=[untrained]"]), &cache));
    let figures = runs.map(|child| {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["arms"]["untrained"]["score"].clone()
    });
    assert!(figures[0].is_object() && figures[0] == figures[1], "{figures:?}");
}
