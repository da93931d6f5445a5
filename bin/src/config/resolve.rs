//! Layers of a configuration: a preset, a file, `--set`, dedicated flags; each over the one before.

use super::arms::{self, Arm};
use super::nearest::nearest;
use super::table::{Builder, Source, join, parse};
use super::{Config, explain, migrate, presets, save, sequences};
use crate::failure::{Failure, Kind, Result};
use data::corpora::{Format, ravdess};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// A configuration that was checked, and where each of its values comes from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// The preset it started from.
    pub preset: String,
    /// What the run compares, in the order of `config.arms`.
    pub arms: Vec<Arm>,
    /// The source of each value, by its full key.
    pub sources: BTreeMap<String, Source>,
}

/// The layers that the command line names.
#[derive(Debug, Clone, Default)]
pub struct Layers<'a> {
    /// The preset; without it the file's `base`, else the default.
    pub preset: Option<&'a str>,
    /// A TOML file.
    pub file: Option<&'a Path>,
    /// `key=value` pairs.
    pub set: &'a [String],
    /// Values of dedicated flags: flag, key, value.
    pub flags: Vec<(&'static str, &'static str, Value)>,
}

impl Resolved {
    /// Merges the layers, of which later ones replace values of earlier ones, and checks the result.
    ///
    /// # Errors
    /// When a file cannot be read, a key is unknown, a value is of the wrong type or a setting cannot work.
    pub fn new(layers: &Layers<'_>) -> Result<Self> {
        let file = layers.file.map(FileLayer::read).transpose();
        let file = file.map_err(|failure| match failure.kind() {
            Kind::MissingData => failure
                .hint("check the path after --config; --preset names a built-in configuration"),
            _ => failure,
        })?;
        if let Some(study) = file.as_ref().filter(|file| file.table.contains_key("study")) {
            let what = format!("{}: has a table `study`, so it is a study", study.path.display());
            return Err(Failure::config(what).hint("run it with `mpuc study`"));
        }
        Resolved::of(layers, file.as_ref(), &[])
    }

    /// As [`new`](Self::new), with a file that was read before, and tables that are laid over it.
    pub(super) fn of(
        layers: &Layers<'_>,
        file: Option<&FileLayer>,
        over: &[Overlay],
    ) -> Result<Self> {
        let base = match file.and_then(|file| Some((file, file.table.get("base")?))) {
            Some((_, Value::String(base))) => Some(base.as_str()),
            None => None,
            Some((file, other)) => {
                let path = file.path.display();
                let what = format!("{path}: `base` is {other}, not the name of a preset");
                return Err(Failure::config(what).hint("write e.g. base = \"world\""));
            }
        };
        let preset = match (layers.preset, base) {
            (Some(preset), Some(base)) if preset != base => {
                let path = file.map_or(Path::new(""), |file| &file.path).display();
                return Err(Failure::config(format!(
                    "{path} has base = \"{base}\", but --preset is `{preset}`"
                ))
                .hint("leave one of them out"));
            }
            (Some(preset), _) => preset,
            (None, Some(base)) => base,
            (None, None) => presets::DEFAULT,
        };
        let mut builder = Builder::default();
        lay_preset(&mut builder, presets::ARMS, 0)?;
        lay_preset(&mut builder, preset, 0)?;
        if let Some(file) = file {
            let mut table = file.table.clone();
            table.remove("base");
            migrate::migrate(&mut table);
            builder.lay(table, &|key| file.source(key));
            for overlay in over {
                let source = |key: &str| file.source(&join(&overlay.at, key));
                builder.lay(overlay.table.clone(), &source);
            }
        }
        // Which modalities there are may depend on the data.
        let of_modality = |pair: &&String| pair.trim_start().starts_with("modality.");
        let (modalities, others): (Vec<&String>, Vec<&String>) =
            layers.set.iter().partition(of_modality);
        for pair in others {
            set(&mut builder, pair)?;
        }
        for (flag, key, value) in &layers.flags {
            put(&mut builder, key, value.clone(), Source::Flag(flag))?;
        }
        recognise_format(&mut builder)?;
        sequences::lay(&mut builder)?;
        for pair in modalities {
            set(&mut builder, pair)?;
        }
        finish(builder, preset)
    }

    /// Makes relative paths absolute: relative to `folder`.
    pub fn located(mut self, folder: &Path) -> Self {
        let relative = |path: &&mut PathBuf| path.is_relative() && !path.as_os_str().is_empty();
        self.config.paths().filter(relative).for_each(|path| *path = folder.join(&*path));
        self
    }

