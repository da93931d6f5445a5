//! Any data set as a plain CSV manifest: a row a sample, a column a modality.
//!
//! `id`, `label` and `group` are optional columns with a meaning of their own; every other column is a modality whose
//! cells are paths (relative to the manifest), empty for missing, or, for text, `text:` followed by the text itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Corpus, Label, Sample};
use crate::features::Source;
use crate::formats::video;
use crate::{Error, Result};

/// Start of a cell that holds its text itself.
const LITERAL: &str = "text:";

/// What a column's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `.wav`
    Voice,
    /// `.csv` by OpenFace
    Landmarks,
    /// `.npy` of numbers
    Sequence,
    /// A video; or `.npy` of frames, never inferred because the extension is that of a sequence
    Clip,
    /// `.txt`, or literal text
    Words,
}

impl Kind {
    fn of_cell(cell: &str) -> Option<Self> {
        if cell.starts_with(LITERAL) {
            return Some(Self::Words);
        }
        match Path::new(cell).extension()?.to_ascii_lowercase().to_str()? {
            "wav" => Some(Self::Voice),
            "csv" => Some(Self::Landmarks),
            "npy" => Some(Self::Sequence),
            "txt" => Some(Self::Words),
            ending if video::ENDINGS.contains(&ending) => Some(Self::Clip),
            _ => None,
        }
    }
}

/// A manifest read: the corpus and what each modality's files are.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The samples.
    pub corpus: Corpus,
    /// One for each of the corpus's modalities.
    pub kinds: Vec<Kind>,
}

/// Reads a manifest. `overrides` gives the kind of columns by name where the extension would mislead;
/// names that are no column are passed over.
///
/// Without `id` samples are named by their row, from 1; the classes are the distinct labels, in the order of numbers
/// when all are whole numbers and else of letters. Each sample is its own leak key.
///
/// # Errors
/// Bad data with line (and column) when the table is broken, empty, or an id stands twice; missing data when a file is
/// not there; bad settings when a kind cannot be inferred.
pub fn read(path: &Path, overrides: &BTreeMap<String, Kind>) -> Result<Manifest> {
    let bytes = std::fs::read(path).map_err(|e| Error::reading(path, e))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes.as_slice());
    let broken = |e: csv::Error| {
        let line = e.position().map_or(1, |position| position.line() as usize);
        let what = match e.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("{len} cells where the header has {expected_len}; add or remove commas")
            }
            csv::ErrorKind::Utf8 { .. } => "is no UTF-8 text; save the file as UTF-8".to_owned(),
            _ => format!("{e}; write a plain CSV file"),
        };
        Error::bad_at(path, line, 0, what)
    };
    let header: Vec<String> = reader
        .headers()
        .map_err(broken)?
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').to_owned())
        .collect();
    let columns = Columns::new(path, &header)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(broken)?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        rows.push((line, record));
    }
    if rows.is_empty() {
        return Err(Error::bad(path, "has no rows; write one row a sample below the header"));
    }
    let kinds = columns.kinds(path, &rows, overrides)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let classes =
        classes(rows.iter().filter_map(|(_, row)| columns.label.map(|column| &row[column])));
    let labels: HashMap<&str, usize> =
        classes.iter().enumerate().map(|(label, name)| (name.as_str(), label)).collect();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut samples = Vec::with_capacity(rows.len());
    for (row_number, (line, row)) in rows.iter().enumerate() {
        let text = |column: Option<usize>| {
            column.map(|c| row[c].to_owned()).filter(|cell| !cell.is_empty())
        };
        let id = text(columns.id).unwrap_or_else(|| (row_number + 1).to_string());
        if let Some(first) = seen.insert(id.clone(), *line) {
            return Err(Error::bad_at(
                path,
                *line,
                0,
                format!("the id `{id}` already stands in line {first}; give each row its own"),
            ));
        }
        let mut files = Vec::with_capacity(kinds.len());
        for ((column, name), kind) in columns.modalities.iter().zip(&kinds) {
            files.push(source(path, folder, &row[*column], *kind, name, (*line, column + 1))?);
        }
        samples.push(Sample {
            files,
            label: columns
                .label
                .and_then(|column| labels.get(&row[column]).copied())
                .map(Label::One),
            group: text(columns.group),
            leak_key: id.clone(),
            id,
        });
    }
    let modalities = columns.modalities.into_iter().map(|(_, name)| name).collect();
    let mut corpus = Corpus { modalities, classes, samples, notices: Vec::new() };
    corpus.note_missing();
    Ok(Manifest { corpus, kinds })
}

/// Which column means what.
struct Columns {
    id: Option<usize>,
    label: Option<usize>,
    group: Option<usize>,
    modalities: Vec<(usize, String)>,
}

