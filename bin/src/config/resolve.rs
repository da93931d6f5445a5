//! Layers of a configuration: a preset, a file, `--set`, dedicated flags; each over the one before.

use super::explain;
use super::{Config, presets};
use crate::failure::{Failure, Kind, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A preset.
    Preset(String),
    /// A line of a file; 0 where it is not known.
    File(PathBuf, usize),
    /// `--set`.
    Set,
    /// A flag of its own, e.g. `--data`.
    Flag(&'static str),
    /// Nobody named it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Preset(name) => write!(f, "preset {name}"),
            Source::File(path, 0) => write!(f, "{}", path.display()),
            Source::File(path, line) => write!(f, "{}:{line}", path.display()),
            Source::Set => f.write_str("--set"),
            Source::Flag(flag) => f.write_str(flag),
            Source::Default => f.write_str("default"),
        }
    }
}

/// A configuration that was checked, and where each of its values comes from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The configuration.
    pub config: Config,
    /// The preset it started from.
    pub preset: String,
    /// The source of each value, by its full key.
    pub sources: BTreeMap<String, Source>,
}

/// What the command line asks for.
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

/// Values and sources while layers are laid over each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Builder {
    pub(super) table: Table,
    pub(super) sources: BTreeMap<String, Source>,
}

impl Resolved {
    /// Lays the layers over each other and checks the outcome.
    ///
    /// # Errors
    /// When a file cannot be read, a key is unknown, a value is of the wrong type or a setting cannot work.
    pub fn new(layers: &Layers<'_>) -> Result<Self> {
        let file = layers.file.map(read).transpose()?;
        let base = file.as_ref().and_then(|(table, _)| table.get("base")).and_then(Value::as_str);
        let preset = match (layers.preset, base) {
            (Some(preset), Some(base)) if preset != base => {
                let path = layers.file.unwrap_or(Path::new("")).display();
                return Err(Failure::config(format!(
                    "{path} has base = \"{base}\", but --preset asks for `{preset}`"
                ))
                .hint("leave one of them out"));
            }
            (Some(preset), _) => preset,
            (None, Some(base)) => base,
            (None, None) => presets::DEFAULT,
        };
        let mut builder = Builder::default();
        builder.preset(preset, 0)?;
        if let (Some((mut table, lines)), Some(path)) = (file.clone(), layers.file) {
            table.remove("base");
            let source =
                |key: &str| Source::File(path.into(), lines.get(key).copied().unwrap_or(0));
            builder.lay(table, &source);
        }
        for pair in layers.set {
            builder.set(pair)?;
        }
        for (flag, key, value) in &layers.flags {
            builder.put(key, value.clone(), Source::Flag(flag))?;
        }
        builder.finish(preset)
    }

    /// A configuration that was saved with a run: complete in itself, whatever the presets say today.
    ///
    /// # Errors
    /// When the file is not there, or is not what [`save`](Self::save) writes.
    pub fn load(path: &Path, preset: &str) -> Result<Self> {
        let (table, lines) = read(path)?;
        let mut builder = Builder::default();
        builder.lay(table, &|key| Source::File(path.into(), lines.get(key).copied().unwrap_or(0)));
        builder.finish(preset)
    }
}

/// The values of a TOML file, and the line of each key.
fn read(path: &Path) -> Result<(Table, BTreeMap<String, usize>)> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::io("read the configuration", path, &error))?;
    let table: Table = toml::from_str(&text).map_err(|error| {
        let line =
            error.span().map_or(String::new(), |span| format!(":{}", line_of(&text, span.start)));
        Failure::config(format!("{}{line}: {}", path.display(), error.message()))
    })?;
    let mut lines = BTreeMap::new();
    if let Ok(document) = toml::de::DeTable::parse(&text) {
        note_lines(&text, document.get_ref(), "", &mut lines);
    }
    Ok((table, lines))
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
        lines.insert(path, line_of(text, key.span().start));
    }
}

/// `prefix.key`.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

impl Builder {
    fn preset(&mut self, name: &str, depth: usize) -> Result<()> {
        let mut table: Table = toml::from_str(presets::text(name)?)
            .map_err(|error| Failure::new(Kind::Bug, format!("preset {name}: {error}")))?;
        if let Some(Value::String(base)) = table.remove("base") {
            if depth > 4 {
                return Err(Failure::new(Kind::Bug, format!("preset {name} is its own base")));
            }
            self.preset(&base, depth + 1)?;
        }
        self.lay(table, &|_| Source::Preset(name.into()));
        Ok(())
    }

    /// Lays a table over what is there, value by value.
    pub(super) fn lay(&mut self, table: Table, source: &dyn Fn(&str) -> Source) {
        let Builder { table: under, sources } = self;
        lay(under, table, "", source, sources);
    }