    /// Loads the configuration of a run. It is complete, so presets do not change it.
    ///
    /// # Errors
    /// When the file is not there, or is not what [`save`](Self::save) writes.
    pub fn load(path: &Path, preset: &str) -> Result<Self> {
        let FileLayer { mut table, lines, .. } = FileLayer::read(path)?;
        let mut builder = Builder::default();
        // Runs of version 1 name controls, which the built-in arms define.
        if migrate::migrate(&mut table) {
            lay_preset(&mut builder, presets::ARMS, 0)?;
        }
        builder.lay(table, &|key| Source::File(path.into(), lines.get(key).copied().unwrap_or(0)));
        finish(builder, preset)
    }
}

/// Puts the format of the data in place of a preset's when the data does not look like that: a manifest named with `--data`
/// is a manifest, whatever corpus the preset is for. A format that was set by hand stays.
fn recognise_format(builder: &mut Builder) -> Result<()> {
    let path = builder.get("data.path").and_then(Value::as_str).unwrap_or_default();
    let by_hand = builder
        .sources
        .get("data.format")
        .is_some_and(|source| !matches!(source, Source::Preset(_) | Source::Default));
    if path.is_empty() || by_hand {
        return Ok(());
    }
    let path = Path::new(path);
    let preset = builder.get("data.format").and_then(Value::as_str);
    let preset = preset.map_or(Some(ravdess::FORMAT), Format::named);
    if preset.is_some_and(|format| format.is_here(path)) {
        return Ok(());
    }
    // What cannot be recognised is refused with its reason when it is read.
    let Ok(found) = Format::recognise(path) else { return Ok(()) };
    builder.put("data.format", Value::String(found.name().into()), Source::Recognised)
}

/// A path as the value of a setting.
///
/// # Errors
/// When it is not UTF-8, which settings are.
pub fn path_value(flag: &str, path: &Path) -> Result<Value> {
    let text = path.to_str().ok_or_else(|| {
        Failure::new(Kind::Usage, format!("{flag} {}: is not UTF-8", path.display()))
            .hint("rename it, or name a link to it")
    })?;
    Ok(Value::String(text.into()))
}

/// The largest configuration, in bytes.
const MOST_BYTES: u64 = 16 << 20;

/// A TOML file of settings.
#[derive(Debug, Clone)]
pub(super) struct FileLayer {
    pub(super) path: PathBuf,
    pub(super) table: Table,
    /// The line of each key.
    pub(super) lines: BTreeMap<String, usize>,
}

/// Settings that are laid over those of a file.
#[derive(Debug, Clone)]
pub(super) struct Overlay {
    /// The settings.
    pub(super) table: Table,
    /// The key of the table that has them in the file.
    pub(super) at: String,
}

impl FileLayer {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path);
        let mut text = String::new();
        let read = file.and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
        read.map_err(|error| Failure::io("read the configuration", path, &error))?;
        Self::parse(path, &text)
    }

    /// The settings in a file's text.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self> {
        if text.len() as u64 > MOST_BYTES {
            let what = format!("{}: is longer than {} MB", path.display(), MOST_BYTES >> 20);
            return Err(Failure::config(what).hint("give a configuration in TOML"));
        }
        let table: Table = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(String::new(), |span| format!(":{}", line_of(text, span.start)));
            Failure::config(format!("{}{line}: {}", path.display(), error.message()))
        })?;
        let mut lines = BTreeMap::new();
        if let Ok(document) = toml::de::DeTable::parse(text) {
            note_lines(text, document.get_ref(), "", &mut lines);
        }
        Ok(FileLayer { path: path.into(), table, lines })
    }

    /// The line of a key.
    pub(super) fn source(&self, key: &str) -> Source {
        Source::File(self.path.clone(), self.lines.get(key).copied().unwrap_or(0))
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
}

fn note_lines(
    text: &str,
    table: &toml::de::DeTable<'_>,
    prefix: &str,
    lines: &mut BTreeMap<String, usize>,
) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        if let Some(inner) = value.get_ref().as_table() {
            note_lines(text, inner, &path, lines);
        }
        // The tables of an array bear its key and their numbers.
        for (number, inner) in value.get_ref().as_array().into_iter().flatten().enumerate() {
            if let Some(inner) = inner.get_ref().as_table() {
                note_lines(text, inner, &join(&path, &number.to_string()), lines);
            }
        }
        lines.insert(path, line_of(text, key.span().start));
    }
}

