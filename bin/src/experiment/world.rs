//! The synthetic world behind an experiment: its folder in the user's cache, and its true factors.

use crate::config::{Config, DataConfig, word};
use crate::failure::{Failure, Kind, Result};
use crate::progress::Progress;
use crate::signals::Stop;
use data::corpora::{crema_d, ravdess};
use data::dataset::Dataset;
use data::synth::{self, Shape, World, generate, generate_segments};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The cache folder of the user: `mpuc` in `$XDG_CACHE_HOME` or `~/.cache`.
pub fn user_folder() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("mpuc")
}

/// The folder of the synthetic world, which is made on first use.
///
/// # Errors
/// When the configuration has no world, a setting cannot work, or files cannot be written.
pub fn synthetic_world(data: &DataConfig, progress: &Progress, stop: &Stop) -> Result<PathBuf> {
    let (Some(shape), Some(settings)) = (data.world_shape(), data.world()) else {
        let hint = match data.world_shape() {
            Some(_) => "name the folder with --data, or set data.world for a synthetic world",
            None => "name the folder or the manifest with --data",
        };
        return Err(Failure::config("`data.path` is empty: there is no data").hint(hint));
    };
    let settings = &settings;
    let mut text = serde_json::to_string(settings)
        .map_err(|error| Failure::new(Kind::Bug, format!("the world's settings: {error}")))?;
    // Another version of espeak-ng makes another world.
    text.push_str(World::new(settings, shape)?.speaker().unwrap_or_default());
    if shape != Shape::Ravdess {
        text.push_str(&word(&shape));
    }
    let hash = blake3::hash(text.as_bytes()).to_hex();
    let root = user_folder().join(format!("world-{}", &hash[..10]));
    if !root.exists() {
        progress.line(format_args!("making a synthetic world in {} (once)", root.display()));
    }
    if let Some(folder) = root.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::io("make the folder", folder, &error))?;
    }
    let task = Mutex::new(progress.task("synthetic world", 0));
    let told = AtomicBool::new(false);
    let made = |at: synth::Progress| {
        if at.waiting && !told.swap(true, Ordering::Relaxed) {
            progress
                .line(format_args!("waiting for another process that makes {}", root.display()));
        }
        let mut task = task.lock().unwrap_or_else(PoisonError::into_inner);
        task.set_total(at.total as u64);
        task.tick(at.done as u64, "");
        if stop.asked().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    match shape {
        Shape::Ravdess => generate(settings, &root, &made)?,
        Shape::Mosei => generate_segments(settings, &root, &made)?,
    };
    Ok(root)
}

/// The corpus, for the stamp. A synthetic world has RAVDESS's names and may have lost its own files, so it is also
/// recognised by its clips: all have exactly the same length, which recordings of people never have.
pub fn origin(config: &Config, root: &Path, dataset: &Dataset) -> String {
    let named = ["world.json", "factors.csv"].iter().any(|name| root.join(name).exists());
    let equal = |modality: usize| {
        let mut lengths = (0..dataset.len()).filter_map(|sample| dataset.length(sample, modality));
        let first = lengths.next();
        dataset.len() > 1 && lengths.all(|length| Some(length) == first)
    };
    let performed = [ravdess::FORMAT, crema_d::FORMAT].contains(&config.data.format);
    let equal = performed && (0..dataset.modalities().len()).all(equal);
    if config.data.path.as_os_str().is_empty() || named || equal {
        return "synthetic world".into();
    }
    word(&config.data.format)
}

/// The true factors of a synthetic world, from its `factors.csv` with the columns id, actor, class, and then numbers.
///
/// # Errors
/// When the file is damaged or lacks a sample.
pub fn factors<'a>(
    root: &Path,
    ids: impl Iterator<Item = &'a str>,
) -> Result<Option<Vec<Vec<f32>>>> {
    let path = root.join("factors.csv");
    if !root.is_dir() || !path.exists() {
        return Ok(None);
    }
    let bad = |what: String| Failure::new(Kind::BadData, format!("{}: {what}", path.display()));
    let text =
        std::fs::read_to_string(&path).map_err(|error| Failure::io("read", &path, &error))?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let id_column = header
        .iter()
        .position(|name| *name == "id")
        .ok_or_else(|| bad("has no column `id`".into()))?;
    let is_factor = |name: &str| !["id", "actor", "class"].contains(&name);
    let mut by_id = BTreeMap::new();
    for (number, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        let numbers = header
            .iter()
            .zip(&cells)
            .filter(|(name, _)| is_factor(name))
            .map(|(_, cell)| cell.parse());
        let numbers: std::result::Result<Vec<f32>, _> = numbers.collect();
        let (Ok(numbers), Some(id)) = (numbers, cells.get(id_column)) else {
            return Err(bad(format!("line {} is not a row of numbers", number + 2)));
        };
        // A file's name without its modality is the performance.
        by_id.insert(
            id.split_once('-').map_or(*id, |(_, performance)| performance).to_owned(),
            numbers,
        );
    }
    let find = |id: &str| {
        by_id
            .get(id)
            .cloned()
            .ok_or_else(|| bad(format!("has no row for {id}; make the world again")))
    };
    ids.map(find).collect::<Result<_>>().map(Some)
}