impl Columns {
    fn new(path: &Path, header: &[String]) -> Result<Self> {
        let mut names = BTreeSet::new();
        for (column, name) in header.iter().enumerate() {
            if name.is_empty() || !names.insert(name) {
                return Err(Error::bad_at(
                    path,
                    1,
                    column + 1,
                    format!(
                        "the column name `{name}` is empty or stands twice; name each column once"
                    ),
                ));
            }
        }
        let find = |name: &str| header.iter().position(|found| found == name);
        let reserved = ["id", "label", "group"];
        let modalities: Vec<(usize, String)> = header
            .iter()
            .cloned()
            .enumerate()
            .filter(|(_, name)| !reserved.contains(&name.as_str()))
            .collect();
        if modalities.is_empty() {
            return Err(Error::bad_at(
                path,
                1,
                0,
                "has no column of files; add one a modality, e.g. `voice`",
            ));
        }
        Ok(Self { id: find("id"), label: find("label"), group: find("group"), modalities })
    }

    fn kinds(
        &self,
        path: &Path,
        rows: &[(usize, csv::StringRecord)],
        overrides: &BTreeMap<String, Kind>,
    ) -> Result<Vec<Kind>> {
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
                        1,
                        column + 1,
                        format!("the column `{name}` is empty in every row; remove it"),
                    )
                })?;
            Kind::of_cell(first).ok_or_else(|| {
                Error::bad_at(path, line, column + 1, format!("cannot tell what `{first}` is; use .wav, .mp4, .csv, .npy, .txt or `text:...`, or give the kind of `{name}`"))
            })
        };
        self.modalities.iter().map(kind_of).collect()
    }
}

/// What a cell points at; `None` for an empty one.
fn source(
    manifest: &Path,
    folder: &Path,
    cell: &str,
    kind: Kind,
    name: &str,
    (line, column): (usize, usize),
) -> Result<Option<Source>> {
    if cell.is_empty() {
        return Ok(None);
    }
    if let Some(text) = cell.strip_prefix(LITERAL) {
        if kind != Kind::Words {
            return Err(Error::bad_at(
                manifest,
                line,
                column,
                format!("literal text in `{name}`, a column of files; give a path"),
            ));
        }
        return Ok(Some(Source::Text(text.trim().to_owned())));
    }
    let file = folder.join(cell);
    if !file.is_file() {
        return Err(Error::missing(
            manifest,
            format!(
                "line {line}: `{name}` names {}, which is no file; correct the path or leave the cell empty",
                file.display()
            ),
        ));
    }
    Ok(Some(Source::File(file)))
}

/// The distinct labels, in the order of numbers when all are whole numbers.
fn classes<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let distinct: BTreeSet<&str> = labels.filter(|label| !label.is_empty()).collect();
    let mut distinct: Vec<&str> = distinct.into_iter().collect();
    if distinct.iter().all(|label| label.parse::<i64>().is_ok()) {
        distinct.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
    }
    distinct.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str, overrides: &[(&str, Kind)]) -> Result<Manifest> {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.wav", "b.wav", "a.npy"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let path = folder.path().join("m.csv");
        std::fs::write(&path, text).unwrap();
        read(&path, &overrides.iter().map(|(name, kind)| (name.to_string(), *kind)).collect())
    }

    #[test]
    fn rows_become_samples() {
        let text = "id,label,group,voice,face,words\nx,10,anna,a.wav,,\"text: Hi, you\"\ny,9,,b.wav,a.npy,\nz,,anna,,a.npy,text:no\n";
        let found = manifest(text, &[("face", Kind::Clip)]).unwrap();
        assert_eq!(found.kinds, [Kind::Voice, Kind::Clip, Kind::Words]);
        let corpus = &found.corpus;
        assert_eq!(
            (corpus.modalities.join(" "), corpus.classes.join(" ")),
            ("voice face words".into(), "9 10".into())
        );
        let labels: Vec<_> = corpus.samples.iter().map(|s| s.label).collect();
        assert_eq!(labels, [Some(Label::One(1)), Some(Label::One(0)), None]);
        assert_eq!(corpus.samples[0].files[2], Some(Source::Text("Hi, you".into())));
        assert_eq!(corpus.missing(), [1, 1, 1]);
        assert_eq!((corpus.samples[1].group.clone(), corpus.notices.len()), (None, 3));
        assert_eq!(manifest("voice\na.wav\nb.wav\n", &[]).unwrap().corpus.samples[1].id, "2");
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let message = |text: &str| manifest(text, &[]).unwrap_err().to_string();
        for (text, wanted) in [
            ("voice\n", "m.csv: has no rows"),
            ("", "m.csv:1"),
            ("id,voice\nx,a.wav\nx,b.wav\n", "m.csv:3: the id `x` already stands in line 2"),
            ("voice\na.wav\nnone.wav\n", "m.csv: line 3: `voice` names"),
            ("voice,voice\na.wav,b.wav\n", "m.csv:1:2: the column name `voice`"),
            ("id,voice\nx,a.wav,b\n", "m.csv:2: 3 cells where the header has 2"),
            ("id,label\nx,1\n", "m.csv:1: has no column of files"),
            ("id,voice\nx,a.ogg\n", "m.csv:2:2: cannot tell what `a.ogg` is"),
        ] {
            assert!(message(text).contains(wanted), "{}", message(text));
        }
        let other = manifest("voice\na.wav\n", &[("faces", Kind::Clip)]);
        assert_eq!(other.unwrap().kinds, [Kind::Voice], "kinds of other columns are passed over");
    }
}
