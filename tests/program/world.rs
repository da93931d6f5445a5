//! A tiny synthetic world and short runs on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Six actors with sixteen clips each, made once for all tests.
pub fn world() -> &'static Path {
    static WORLD: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = WORLD.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny wörld");
        let output = mpuc(&[
            "data",
            "synth",
            path.to_str().unwrap(),
            "--actors",
            "6",
            "--clips",
            "16",
            "--json",
        ]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        (folder, path)
    });
    path
}

/// Runs the program to its end.
pub fn mpuc(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// The program with arguments, and a cache of its own.
pub fn command(arguments: &[&str]) -> Command {
    static CACHE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let cache = CACHE.get_or_init(|| tempfile::tempdir().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpuc"));
    command.args(arguments).env("XDG_CACHE_HOME", cache.path());
    command
}

/// Arguments of a run of seconds on the tiny world.
pub fn short_run<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![
        "train",
        "--data",
        world().to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--json",
    ];
    for setting in [
        "training.epochs=3",
        "training.batch=8",
        "arm.late_fusion.training.epochs=2",
        "arm.late_fusion.training.batch=8",
        "probe.epochs=5",
        "seeds=[3]",
        "data.run_folds=1",
    ] {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(more);
    arguments
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every checkpoint of a run by name, without the ones before the last.
pub fn checkpoints(run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<(String, Vec<u8>)> = std::fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_str().unwrap().contains("-previous"))
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}
