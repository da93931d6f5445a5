//! Tables of settings laid over each other, with the source of each value.

use crate::failure::{Failure, Kind, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use toml::{Table, Value};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A preset.
    Preset(String),
    /// A line of a file; 0 if it is not known.
    File(PathBuf, usize),
    /// `--set`.
    Set,
    /// A flag of its own, e.g. `--data`.
    Flag(&'static str),
    /// The files at `data.path`, in place of a preset's value.
    Recognised,
    /// No layer sets it.
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
            Source::Recognised => f.write_str("recognised from the files"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// Values and their sources while layers are laid over each other.
#[derive(Debug, Clone, Default)]
pub(super) struct Builder {
    pub(super) table: Table,
    pub(super) sources: BTreeMap<String, Source>,
}

impl Builder {
    /// Lays a table over the present values.
    pub(super) fn lay(&mut self, table: Table, source: &dyn Fn(&str) -> Source) {
        let Builder { table: under, sources } = self;
        lay(under, table, "", source, sources);
    }

    /// The value at a key.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let mut parts = key.split('.');
        let first = self.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    }

    /// Sets a value and creates the tables of its path.
    pub(super) fn put(&mut self, key: &str, value: Value, source: Source) -> Result<()> {
        let mut parts: Vec<&str> = key.split('.').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(Failure::new(
                Kind::Usage,
                format!("{source} {key}: a part of the key is empty"),
            ));
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

    /// Removes the value or table of a key.
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
}

/// `prefix.key`.
pub(super) fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}

/// Lays one table over another. A table replaces a table of another `kind`, because the kinds have different
/// settings.
pub(super) fn lay(
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

/// Parses a value of the command line: as TOML, else as a list with commas if the old value is a list, else as a
/// number (also `.9`), else as a bare word.
pub(super) fn parse(text: &str, old: Option<&Value>) -> Value {
    let word = || Value::String(text.to_owned());
    let document = if text.contains('\n') {
        None
    } else {
        toml::from_str::<Table>(&format!("value = {text}")).ok()
    };
    let value = document.and_then(|mut table| table.remove("value"));
    match (old, value) {
        // The old value is a word, so `2024` is a word too.
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
