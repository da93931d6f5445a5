//! Bounds of numbers, by their keys: a number beyond them needs more memory or time than any machine has.

use super::Resolved;
use super::explain::refused;
use super::save::to_table;
use super::table::join;
use crate::failure::Result;
use toml::{Table, Value};

/// Checks every number of a configuration.
///
/// # Errors
/// The first number that is not finite or exceeds its bound.
pub(super) fn check(resolved: &Resolved) -> Result<()> {
    walk(resolved, &to_table(&resolved.config)?, "")
}

fn walk(resolved: &Resolved, table: &Table, prefix: &str) -> Result<()> {
    for (key, value) in table {
        let path = join(prefix, key);
        let refuse = |why: String| Err(refused(&resolved.sources, &path, &why));
        match value {
            Value::Table(inner) => walk(resolved, inner, &path)?,
            Value::Float(number) if !number.is_finite() => {
                return refuse(format!("is {number}; it must be a finite number"));
            }
            Value::Integer(number) => {
                if let Some(most) = most(&path).filter(|most| number > most) {
                    return refuse(format!("is {number}; it must be at most {most}"));
                }
            }
            Value::Array(values) => {
                let integers = values.iter().filter_map(Value::as_integer);
                let largest = integers.max().unwrap_or(0);
                if let Some(most) = most(&path).filter(|&most| largest > most) {
                    return refuse(format!("has {largest}; it must be at most {most}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The bound of the integers at a key; `None` for seeds, versions and bounds of their own.
fn most(path: &str) -> Option<i64> {
    let last = path.rsplit('.').next().unwrap_or(path);
    let inside = |name: &str| path.split('.').any(|part| part == name);
    match last {
        "seed" | "seeds" | "split_seed" | "version" | "steps" => None,
        "epochs" | "patience" | "warmup" => Some(1_000_000_000),
        "window" | "evaluation_window" | "pick" => Some(100_000),
        _ if inside("backbone") || inside("system") => Some(65_536),
        _ if inside("feature") => Some(1 << 20),
        _ => Some(1_000_000),
    }
}