    /// One `key=value` of the command line.
    fn set(&mut self, pair: &str) -> Result<()> {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Failure::new(Kind::Usage, format!("--set {pair}: there is no `=`"))
                .hint("write --set key=value, e.g. --set training.epochs=10"));
        };
        let (key, value) = (key.trim(), value.trim());
        let old = self.get(key);
        if value.is_empty() && !matches!(old, Some(Value::String(_))) {
            return self.remove(key);
        }
        let value = parse(value, old);
        self.put(key, value, Source::Set)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// Puts a value in place, making the tables on the way.
    fn put(&mut self, key: &str, value: Value, source: Source) -> Result<()> {
        let mut parts: Vec<&str> = key.split('.').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(Failure::new(
                Kind::Usage,
                format!("{source} {key}: a part of the key is empty"),
            ));
        }
        // A modality is made by naming its network and feature in full, not by setting a single value of it.
        if let ["modality", name, _, ..] = parts[..] {
            self.known_modality(name, &source)?;
        }
        let mut on_the_way = String::new();
        for part in &parts[..parts.len() - 1] {
            on_the_way = join(&on_the_way, part);
            if self.get(&on_the_way).is_some_and(|value| !value.is_table()) {
                return Err(Failure::config(format!(
                    "{source} {key}: `{on_the_way}` is a value, not a table"
                )));
            }
        }
        let mut layer = value;
        while let Some(part) = parts.pop() {
            layer = Value::Table(Table::from_iter([(part.to_owned(), layer)]));
        }
        if let Value::Table(layer) = layer {
            self.lay(layer, &|_| source.clone());
        }
        Ok(())
    }

    fn known_modality(&self, name: &str, source: &Source) -> Result<()> {
        let all: Vec<&str> = match self.table.get("modality").and_then(Value::as_table) {
            Some(table) if !table.contains_key(name) => table.keys().map(String::as_str).collect(),
            _ => return Ok(()),
        };
        let failure = Failure::config(format!("unknown modality `modality.{name}` ({source})"));
        Err(failure.hint(match explain::nearest(name, all.iter().copied()) {
            Some(near) => format!("did you mean `modality.{near}`?"),
            None => format!(
                "there are {}; a new one is written as a table of its own in a file",
                all.join(", ")
            ),
        }))
    }

    /// Takes an optional value or a modality away.
    fn remove(&mut self, key: &str) -> Result<()> {
        if self.get(key).is_none() {
            // Nothing to take away, unless the name is wrong.
            let mut probe = self.clone();
            probe.put(key, Value::Boolean(false), Source::Set)?;
            return match probe.deserialize() {
                Err(failure) if failure.to_string().contains("unknown") => Err(failure),
                _ => Ok(()),
            };
        }
        self.drop(key);
        Ok(())
    }

    /// Takes away what is there.
    pub(super) fn drop(&mut self, key: &str) {
        let (parent, last) = key.rsplit_once('.').unwrap_or(("", key));
        let table = parent
            .split('.')
            .filter(|part| !part.is_empty())
            .try_fold(&mut self.table, |table, part| table.get_mut(part)?.as_table_mut());
        if let Some(table) = table {
            table.remove(last);
        }
        forget(&mut self.sources, key);
    }

    pub(super) fn deserialize(&self) -> Result<Config> {
        let deserializer = Value::Table(self.table.clone());
        serde_path_to_error::deserialize(deserializer)
            .map_err(|error| explain::explain(self, &error))
    }

    fn finish(self, preset: &str) -> Result<Resolved> {
        let config = self.deserialize()?;
        let complete = super::save::to_table(&config)?;
        let mut sources = BTreeMap::new();
        note_sources(&complete, "", &self.sources, &mut sources);
        let resolved = Resolved { config, preset: preset.to_owned(), sources };
        super::validate::check(&resolved)?;
        Ok(resolved)
    }
}

/// The source of every leaf of the complete table; what no layer named is a default.
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

/// Lays one table over another. Where a table says another `kind` than the one below, it takes its place: the
/// settings of one kind mean nothing to another.
fn lay(
    under: &mut Table,
    over: Table,
    prefix: &str,
    source: &dyn Fn(&str) -> Source,
    sources: &mut BTreeMap<String, Source>,
) {
    let other_kind =
        over.get("kind").is_some_and(|kind| under.get("kind").is_some_and(|old| old != kind));
    if other_kind {
        under.clear();
        forget(sources, prefix);
    }
    for (key, value) in over {
        let path = join(prefix, &key);
        match (under.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => {
                lay(below, above, &path, source, sources)
            }
            (_, value) => {
                forget(sources, &path);
                note(&value, &path, source, sources);
                under.insert(key, value);
            }
        }
    }
}

fn note(
    value: &Value,
    path: &str,
    source: &dyn Fn(&str) -> Source,
    sources: &mut BTreeMap<String, Source>,
) {
    match value {
        Value::Table(table) => {
            table.iter().for_each(|(key, value)| note(value, &join(path, key), source, sources));
        }
        _ => {
            sources.insert(path.to_owned(), source(path));
        }
    }
}

fn forget(sources: &mut BTreeMap<String, Source>, path: &str) {
    let inside = format!("{path}.");
    sources.retain(|key, _| key != path && !key.starts_with(&inside));
}

/// A value of the command line: TOML where it is, else a list at its commas where a list stood, else a number
/// as people write it (`.9`), else a bare word.
fn parse(text: &str, old: Option<&Value>) -> Value {
    let word = || Value::String(text.to_owned());
    let document = if text.contains('\n') {
        None
    } else {
        toml::from_str::<Table>(&format!("value = {text}")).ok()
    };
    let value = document.and_then(|mut table| table.remove("value"));
    match (old, value) {
        // Where words stand, `2024` is a word too.
        (Some(Value::String(_)), Some(Value::String(value))) => Value::String(value),
        (Some(Value::String(_)), _) => word(),
        (Some(Value::Array(_)), Some(value @ Value::Array(_))) => value,
        (Some(Value::Array(old)), _) => list(text, old.first()),
        (_, Some(value)) => value,
        (_, None) if text.starts_with('[') => list(text, None),
        (_, None) => text.parse().map_or_else(|_| word(), Value::Float),
    }
}

fn list(text: &str, element: Option<&Value>) -> Value {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    Value::Array(
        inner
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| parse(part, element))
            .collect(),
    )
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
