//! Manifests: CSV files with one row for each sample and one column for each modality.
//!
//! `id`, `label`, `labels`, `attribute:NAME`, `group` and `part` are optional columns with fixed meanings. Every other
//! column is a modality.
//! Its cells are paths relative to the manifest, empty when the sample lacks the modality, or `text:` followed by the text.

mod columns;
mod labels;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::{Census, CorpusFormat, Format, Found, Options, OwnSplit, Wanted};
use crate::corpus::{Corpus, Part, Sample};
use crate::features::{FeatureKind, Source};
use crate::{Error, Result};
use columns::Columns;
use labels::Labels;
use table::Table;

/// Prefix of a cell with literal text.
const LITERAL: &str = "text:";

/// The format `manifest`.
pub const FORMAT: Format = Format(&ManifestFormat);

struct ManifestFormat;

impl CorpusFormat for ManifestFormat {
    fn name(&self) -> &'static str {
        "manifest"
    }

    fn about(&self) -> &'static str {
        "A CSV: one row a sample, one column a modality"
    }

    fn is_here(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn modalities(&self, path: &Path, vectors: Option<&Path>) -> Result<Vec<Wanted>> {
        let manifest = read(path, &BTreeMap::new())?;
        let wanted = |(name, kind): (String, &FeatureKind)| {
            let feature = kind.extractor(vectors).ok_or_else(|| {
                Error::config(format!(
                    "{}: the column `{name}` is text, which needs word vectors; name a file in GloVe's text format with --vectors",
                    path.display()
                ))
            })?;
            Ok(Wanted { name, feature })
        };
        manifest.corpus.modalities.into_iter().zip(&manifest.kinds).map(wanted).collect()
    }

    /// Every column is a modality. It has the feature of the wanted modality with its name, or else of the first wanted
    /// modality with its kind.
    fn find(&self, path: &Path, wanted: &[Wanted], _options: &Options) -> Result<Found> {
        let kinds = wanted.iter().map(|wanted| (wanted.name.clone(), wanted.feature.kind()));
        let manifest = read(path, &kinds.collect())?;
        let settings = |(name, kind): (&String, &FeatureKind)| {
            let named = wanted.iter().position(|wanted| wanted.name == *name);
            let of_kind = || wanted.iter().position(|wanted| wanted.feature.kind() == *kind);
            named.or_else(of_kind).ok_or_else(|| {
                Error::config(format!(
                    "{}: column `{name}`: no modality of the configuration reads it; add [modality.{name}], or leave the column out",
                    path.display()
                ))
            })
        };
        let columns = manifest.corpus.modalities.iter().zip(&manifest.kinds);
        let wanted = columns.map(settings).collect::<Result<_>>()?;
        Ok(Found { corpus: manifest.corpus, wanted })
    }

    fn census(&self, _path: &Path, _corpus: &Corpus) -> Vec<Census> {
        Vec::new()
    }

    fn own_split(&self) -> OwnSplit {
        OwnSplit::Required(
            "add the column `part` to the manifest, with train, valid or test in each row, or choose by_group",
        )
    }

    fn same_seconds(&self) -> bool {
        false
    }
}

/// The content of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The samples.
    pub corpus: Corpus,
    /// The kind of each modality of the corpus.
    pub kinds: Vec<FeatureKind>,
}

/// Reads a manifest. `overrides` gives the kinds of columns by name; names that are not columns are ignored.
///
/// Without a column `id`, samples are named by their row, from 1; blank rows are skipped and noted. The classes are the distinct labels, sorted as numbers
/// when all are integers and else as text. A sample has one `label`, or any number of `labels` separated by `;` (`-` for
/// none), or numbers in columns `attribute:NAME`; an empty cell means unknown. `part` is `train`, `valid` or `test`. The leak key of a sample is its id.
///
/// # Errors
/// Bad data with line and column for an invalid or empty table, a duplicate id, an invalid cell of `part` or `labels`, or
/// a kind that cannot be inferred; missing data when a file does not exist.
pub fn read(path: &Path, overrides: &BTreeMap<String, FeatureKind>) -> Result<Manifest> {
    let Table { line, header, rows, blank } = Table::read(path)?;
    let columns = Columns::new(path, line, &header)?;
    if rows.is_empty() {
        return Err(Error::bad(
            path,
            "is taken for a manifest (CSV) and has no rows; write one row for each sample below the header",
        ));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let kinds = columns.kinds(path, folder, &rows, overrides)?;
    let labels = Labels::new(path, columns.labels, &rows)?;
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
                format!("duplicate id `{id}`, first in line {first}; give each row its own"),
            ));
        }
        let mut files = Vec::with_capacity(kinds.len());
        for ((column, name), kind) in columns.modalities.iter().zip(&kinds) {
            files.push(source(path, folder, &row[*column], *kind, name, (*line, column + 1))?);
        }
        samples.push(Sample {
            files,
            label: labels.of(path, &rows[row_number])?,
            group: text(columns.group),
            part: text(columns.part)
                .map(|name| part(path, (*line, columns.part), &name))
                .transpose()?,
            leak_key: id.clone(),
            id,
            line: Some(*line),
        });
    }
    let modalities = columns.modalities.into_iter().map(|(_, name)| name).collect();
    let mut corpus = Corpus { modalities, classes: labels.classes(), samples, notices: Vec::new() };
    corpus.note_missing();
    if blank > 0 {
        let (rows, are) = if blank == 1 { ("row", "is") } else { ("rows", "are") };
        corpus.notices.push(format!("{blank} blank {rows} {are} skipped"));
    }
    Ok(Manifest { corpus, kinds })
}

/// The source that a cell names; `None` for an empty cell.
fn source(
    manifest: &Path,
    folder: &Path,
    cell: &str,
    kind: FeatureKind,
    name: &str,
    (line, column): (usize, usize),
) -> Result<Option<Source>> {
    if cell.is_empty() {
        return Ok(None);
    }
    if let Some(text) = cell.strip_prefix(LITERAL) {
        if kind != FeatureKind::Words {
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
    let (there, what) = match kind {
        FeatureKind::Clip => (file.is_file() || file.is_dir(), "no file and no folder"),
        _ => (file.is_file(), "no file"),
    };
    if !there {
        return Err(Error::missing(
            manifest,
            format!(
                "line {line}: `{name}` names {}, which is {what}; correct the path or leave the cell empty",
                file.display()
            ),
        ));
    }
    Ok(Some(Source::File(file)))
}

/// The part that a cell names.
fn part(path: &Path, (line, column): (usize, Option<usize>), name: &str) -> Result<Part> {
    Part::named(name).ok_or_else(|| {
        let what = format!("unknown part `{name}`; expected train, valid, test or an empty cell");
        Error::bad_at(path, line, column.map_or(0, |column| column + 1), what)
    })
}

#[cfg(test)]
mod tests;
