//! The classes of a manifest, from its column `label` or `labels`.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::table::Row;
use crate::corpus::Label;
use crate::{Error, Result};

/// Separator of the names in a cell of `labels`, and the cell of a sample without any label.
const BETWEEN: char = ';';
const NONE_APPLIES: &str = "-";
/// Largest number of distinct names in `labels`: the bits of [`Label::Each`].
const MOST_LABELS: usize = 64;

/// The classes, and the label of a cell.
pub(super) struct Labels {
    pub classes: Vec<String>,
    number_of: HashMap<String, usize>,
    several: bool,
}

impl Labels {
    pub fn new(path: &Path, column: Option<(usize, bool)>, rows: &[Row]) -> Result<Self> {
        let Some((column, several)) = column else {
            return Ok(Self { classes: Vec::new(), number_of: HashMap::new(), several: false });
        };
        let mut distinct = BTreeSet::new();
        for (line, row) in rows {
            for name in names(&row[column], several) {
                if name.is_empty() {
                    let what = format!(
                        "a name is missing in `{}`; write `a;b`, or `-` for none",
                        &row[column]
                    );
                    return Err(Error::bad_at(path, *line, column + 1, what));
                }
                distinct.insert(name);
            }
        }
        if several && !(1..=MOST_LABELS).contains(&distinct.len()) {
            let what = format!(
                "`labels` has {} different names; 1 to {MOST_LABELS} can be",
                distinct.len()
            );
            return Err(Error::bad_at(path, 1, column + 1, what));
        }
        let mut distinct: Vec<&str> = distinct.into_iter().collect();
        if distinct.iter().all(|label| label.parse::<i64>().is_ok()) {
            distinct.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
        }
        let classes: Vec<String> = distinct.into_iter().map(str::to_owned).collect();
        let number_of = classes.iter().cloned().zip(0..).collect();
        Ok(Self { classes, number_of, several })
    }

    pub fn of(&self, cell: &str) -> Option<Label> {
        let mut numbers =
            names(cell, self.several).filter_map(|name| self.number_of.get(name).copied());
        match self.several {
            false => numbers.next().map(Label::One),
            true => {
                (!cell.is_empty()).then(|| Label::Each(numbers.fold(0, |bits, n| bits | 1 << n)))
            }
        }
    }
}

/// The names of classes in a cell.
fn names(cell: &str, several: bool) -> impl Iterator<Item = &str> {
    let none = cell.is_empty() || several && cell == NONE_APPLIES;
    let between = move |c| several && c == BETWEEN;
    cell.split(between).map(str::trim).take(if none { 0 } else { usize::MAX })
}
