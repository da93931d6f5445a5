//! Passes the commit of the sources to the program, for the stamps of its results.

use std::path::Path;
use std::process::Command;

fn main() {
    // Every crate of the program: a commit says nothing if their files differ from it.
    let crates =
        ["kernels", "engine", "models", "data", "bin"].map(|name| format!("../{name}/src"));
    let others = ["../kernels/ptx", "presets", "studies"].map(str::to_owned);
    let logs = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    for path in crates.into_iter().chain(others).chain(logs) {
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    // Sources in another project's repository have no commit of their own.
    let is_ours = git(&["ls-files", "--error-unmatch", "build.rs"]).is_some();
    let commit = git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    if let Some(commit) = commit.filter(|_| is_ours) {
        println!("cargo::rustc-env=MPUC_COMMIT={commit}");
    }
}

/// The output of a git command in this folder; `None` without git or without a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
