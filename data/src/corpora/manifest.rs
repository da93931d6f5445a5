//! Manifests: CSV files with one row for each sample and one column for each modality.
//!
//! `id`, `label`, `labels`, `group` and `part` are optional columns with fixed meanings. Every other column is a modality.
//! Its cells are paths relative to the manifest, empty when the sample lacks the modality, or `text:` followed by the text.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::{Census, CorpusFormat, Format, Found, Options, OwnSplit, Wanted};
use crate::corpus::{Corpus, Label, Part, Sample};
use crate::features::{FeatureKind, Source};
use crate::formats::video;
use crate::{Error, Result};

/// Prefix of a cell with literal text.
const LITERAL: &str = "text:";
/// Names of columns that are not modalities.
const RESERVED: [&str; 5] = ["id", "label", "labels", "group", "part"];
/// Separator of the names in a cell of `labels`, and the cell of a sample without any label.
const BETWEEN: char = ';';
const NONE_APPLIES: &str = "-";
/// Largest number of distinct names in `labels`: the bits of [`Label::Each`].
const MOST_LABELS: usize = 64;

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
/// Without a column `id`, samples are named by their row, from 1. The classes are the distinct labels, sorted as numbers
/// when all are integers and else as text. A sample has one `label`, or any number of `labels` separated by `;` (`-` for
/// none); an empty cell means unknown. `part` is `train`, `valid` or `test`. The leak key of a sample is its id.
///
/// # Errors
/// Bad data with line and column for an invalid or empty table, a duplicate id, an invalid cell of `part` or `labels`, or
/// a kind that cannot be inferred; missing data when a file does not exist.
pub fn read(path: &Path, overrides: &BTreeMap<String, FeatureKind>) -> Result<Manifest> {
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
        return Err(Error::bad(
            path,
            "has no rows; write one row for each sample below the header",
        ));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let kinds = columns.kinds(path, folder, &rows, overrides)?;
    let labels = Labels::new(path, &columns, &rows)?;
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
            label: columns.labels.and_then(|(column, _)| labels.of(&row[column])),
            group: text(columns.group),
            part: text(columns.part)
                .map(|name| part(path, (*line, columns.part), &name))
                .transpose()?,
            leak_key: id.clone(),
            id,
        });
    }
    let modalities = columns.modalities.into_iter().map(|(_, name)| name).collect();
    let mut corpus = Corpus { modalities, classes: labels.classes, samples, notices: Vec::new() };
    corpus.note_missing();
    Ok(Manifest { corpus, kinds })
}

/// A row and its line in the file.
type Row = (usize, csv::StringRecord);

