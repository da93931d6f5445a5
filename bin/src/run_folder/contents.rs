//! Which files of a folder a run wrote: `--fresh` removes these, and no others.

use super::{Invocation, lock, unwritable};
use crate::config::Resolved;
use crate::failure::{Failure, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The configuration: makes a folder a run folder. It is removed last.
pub(super) const CONFIG: &str = "config.toml";
/// How the run was started. It is written first.
pub(super) const INVOCATION: &str = "invocation.json";
/// Other files of a run.
const FILES: [&str; 3] = ["metrics.jsonl", "results.json", STATUS];
/// The progress of the run.
pub(super) const STATUS: &str = "status.json";
/// Folders of a run. Apart from [`SPLITS`], the name of a file there begins with its trial: `seed0-fold1-ARM.safetensors`.
pub(super) const FOLDERS: [&str; 4] = ["splits", "checkpoints", "eval", "models"];
/// Files in `splits`.
const SPLITS: [&str; 2] = ["splits.json", "data.json"];

/// Refuses a folder without a configuration that has other files: their configuration is not known.
///
/// # Errors
/// 78 with the name of a file; 74 when the folder cannot be read.
pub(super) fn refuse_unknown(path: &Path) -> Result<()> {
    for entry in walk(path)? {
        let name = entry.strip_prefix(path).unwrap_or(&entry);
        let started = [lock::NAME, INVOCATION].map(Path::new).contains(&name)
            || name.extension().is_some_and(|ending| ending == "partial");
        if !started {
            let message = format!(
                "{}: is no run folder: it has no {CONFIG}, but {}",
                path.display(),
                name.display()
            );
            return Err(Failure::config(message).hint("name an empty or a new folder with --out"));
        }
    }
    Ok(())
}

/// Removes what a run wrote, the configuration last, so that a folder that was cleared in part is recognised. Returns
/// what is left: files of others.
///
/// # Errors
/// 78 when the folder is not recognised as a run's; 74 when a file cannot be removed.
pub(super) fn clear(path: &Path) -> Result<Vec<PathBuf>> {
    recognise(path)?;
    let mut left = Vec::new();
    for file in walk(path)? {
        let name = file.strip_prefix(path).unwrap_or(&file);
        if name == Path::new(CONFIG) || name == Path::new(lock::NAME) {
            continue;
        }
        match is_of_a_run(name) {
            true => remove(&file)?,
            false => left.push(name.to_path_buf()),
        }
    }
    for folder in FOLDERS {
        // It stays if it holds files of others.
        let _ = fs::remove_dir(path.join(folder));
    }
    remove(&path.join(CONFIG))?;
    Ok(left)
}

/// A configuration and an invocation of this program: a file named `config.toml` alone proves nothing.
fn recognise(path: &Path) -> Result<()> {
    let refused = |why: String| {
        let message = format!("{}: is not recognised as a run folder: {why}", path.display());
        Failure::config(message).hint("nothing was removed; name another folder with --out")
    };
    Resolved::load(&path.join(CONFIG), "unknown")
        .map_err(|failure| refused(failure.to_string()))?;
    let invocation = fs::read(path.join(INVOCATION)).map_err(|error| {
        let why = if error.kind() == ErrorKind::NotFound {
            "absent".to_owned()
        } else {
            error.to_string()
        };
        refused(format!("{INVOCATION}: {why}"))
    })?;
    match serde_json::from_slice::<Invocation>(&invocation) {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(format!("{INVOCATION}: {error}"))),
    }
}

/// Whether a run writes a file of this name, relative to its folder.
fn is_of_a_run(name: &Path) -> bool {
    let Some(text) = name.to_str() else { return false };
    let text = text.strip_suffix(".partial").unwrap_or(text);
    match text.split_once(std::path::MAIN_SEPARATOR) {
        None => FILES.contains(&text) || [CONFIG, INVOCATION].contains(&text),
        Some(("splits", file)) => SPLITS.contains(&file),
        Some((folder, file)) => FOLDERS.contains(&folder) && is_of_a_trial(file),
    }
}

/// Whether a name is `seedS-foldF`, with more after a hyphen or not, and `.safetensors` or `.json`.
fn is_of_a_trial(file: &str) -> bool {
    let number = |text: &str| text.find(|c: char| !c.is_ascii_digit()).filter(|&digits| digits > 0);
    let after = |text: &str, word: &str| -> Option<String> {
        let text = text.strip_prefix(word)?;
        Some(text[number(text)?..].to_owned())
    };
    let rest = after(file, "seed").and_then(|rest| after(&rest, "-fold"));
    let Some(rest) = rest else { return false };
    let ending = [".safetensors", ".json"].into_iter().any(|ending| rest.ends_with(ending));
    ending && (rest.starts_with('-') || rest.starts_with('.')) && !rest.contains(['/', '\\'])
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(unwritable("remove", file, &error))
        }
        _ => Ok(()),
    }
}

/// Every file below a folder; a link counts as a file.
fn walk(path: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(path).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let at = error.path().unwrap_or(path).to_path_buf();
            unwritable("read the folder", &at, &error.into())
        })?;
        if !entry.file_type().is_dir() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_run_writes_are_its_own() {
        for name in [
            "results.json",
            "status.json.partial",
            "splits/splits.json",
            "splits/data.json",
            "checkpoints/seed0-fold1-mpuc.safetensors",
            "checkpoints/seed12-fold3-mpuc-previous.safetensors",
            "checkpoints/seed0-fold1-mpuc.safetensors.partial",
            "eval/seed0-fold1.json",
        ] {
            assert!(is_of_a_run(Path::new(name)), "{name}");
        }
        for name in [
            "notes.txt",
            "splits/mine.json",
            "checkpoints/best.safetensors",
            "checkpoints/seed-fold1.safetensors",
            "checkpoints/seed0-fold1-mpuc.txt",
            "checkpoints/seed0-fold1-a/b.safetensors",
            "thesis/results.json",
            "eval/seed0-foldx-mpuc.json",
        ] {
            assert!(!is_of_a_run(Path::new(name)), "{name}");
        }
    }
}
