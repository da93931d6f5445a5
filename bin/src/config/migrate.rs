//! Conversion of configurations of earlier versions.
//!
//! Version 1 trained only MPUC, whose settings were at the top level, and a list of controls. Version 2 has arms.

use toml::{Table, Value};

/// The version of the schema that this program writes.
pub const VERSION: u32 = 2;

/// The arms that stand for the controls of version 1, in the order of the table: control, arm.
const CONTROLS: [(&str, &str); 7] = [
    ("permuted_labels", "permuted_labels"),
    ("untrained", "untrained"),
    ("shuffled_pairs", "shuffled"),
    ("single", "single"),
    ("", "mpuc"),
    ("late_fusion_supervised", LATE_FUSION),
    ("oracle", "factors"),
];
/// Late fusion, by the name of its checkpoints in version 1.
const LATE_FUSION: &str = "late-fusion";

/// Rewrites the keys of version 1, in a whole configuration or in a part of one; returns whether there were any.
pub(super) fn migrate(table: &mut Table) -> bool {
    let mut found = false;
    if let Some(Value::Array(controls)) = table.remove("controls") {
        found = true;
        let named = |control: &str| controls.iter().any(|name| name.as_str() == Some(control));
        let arms = CONTROLS.iter().filter(|(control, _)| control.is_empty() || named(control));
        let arms = arms.map(|(_, arm)| Value::String((*arm).into())).collect();
        table.insert("arms".into(), Value::Array(arms));
        table.insert("baseline".into(), "untrained".into());
        if named("late_fusion_supervised") {
            put(table, &["arm", LATE_FUSION, "title"], "late fusion, supervised".into());
            put(table, &["arm", LATE_FUSION, "system"], "late_fusion".into());
        }
    }
    for key in ["projection", "loss"] {
        if let Some(settings) = table.remove(key) {
            found = true;
            put(table, &["system", "mpuc", key], settings);
        }
    }
    if let Some(Value::Table(mut supervised)) = table.remove("supervised") {
        found = true;
        if let Some(head) = supervised.remove("head") {
            put(table, &["system", "late_fusion", "head"], head);
        }
        if let Some(training) = supervised.remove("training") {
            put(table, &["arm", LATE_FUSION, "training"], training);
            put(table, &["arm", LATE_FUSION, "system"], "late_fusion".into());
        }
    }
    // How many windows a sample has follows from the loss.
    if let Some(Value::Table(sampling)) = table.get_mut("sampling") {
        found |= sampling.remove("views").is_some();
    }
    found
}

/// Sets a value and creates the tables of its path.
fn put(table: &mut Table, path: &[&str], value: Value) {
    let [first, rest @ ..] = path else { return };
    if rest.is_empty() {
        table.insert((*first).to_owned(), value);
        return;
    }
    let inner = table.entry(*first).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(inner) = inner {
        put(inner, rest, value);
    }
}