/// The meaning of the columns, by index.
struct Columns {
    id: Option<usize>,
    /// The column of labels, and whether it may have several.
    labels: Option<(usize, bool)>,
    group: Option<usize>,
    part: Option<usize>,
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
                        "the column name `{name}` is empty or a duplicate; give each column its own name"
                    ),
                ));
            }
        }
        let find = |name: &str| header.iter().position(|found| found == name);
        let modalities: Vec<(usize, String)> = header
            .iter()
            .cloned()
            .enumerate()
            .filter(|(_, name)| !RESERVED.contains(&name.as_str()))
            .collect();
        if modalities.is_empty() {
            return Err(Error::bad_at(
                path,
                1,
                0,
                "has no column for a modality; add one, e.g. `voice`",
            ));
        }
        let labels = match (find("label"), find("labels")) {
            (Some(_), Some(column)) => {
                let what = "`labels` beside `label`; keep `label` for one class a sample, `labels` for several";
                return Err(Error::bad_at(path, 1, column + 1, what));
            }
            (one, several) => one.map(|one| (one, false)).or(several.map(|column| (column, true))),
        };
        Ok(Self { id: find("id"), labels, group: find("group"), part: find("part"), modalities })
    }

    fn kinds(
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
                        1,
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

/// The classes, and the label of a cell.
struct Labels {
    classes: Vec<String>,
    number_of: HashMap<String, usize>,
    several: bool,
}

impl Labels {
    fn new(path: &Path, columns: &Columns, rows: &[Row]) -> Result<Self> {
        let Some((column, several)) = columns.labels else {
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

    fn of(&self, cell: &str) -> Option<Label> {
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

/// The part that a cell names.
fn part(path: &Path, (line, column): (usize, Option<usize>), name: &str) -> Result<Part> {
    Part::named(name).ok_or_else(|| {
        let what = format!("unknown part `{name}`; expected train, valid, test or an empty cell");
        Error::bad_at(path, line, column.map_or(0, |column| column + 1), what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str, overrides: &[(&str, FeatureKind)]) -> Result<Manifest> {
        let folder = tempfile::tempdir().unwrap();
        for file in ["a.wav", "b.wav", "a.npy"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("frames")).unwrap();
        let path = folder.path().join("m.csv");
        std::fs::write(&path, text).unwrap();
        read(&path, &overrides.iter().map(|(name, kind)| (name.to_string(), *kind)).collect())
    }

    #[test]
    fn rows_become_samples() {
        let text = "id,label,group,voice,face,words\nx,10,anna,a.wav,,\"text: Hi, you\"\ny,9,,b.wav,a.npy,\nz,,anna,,a.npy,text:no\n";
        let found = manifest(text, &[("face", FeatureKind::Clip)]).unwrap();
        assert_eq!(found.kinds, [FeatureKind::Voice, FeatureKind::Clip, FeatureKind::Words]);
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
    fn several_labels_parts_and_folders_of_pictures() {
        let text =
            "part,labels,voice\ntrain,sad;happy,a.wav\nvalid,-,b.wav\ntest, sad ,a.wav\n,,b.wav\n";
        let corpus = manifest(text, &[]).unwrap().corpus;
        assert_eq!(corpus.classes, ["happy", "sad"]);
        let labels: Vec<_> = corpus.samples.iter().map(|s| s.label).collect();
        assert_eq!(
            labels,
            [Some(Label::Each(3)), Some(Label::Each(0)), Some(Label::Each(2)), None]
        );
        let parts: Vec<_> = corpus.samples.iter().map(|s| s.part).collect();
        assert_eq!(parts, [Some(Part::Train), Some(Part::Validation), Some(Part::Test), None]);
        let found = manifest("voice,faces\na.wav,frames\n", &[]).unwrap();
        assert_eq!(found.kinds, [FeatureKind::Voice, FeatureKind::Clip]);
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        let message = |text: &str| manifest(text, &[]).unwrap_err().to_string();
        for (text, wanted) in [
            ("voice\n", "m.csv: has no rows"),
            ("", "m.csv:1"),
            ("id,voice\nx,a.wav\nx,b.wav\n", "m.csv:3: duplicate id `x`, first in line 2"),
            ("voice\na.wav\nnone.wav\n", "m.csv: line 3: `voice` names"),
            ("voice,voice\na.wav,b.wav\n", "m.csv:1:2: the column name `voice`"),
            ("id,voice\nx,a.wav,b\n", "m.csv:2: 3 cells where the header has 2"),
            ("id,label\nx,1\n", "m.csv:1: has no column for a modality"),
            ("id,voice\nx,a.ogg\n", "m.csv:2:2: cannot tell what `a.ogg` is"),
            ("voice\na.wav\nframes\n", "m.csv: line 3: `voice` names"),
            ("part,voice\ntrain,a.wav\ndev2,b.wav\n", "m.csv:3:1: unknown part `dev2`"),
            ("labels,voice\na;,a.wav\n", "m.csv:2:1: a name is missing"),
            ("label,labels,voice\na,a,a.wav\n", "m.csv:1:2: `labels` beside `label`"),
        ] {
            assert!(message(text).contains(wanted), "{}", message(text));
        }
        let other = manifest("voice\na.wav\n", &[("faces", FeatureKind::Clip)]);
        assert_eq!(
            other.unwrap().kinds,
            [FeatureKind::Voice],
            "kinds of other columns are passed over"
        );
    }
}
