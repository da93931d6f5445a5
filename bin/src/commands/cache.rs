//! `mpuc cache`: what the user's cache folder holds, and removing it.

use crate::Context;
use crate::cli::{CacheCleanArgs, CacheListArgs};
use crate::experiment::user_folder;
use crate::failure::{Failure, Result};
use crate::output;
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The cache folder and its entries.
#[derive(Debug, Serialize)]
struct Cache {
    folder: PathBuf,
    entries: Vec<Entry>,
}

/// A synthetic world, what a killed process left of one, or the decoded features.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    files: usize,
    bytes: u64,
    /// Since its youngest file was written.
    days: f64,
    #[serde(skip)]
    paths: Vec<PathBuf>,
}

/// Runs `mpuc cache list`.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(args: &CacheListArgs) -> Result<()> {
    let cache = Cache::read(&user_folder(), None)?;
    if args.json {
        return output::json(&cache);
    }
    let row = |entry: &Entry| {
        let Entry { name, files, bytes, days, .. } = entry;
        vec![name.clone(), files.to_string(), megabytes(*bytes), format!("{days:.1}")]
    };
    let rows: Vec<Vec<String>> = cache.entries.iter().map(row).collect();
    let table = output::table(&["entry", "files", "MB", "days old"], &rows);
    output::text_lines(format_args!("{}\n{table}", cache.folder.display()))
}

/// Runs `mpuc cache clean`.
///
/// # Errors
/// When a file cannot be removed.
pub fn clean(args: &CacheCleanArgs, context: &Context) -> Result<()> {
    let cache = Cache::read(&user_folder(), args.older_than)?;
    let (mut files, mut bytes) = (0, 0);
    for entry in &cache.entries {
        for path in &entry.paths {
            let removed =
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            removed.map_err(|error| Failure::io("remove", path, &error))?;
        }
        (files, bytes) = (files + entry.files, bytes + entry.bytes);
        context.progress.line(format_args!("removed {}", entry.name));
    }
    output::text_lines(format_args!("{files} files, {} MB", megabytes(bytes)))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

impl Cache {
    /// The entries that this program writes; with `older_than` only those, and the files of features, that are older.
    fn read(folder: &Path, older_than: Option<Duration>) -> Result<Self> {
        let now = SystemTime::now();
        let old = |age: Duration| older_than.is_none_or(|least| age >= least);
        let mut entries = Vec::new();
        for path in children(folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name == "features" {
                entries.extend(Entry::new(name, children(&path)?, now, &old)?);
            } else if is_of_a_world(&name) {
                entries.extend(Entry::new(name, vec![path], now, &old)?);
            }
        }
        Ok(Cache { folder: folder.to_owned(), entries })
    }
}

/// `world-HASH`, or `.world-HASH.ENDING` while it is written.
fn is_of_a_world(name: &str) -> bool {
    let name = name.strip_prefix('.').unwrap_or(name);
    let hash = name.strip_prefix("world-").map(|rest| rest.split('.').next().unwrap_or(rest));
    hash.is_some_and(|hash| hash.len() == 10 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Entry {
    /// Of those of the paths whose age is `old`; `None` if there is none.
    fn new(
        name: String,
        paths: Vec<PathBuf>,
        now: SystemTime,
        old: &dyn Fn(Duration) -> bool,
    ) -> Result<Option<Self>> {
        let mut entry = Entry { name, files: 0, bytes: 0, days: f64::INFINITY, paths: Vec::new() };
        for path in paths {
            let (mut files, mut bytes, mut age) = (0, 0, Duration::MAX);
            for file in walkdir::WalkDir::new(&path).into_iter().filter_map(std::result::Result::ok)
            {
                // A file that another process removes meanwhile is not there.
                let Ok(metadata) = file.metadata() else { continue };
                let written =
                    metadata.modified().ok().and_then(|time| now.duration_since(time).ok());
                age = age.min(written.unwrap_or_default());
                if metadata.is_file() {
                    (files, bytes) = (files + 1, bytes + metadata.len());
                }
            }
            if old(age) {
                entry.files += files;
                entry.bytes += bytes;
                entry.days = entry.days.min(age.as_secs_f64() / 86_400.0);
                entry.paths.push(path);
            }
        }
        Ok((!entry.paths.is_empty()).then_some(entry))
    }
}

/// The entries of a folder by name; none if it does not exist.
fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::io("read the folder", folder, &error)),
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_program_writes_is_listed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let place = folder.path();
        for name in
            ["world-0123456789", ".world-0123456789.partial-7", "features", "mine", "world-mine"]
        {
            fs::create_dir(place.join(name))?;
            fs::write(place.join(name).join("file"), [0; 1000])?;
        }
        let names = |cache: Cache| -> Vec<(String, u64)> {
            cache.entries.into_iter().map(|entry| (entry.name, entry.bytes)).collect()
        };
        let all = names(Cache::read(place, None)?);
        let wanted = [".world-0123456789.partial-7", "features", "world-0123456789"];
        assert_eq!(all, wanted.map(|name| (name.to_owned(), 1000)));
        let old = Cache::read(place, Some(Duration::from_secs(3600)))?;
        assert!(old.entries.is_empty(), "{old:?}");
        assert!(Cache::read(&place.join("none"), None)?.entries.is_empty());
        Ok(())
    }
}
