//! The meaning of a manifest's columns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::LITERAL;
use super::labels::LabelColumns;
use super::table::Row;
use crate::corpus::Attributes;
use crate::features::FeatureKind;
use crate::formats::video;
use crate::{Error, Result};

/// Names of columns that are not modalities.
const RESERVED: [&str; 5] = ["id", "label", "labels", "group", "part"];

/// The beginning of the name of an attribute's column.
const ATTRIBUTE: &str = "attribute:";

/// The meaning of the columns, by index.
pub(super) struct Columns {
    pub id: Option<usize>,
    pub labels: LabelColumns,
    pub group: Option<usize>,
    pub part: Option<usize>,
    pub modalities: Vec<(usize, String)>,
    /// The line of the header.
    line: usize,
}

impl Columns {
    pub fn new(path: &Path, line: usize, header: &[String]) -> Result<Self> {
        let mut names = BTreeSet::new();
        for (column, name) in header.iter().enumerate() {
            let wrong = match name.as_str() {
                "" => "the column has no name; name it in the header".to_owned(),
                name if names.insert(name) => continue,
                name => format!("there are two columns `{name}`; give each column its own name"),
            };
            return Err(Error::bad_at(path, line, column + 1, wrong));
        }
        let find = |name: &str| header.iter().position(|found| found == name);
        let modalities: Vec<(usize, String)> = header
            .iter()
            .cloned()
            .enumerate()
            .filter(|(_, name)| !RESERVED.contains(&name.as_str()) && !name.starts_with(ATTRIBUTE))
            .collect();
        if modalities.is_empty() {
            return Err(Error::bad_at(
                path,
                line,
                0,
                "has no column for a modality; add one, e.g. `voice`",
            ));
        }
        let labels = match (find("label"), find("labels")) {
            (Some(_), Some(column)) => {
                let what = "`labels` beside `label`; keep `label` for one class a sample, `labels` for several";
                return Err(Error::bad_at(path, line, column + 1, what));
            }
            (Some(column), None) => LabelColumns::One(column),
            (None, Some(column)) => LabelColumns::Several(column),
            (None, None) => LabelColumns::None,
        };
        let attribute = |(column, name): (usize, &String)| {
            name.strip_prefix(ATTRIBUTE).map(|name| (column, name.trim().to_owned()))
        };
        let attributes: Vec<(usize, String)> =
            header.iter().enumerate().filter_map(attribute).collect();
        let labels = match (labels, attributes.first()) {
            (labels, None) => labels,
            (LabelColumns::None, Some(_)) if attributes.len() <= Attributes::MOST => {
                LabelColumns::Attributes(attributes)
            }
            (LabelColumns::None, Some((first, _))) => {
                let (count, most) = (attributes.len(), Attributes::MOST);
                let what = format!("{count} columns of attributes; at most {most} can be");
                return Err(Error::bad_at(path, line, first + 1, what));
            }
            (_, Some((first, name))) => {
                let what =
                    format!("`attribute:{name}` beside a column of classes; keep one of them");
                return Err(Error::bad_at(path, line, first + 1, what));
            }
        };
        Ok(Self {
            id: find("id"),
            labels,
            group: find("group"),
            part: find("part"),
            modalities,
            line,
        })
    }

    pub fn kinds(
        &self,
        path: &Path,
        folder: &Path,
        rows: &[Row],
        overrides: &BTreeMap<String, FeatureKind>,
    ) -> Result<Vec<FeatureKind>> {
        let kind_of = |(column, name): &(usize, String)| {
            if let Some(kind) = overrides.get(name) {
                return Ok(*kind);
            }
            let (line, first) = rows
                .iter()
                .map(|(line, row)| (*line, &row[*column]))
                .find(|(_, cell)| !cell.is_empty())
                .ok_or_else(|| {
                    Error::bad_at(
                        path,
                        self.line,
                        column + 1,
                        format!("the column `{name}` is empty in every row; remove it"),
                    )
                })?;
            kind_of_cell(folder, first).ok_or_else(|| {
                Error::bad_at(path, line, column + 1, format!("cannot tell what `{first}` is; use .wav, .mp4, .csv, .npy, .txt, a folder of pictures or `text:...`, or give the kind of `{name}`"))
            })
        };
        self.modalities.iter().map(kind_of).collect()
    }
}

/// The kind of a cell by its file extension; `.npy` is a sequence, because frames cannot be distinguished from it.
fn kind_of_cell(folder: &Path, cell: &str) -> Option<FeatureKind> {
    if cell.starts_with(LITERAL) {
        return Some(FeatureKind::Words);
    }
    if folder.join(cell).is_dir() {
        return Some(FeatureKind::Clip);
    }
    match Path::new(cell).extension()?.to_ascii_lowercase().to_str()? {
        "wav" => Some(FeatureKind::Voice),
        "csv" => Some(FeatureKind::Landmarks),
        "npy" => Some(FeatureKind::Sequence),
        "txt" => Some(FeatureKind::Words),
        ending if video::ENDINGS.contains(&ending) => Some(FeatureKind::Clip),
        _ => None,
    }
}
