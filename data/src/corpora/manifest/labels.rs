//! The classes of a manifest, from its column `label` or `labels`, or its attributes.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::table::Row;
use crate::corpus::{Attributes, Label};
use crate::{Error, Result};

/// Separator of the names in a cell of `labels`, and the cell of a sample without any label.
const BETWEEN: char = ';';
const NONE_APPLIES: &str = "-";
/// Largest number of distinct names in `labels`: the bits of [`Label::Each`].
const MOST_LABELS: usize = 64;

/// The columns that hold labels.
pub(super) enum LabelColumns {
    /// None: no sample has a label.
    None,
    /// `label`: one class a sample.
    One(usize),
    /// `labels`: any number of classes a sample.
    Several(usize),
    /// `attribute:NAME`: a number a sample; with the names.
    Attributes(Vec<(usize, String)>),
}

/// The label of a row.
pub(super) enum Labels {
    None,
    Names { column: usize, several: bool, classes: Vec<String>, number_of: HashMap<String, usize> },
    Attributes(Vec<(usize, String)>),
}

impl Labels {
    pub fn new(path: &Path, columns: LabelColumns, rows: &[Row]) -> Result<Self> {
        let (column, several) = match columns {
            LabelColumns::None => return Ok(Self::None),
            LabelColumns::Attributes(columns) => return Ok(Self::Attributes(columns)),
            LabelColumns::One(column) => (column, false),
            LabelColumns::Several(column) => (column, true),
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
        Ok(Self::Names { column, several, classes, number_of })
    }

    /// The label of a row; `None` where its cell is empty, or that of an attribute.
    pub fn of(&self, path: &Path, (line, row): &Row) -> Result<Option<Label>> {
        match self {
            Self::None => Ok(None),
            Self::Names { column, several, number_of, .. } => {
                let cell = &row[*column];
                let mut numbers =
                    names(cell, *several).filter_map(|name| number_of.get(name).copied());
                Ok(match several {
                    false => numbers.next().map(Label::One),
                    true => (!cell.is_empty())
                        .then(|| Label::Each(numbers.fold(0, |bits, n| bits | 1 << n))),
                })
            }
            Self::Attributes(columns) => {
                if columns.iter().any(|(column, _)| row[*column].is_empty()) {
                    return Ok(None);
                }
                let number = |(column, _): &(usize, String)| {
                    let cell = &row[*column];
                    let number = cell.trim().parse().ok().filter(|number: &f32| number.is_finite());
                    number.ok_or_else(|| {
                        let what = format!(
                            "`{cell}` is not a number; leave the cell empty where it is not known"
                        );
                        Error::bad_at(path, *line, column + 1, what)
                    })
                };
                let numbers: Vec<f32> = columns.iter().map(number).collect::<Result<_>>()?;
                Ok(Attributes::new(&numbers).map(Label::Values))
            }
        }
    }

    /// The names of the classes or attributes.
    pub fn classes(self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Names { classes, .. } => classes,
            Self::Attributes(columns) => columns.into_iter().map(|(_, name)| name).collect(),
        }
    }
}

/// The names of classes in a cell.
fn names(cell: &str, several: bool) -> impl Iterator<Item = &str> {
    let none = cell.is_empty() || several && cell == NONE_APPLIES;
    let between = move |c| several && c == BETWEEN;
    cell.split(between).map(str::trim).take(if none { 0 } else { usize::MAX })
}
