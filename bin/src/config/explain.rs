//! Messages of configuration errors: the full key, its source, and the nearest known key.

use super::nearest::nearest;
use super::table::{Builder, Source, join};
use crate::failure::Failure;
use data::plain::of_serde;
use std::collections::BTreeMap;
use toml::Value;

/// A parsed message of serde, which quotes names in backticks: first the wrong one, then the expected ones.
struct Complaint<'a> {
    what: &'a str,
    name: Option<&'a str>,
    expected: Vec<&'a str>,
}

impl<'a> Complaint<'a> {
    fn new(message: &'a str) -> Self {
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let what = message.split('`').next().unwrap_or(message).trim();
        Complaint {
            what,
            name: quoted.first().copied(),
            expected: quoted.get(1..).unwrap_or_default().to_vec(),
        }
    }
}

/// The failure for an error of deserialisation. A misplaced name is searched for in `default_keys`, the keys of the default
/// configuration.
pub(super) fn explain(
    builder: &Builder,
    error: &serde_path_to_error::Error<toml::de::Error>,
    default_keys: fn() -> Vec<String>,
) -> Failure {
    let path = match error.path().to_string() {
        root if root == "." => String::new(),
        path => path,
    };
    let message = error.inner().message();
    let complaint = Complaint::new(message);
    match (complaint.what, complaint.name) {
        ("unknown field", Some(name)) => {
            // The path may end in the field itself or in the table around it.
            let table = match path.rsplit_once('.') {
                Some((table, last)) if last == name => table,
                None if path == name => "",
                _ => &path,
            };
            let table = deeper(builder, table, name);
            let mut expected = complaint.expected;
            if value_at(builder, &table).is_some_and(|value| value.get("kind").is_some()) {
                expected.push("kind");
            }
            unknown(builder, &table, name, &expected, default_keys)
        }
        ("unknown variant", Some(name)) => {
            // Inside a table with a `kind` the path ends too early.
            let says = |value: &Value| value.as_str() == Some(name);
            let inside = leaves(builder, &path)
                .into_iter()
                .find(|key| value_at(builder, key).is_some_and(says));
            let key = inside.unwrap_or(path);
            let failure =
                Failure::config(format!("`{key}` cannot be `{name}` ({})", origin(builder, &key)));
            let all = complaint.expected.join("`, `");
            failure.hint(match nearest(name, complaint.expected.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? It can be `{all}`."),
                None => format!("it can be `{all}`"),
            })
        }
        ("missing field", Some(name)) => {
            let key = join(&path, name);
            let near = (!path.is_empty()).then(|| origin(builder, &path));
            let place =
                near.map_or(String::new(), |origin| format!(" (`{path}` is from {origin})"));
            Failure::config(format!("`{key}` is missing{place}"))
                .hint(format!("give it a value with --set {key}=..., or in a file with --config"))
        }
        _ => {
            let key = culprit(builder, &path, message).unwrap_or(path);
            let origin = origin(builder, &key);
            Failure::config(format!("`{key}`: {} ({origin})", of_serde(message)))
        }
    }
}

fn unknown(
    builder: &Builder,
    table: &str,
    name: &str,
    expected: &[&str],
    default_keys: fn() -> Vec<String>,
) -> Failure {
    let key = join(table, name);
    let failure = Failure::config(format!("unknown key `{key}` ({})", origin(builder, &key)));
    if let Some(near) = nearest(name, expected.iter().copied()) {
        return failure.hint(format!("did you mean `{}`?", join(table, near)));
    }
    // It may be in the wrong table: search for the same last part.
    let others = elsewhere(name, default_keys());
    if !others.is_empty() {
        return failure.hint(format!("did you mean `{}`?", others.join("` or `")));
    }
    if expected.is_empty() {
        return failure;
    }
    let place = if table.is_empty() { "at the top".into() } else { format!("in `{table}`") };
    failure.hint(format!("{place} there are `{}`", expected.join("`, `")))
}