/// Lays a preset, after those that it is based on, over the present values.
fn lay_preset(builder: &mut Builder, name: &str, depth: usize) -> Result<()> {
    let mut table: Table = toml::from_str(presets::text(name)?)
        .map_err(|error| Failure::new(Kind::Bug, format!("preset {name}: {error}")))?;
    if let Some(Value::String(base)) = table.remove("base") {
        if depth > 4 {
            return Err(Failure::new(Kind::Bug, format!("preset {name} is its own base")));
        }
        lay_preset(builder, &base, depth + 1)?;
    }
    builder.lay(table, &|_| Source::Preset(name.into()));
    Ok(())
}

/// One `key=value` of the command line.
fn set(builder: &mut Builder, pair: &str) -> Result<()> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(Failure::new(Kind::Usage, format!("--set {pair}: there is no `=`"))
            .hint("write --set key=value, e.g. --set training.epochs=10"));
    };
    let (key, value) = (key.trim(), value.trim());
    let old = builder.get(key);
    if value.is_empty() && !matches!(old, Some(Value::String(_))) {
        return remove(builder, key);
    }
    let value = parse(value, old);
    put(builder, key, value, Source::Set)
}

/// Sets a value. A single value of an unknown modality is refused: a new modality needs its whole table, with feature and
/// backbone.
fn put(builder: &mut Builder, key: &str, value: Value, source: Source) -> Result<()> {
    let parts: Vec<&str> = key.split('.').collect();
    if let ["modality", name, _, ..] = parts[..] {
        known_modality(builder, name, &source)?;
    }
    builder.put(key, value, source)
}

fn known_modality(builder: &Builder, name: &str, source: &Source) -> Result<()> {
    let all: Vec<&str> = match builder.table.get("modality").and_then(Value::as_table) {
        Some(table) if !table.contains_key(name) => table.keys().map(String::as_str).collect(),
        _ => return Ok(()),
    };
    let failure = Failure::config(format!("unknown modality `modality.{name}` ({source})"));
    Err(failure.hint(match nearest(name, all.iter().copied()) {
        Some(near) => format!("did you mean `modality.{near}`?"),
        None => format!(
            "there are {}; a new one is written as a table of its own in a file",
            all.join(", ")
        ),
    }))
}

/// Removes an optional value or a modality.
fn remove(builder: &mut Builder, key: &str) -> Result<()> {
    if builder.get(key).is_none() {
        // Nothing to remove, unless the name is wrong.
        let mut probe = builder.clone();
        put(&mut probe, key, Value::Boolean(false), Source::Set)?;
        return match deserialize(&probe) {
            Err(failure) if failure.to_string().contains("unknown") => Err(failure),
            _ => Ok(()),
        };
    }
    builder.drop(key);
    Ok(())
}

/// The configuration of the merged tables.
///
/// # Errors
/// A key that is unknown, or a value of another type, with its source.
pub(super) fn deserialize(builder: &Builder) -> Result<Config> {
    serde_path_to_error::deserialize(Value::Table(builder.table.clone()))
        .map_err(|error| explain::explain(builder, &error, default_keys))
}

/// Every key of the default preset, with tables.
fn default_keys() -> Vec<String> {
    let mut builder = Builder::default();
    let laid = lay_preset(&mut builder, presets::ARMS, 0)
        .and_then(|()| lay_preset(&mut builder, presets::DEFAULT, 0));
    let config = laid.ok().and_then(|()| Value::Table(builder.table).try_into::<Config>().ok());
    let mut keys = Vec::new();
    if let Some(table) = config.and_then(|config| save::to_table(&config).ok()) {
        explain::collect(&table, "", &mut keys);
    }
    keys
}

fn finish(builder: Builder, preset: &str) -> Result<Resolved> {
    let mut config = deserialize(&builder)?;
    // A seed that is named twice is one trial.
    let mut known = BTreeSet::new();
    config.seeds.retain(|&seed| known.insert(seed));
    let arms = arms::resolve(&builder, &config)?;
    // Arms that are not run do not change the run.
    config.arm.retain(|name, _| config.arms.contains(name));
    config.baseline = config.baseline.filter(|name| config.arms.contains(name));
    let complete = save::to_table(&config)?;
    let mut sources = BTreeMap::new();
    note_sources(&complete, "", &builder.sources, &mut sources);
    let resolved = Resolved { config, arms, preset: preset.to_owned(), sources };
    super::validate::check(&resolved)?;
    Ok(resolved)
}

/// The source of every leaf of the complete table; a leaf that no layer sets is a default.
fn note_sources(
    table: &Table,
    prefix: &str,
    known: &BTreeMap<String, Source>,
    all: &mut BTreeMap<String, Source>,
) {
    for (key, value) in table {
        let path = join(prefix, key);
        match value {
            Value::Table(inner) => note_sources(inner, &path, known, all),
            _ => {
                let source = known.get(&path).cloned().unwrap_or(Source::Default);
                all.insert(path, source);
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