/// The keys of the default configuration that end in this name, or else in one most like it; at most five.
fn elsewhere(name: &str, keys: Vec<String>) -> Vec<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |key: &String| strsim::jaro_winkler(&last(key), name);
    let most = keys.iter().map(likeness).fold(0.92, f64::max);
    let mut found: Vec<String> = keys.into_iter().filter(|key| likeness(key) >= most).collect();
    found.sort_by_key(|key| key.matches('.').count());
    found.truncate(5);
    found
}

/// The failure of a setting that cannot work: its key, why, and its source.
pub(super) fn refused(sources: &BTreeMap<String, Source>, key: &str, why: &str) -> Failure {
    let source = source_of(sources, key).unwrap_or(&Source::Default);
    Failure::config(format!("`{key}` {why} ({source})"))
}

/// Inside a table with a `kind` the path ends too early: the table within that has the key.
fn deeper(builder: &Builder, table: &str, name: &str) -> String {
    let mut keys = Vec::new();
    match value_at(builder, table) {
        Some(Value::Table(inside)) if !inside.contains_key(name) => {
            collect(inside, table, &mut keys)
        }
        _ => {}
    }
    let found = keys.iter().filter_map(|key| key.rsplit_once('.')).find(|(_, last)| *last == name);
    found.map_or(table, |(around, _)| around).to_owned()
}

/// The keys of all values inside the table at a path; none if there is no table.
fn leaves(builder: &Builder, path: &str) -> Vec<String> {
    let mut keys = Vec::new();
    if let Some(Value::Table(table)) = value_at(builder, path) {
        collect(table, path, &mut keys);
    }
    keys.retain(|key| value_at(builder, key).is_some_and(|value| !value.is_table()));
    keys
}

/// Inside a table with a `kind` the path ends too early: the wrong value is the one whose removal changes the
/// message.
fn culprit(builder: &Builder, path: &str, message: &str) -> Option<String> {
    // Without its kind every table is an error.
    let values = leaves(builder, path).into_iter().filter(|key| !key.ends_with(".kind"));
    let matters = |key: &String| {
        let mut without = builder.clone();
        without.drop(key);
        let outcome: Result<super::Config, _> = without.table.try_into();
        outcome.map_or_else(|error| error.message() != message, |_| true)
    };
    let suspects: Vec<String> = values.filter(matters).collect();
    // A value that must not be absent changes the message too, but only the wrong value is quoted in it.
    let quoted =
        |key: &&String| value_at(builder, key).is_some_and(|v| message.contains(&quote(v)));
    suspects.iter().find(quoted).or(suspects.first()).cloned()
}

/// A value as serde's messages quote it.
fn quote(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Float(number) => format!("`{number}`"),
        Value::Array(_) => "sequence".into(),
        other => format!("`{other}`"),
    }
}

/// The keys of a table and of all tables in it.
pub(super) fn collect(table: &toml::Table, prefix: &str, keys: &mut Vec<String>) {
    for (key, value) in table {
        let path = join(prefix, key);
        if let Value::Table(inner) = value {
            collect(inner, &path, keys);
        }
        keys.push(path);
    }
}

fn value_at<'a>(builder: &'a Builder, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = builder.table.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// As [`source_of`], or the default.
fn origin(builder: &Builder, path: &str) -> Source {
    source_of(&builder.sources, path).cloned().unwrap_or(Source::Default)
}

/// The source of a key: of the latest layer that sets it or a key inside it, otherwise of the table around it.
pub(super) fn source_of<'a>(
    sources: &'a BTreeMap<String, Source>,
    path: &str,
) -> Option<&'a Source> {
    // `a[0]`: lists have one source.
    let path = path.split('[').next().unwrap_or(path);
    let rank = |source: &&Source| match source {
        Source::Default => 0,
        Source::Preset(_) | Source::Recognised => 1,
        Source::File(..) => 2,
        Source::Set => 3,
        Source::Flag(_) => 4,
    };
    let inside = format!("{path}.");
    let found = sources.iter().filter(|(key, _)| key.as_str() == path || key.starts_with(&inside));
    found.map(|(_, source)| source).max_by_key(rank).or_else(|| {
        let (parent, _) = path.rsplit_once('.')?;
        source_of(sources, parent)
    })
}
