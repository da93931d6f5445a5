//! CMU-MOSEI (Zadeh et al. 2018) as `.csd` files of CMU's SDK: segments of videos with the intensities of six emotions.
//!
//! A sample is a segment: a row of the labels, `video[k]`. Its modalities are the rows of other sequences in the same time
//! interval. The files lie anywhere below one folder and are identified by their root group, or else by their names.

mod segment;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::{Census, CorpusFormat, Format, Found, Options, OwnSplit, Wanted, tree};
use crate::OnError;
use crate::corpus::{Corpus, Label, Part, Sample};
use crate::features::{Extractor, FeatureKind, SequenceSettings, Source};
use crate::formats::companions::{self, is_companion};
use crate::formats::csd::Csd;
use crate::plain::of_serde;
use crate::{Error, Result};
pub use segment::{Align, EPSILON, Segment};

/// The emotions in the order of the columns of labels, after the sentiment.
pub const EMOTIONS: [&str; 6] = ["happy", "sad", "anger", "surprise", "disgust", "fear"];

/// Names of the sequence of labels and of the sequences with a fixed feature.
const LABELS: &str = "All Labels";
const LANDMARKS: &str = "OpenFace_2";
const WORDS: &str = "words";
/// Known sequences and the substrings of their names, in the order of the search: word vectors also have `words` in their
/// names.
const KNOWN: [(&str, &[&str]); 6] = [
    ("glove_vectors", &["glove", "wordvectors"]),
    ("COVAREP", &["covarep"]),
    (LANDMARKS, &["openface"]),
    ("FACET", &["facet"]),
    (LABELS, &["label"]),
    (WORDS, &["words"]),
];
/// Sequences whose intervals are the words to align to; the first that exists is used.
const REFERENCES: [&str; 2] = ["glove_vectors", WORDS];

/// How to get the lists of the standard folds.
const FOLDS_HINT: &str = "to use the corpus's own folds, put train.txt, valid.txt and test.txt (one video id a line) beside the .csd files: python3 -c \"from mmsdk.mmdatasdk import cmu_mosei as m; [open(n + '.txt', 'w').write('\\n'.join(getattr(m.standard_folds, 'standard_' + n + '_fold'))) for n in ('train', 'valid', 'test')]\"";

/// The format `mosei`.
pub const FORMAT: Format = Format(&Mosei);

struct Mosei;

impl CorpusFormat for Mosei {
    fn name(&self) -> &'static str {
        "mosei"
    }

    fn about(&self) -> &'static str {
        "CMU-MOSEI: its .csd files; a sample is a row of the labels"
    }

    fn is_here(&self, path: &Path) -> bool {
        let files = WalkDir::new(path).follow_links(true).max_depth(3);
        let is_csd =
            |file: &Path| is_csd(file) && !is_companion(file.strip_prefix(path).unwrap_or(file));
        path.is_dir() && files.into_iter().flatten().any(|entry| is_csd(entry.path()))
    }

    /// Every sequence in the folder; words only with `vectors`.
    fn modalities(&self, path: &Path, vectors: Option<&Path>) -> Result<Vec<Wanted>> {
        let mut wanted = Vec::new();
        for root in Files::open(path)?.by_kind.into_keys() {
            let kind = match root.as_str() {
                LABELS => continue,
                LANDMARKS => FeatureKind::Landmarks,
                WORDS => FeatureKind::Words,
                _ => FeatureKind::Sequence,
            };
            let Some(mut feature) = kind.extractor(vectors) else { continue };
            if let Extractor::Sequence(settings) = &mut feature {
                settings.root = Some(root.clone());
            }
            wanted.push(Wanted { name: root, feature });
        }
        Ok(wanted)
    }

    fn find(&self, path: &Path, wanted: &[Wanted], options: &Options) -> Result<Found> {
        let roots = wanted.iter().map(root_of).collect::<Result<Vec<_>>>()?;
        let named = wanted.iter().zip(roots);
        let sequences: Vec<Named> =
            named.map(|(wanted, root)| Named { name: wanted.name.clone(), root }).collect();
        let corpus = find(path, &sequences, options.align, options.on_error)?;
        Ok(Found { corpus, wanted: (0..wanted.len()).collect() })
    }

    fn census(&self, _path: &Path, _corpus: &Corpus) -> Vec<Census> {
        Vec::new()
    }

    fn own_split(&self) -> OwnSplit {
        OwnSplit::Optional(FOLDS_HINT)
    }

    fn same_seconds(&self) -> bool {
        true
    }
}

/// The name of the sequence that a wanted feature is computed from.
fn root_of(wanted: &Wanted) -> Result<String> {
    match &wanted.feature {
        Extractor::Landmarks(_) => Ok(LANDMARKS.to_owned()),
        Extractor::Words(_) => Ok(WORDS.to_owned()),
        Extractor::Sequence(SequenceSettings { root: Some(root), .. }) => Ok(root.clone()),
        Extractor::Sequence(_) => Err(Error::config(format!(
            "`modality.{}.feature.root` is missing; name the computational sequence, e.g. root = \"COVAREP\"",
            wanted.name
        ))),
        Extractor::Voice(_) | Extractor::Clip(_) => Err(Error::config(format!(
            "`modality.{}`: CMU-MOSEI's files have no recordings; use features of kind sequence, landmarks or words",
            wanted.name
        ))),
    }
}

/// A computational sequence and the name of its modality.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    /// The sequence, e.g. `COVAREP`.
    root: String,
}

/// The `.csd` files of a folder by the kind of their sequence.
struct Files {
    root: PathBuf,
    by_kind: BTreeMap<String, Vec<Arc<Csd>>>,
    /// The number of files that are companions of others.
    companions: usize,
}

impl Files {
    fn open(root: &Path) -> Result<Self> {
        tree::check_folder(root, "give the folder that contains CMU-MOSEI's .csd files")?;
        let mut by_kind: BTreeMap<String, Vec<Arc<Csd>>> = BTreeMap::new();
        let mut companions = 0;
        for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(|e| {
                let at = e.path().unwrap_or(root).to_owned();
                Error::reading(&at, e.into())
            })?;
            let path = entry.path();
            if !entry.file_type().is_file() {
                continue;
            }
            if is_companion(path.strip_prefix(root).unwrap_or(path)) {
                companions += 1;
            } else if is_csd(path) {
                let csd = Csd::open(path)?;
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let kind = known(csd.root()).or_else(|| known(&stem));
                let kind = kind.map_or_else(|| plain(csd.root()), str::to_owned);
                by_kind.entry(kind).or_default().push(Arc::new(csd));
            }
        }
        Ok(Self { root: root.to_owned(), by_kind, companions })
    }

    /// The file of a sequence; `None` when there is none.
    fn find(&self, name: &str) -> Result<Option<&Arc<Csd>>> {
        let kind = known(name).map_or_else(|| plain(name), str::to_owned);
        match self.by_kind.get(&kind).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([csd]) => Ok(Some(csd)),
            Some([first, second, ..]) => Err(Error::bad(
                second.path(),
                format!(
                    "holds {name}, as {} does; leave one of them in the folder",
                    first.path().display()
                ),
            )),
        }
    }

    fn need(&self, name: &str, why: &str) -> Result<&Arc<Csd>> {
        let all =
            || -> Vec<&str> { self.by_kind.values().flatten().map(|csd| csd.root()).collect() };
        self.find(name)?.ok_or_else(|| {
            Error::missing(
                &self.root,
                format!(
                    "no .csd file of {name}, which {why}; there are {:?}: add it, or leave out what needs it",
                    all()
                ),
            )
        })
    }
}

fn is_csd(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csd"))
}

/// The letters and digits of a name in lower case.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn known(name: &str) -> Option<&'static str> {
    let name = plain(name);
    let fits = |parts: &&[&str]| parts.iter().any(|part| name.contains(part));
    KNOWN.iter().find(|(_, parts)| fits(parts)).map(|(kind, _)| *kind)
}

/// One row of the labels.
struct Row {
    id: String,
    video: String,
    span: [f64; 2],
    bits: u64,
}

/// Numbers of label rows that are not used, by reason.
#[derive(Default)]
struct Flaws {
    short: usize,
    not_numbers: usize,
    twice: usize,
    featureless: usize,
}

/// Finds the segments below `root` with these modalities, aligned by `align`.
///
/// Two rows of labels with one id or one interval are duplicates: an error, or with [`OnError::Skip`] the first is used.
/// Notices count duplicates, rows that are too short or not numbers, videos with labels or features alone, and segments
/// without a modality.
///
/// The corpus's own folds are in `root`: `train.txt`, `valid.txt` and `test.txt` (one video id per line), or `folds.json`
/// (an object with these three lists).
///
/// # Errors
/// Missing data when `root`, the labels, the sequence of a modality or one of three lists of folds does not exist; bad data
/// for a damaged file, an empty list, or a video in two lists.
fn find(root: &Path, modalities: &[Named], align: Align, on_error: OnError) -> Result<Corpus> {
    let files = Files::open(root)?;
    let labels = files.need(LABELS, "says which segments there are")?;
    let sequences: Vec<&Arc<Csd>> = modalities
        .iter()
        .map(|wanted| {
            files.need(&wanted.root, &format!("the modality `{}` is taken from", wanted.name))
        })
        .collect::<Result<_>>()?;
    let mut words = None;
    for name in REFERENCES {
        words = words.or(files.find(name)?);
    }
    let words = match (words, align) {
        (Some(words), _) => words,
        (None, Align::None) => labels,
        (None, _) => {
            files.need(WORDS, "rows are aligned to (or not, with data.align = \"none\")")?
        }
    };
    let mut flaws = Flaws::default();
    let rows = rows(labels, on_error, &mut flaws)?;
    let folds = folds(root)?;
    let mut samples = Vec::new();
    for Row { id, video, span, bits } in rows {
        let source = |sequence: &&Arc<Csd>| {
            let there = !sequence.parts(&video).is_empty()
                && (align == Align::None || !words.parts(&video).is_empty());
            there.then(|| {
                Source::Excerpt(Arc::new(Segment {
                    id: id.clone(),
                    sequence: Arc::clone(sequence),
                    video: video.clone(),
                    span,
                    align,
                    words: Arc::clone(words),
                }))
            })
        };
        let files: Vec<Option<Source>> = sequences.iter().map(source).collect();
        if files.iter().all(Option::is_none) {
            flaws.featureless += 1;
            continue;
        }
        let label = Some(Label::Each(bits));
        let part = folds.get(&video).copied();
        let (leak_key, group) = (id.clone(), Some(video));
        samples.push(Sample { leak_key, id, files, label, group, part, line: None });
    }
    if samples.is_empty() {
        return Err(Error::missing(
            root,
            "no segment of the labels has any features; check that all files are of one corpus",
        ));
    }
    let labelled: BTreeSet<&str> = labels.videos().collect();
    let seen: BTreeSet<&str> = sequences.iter().flat_map(|sequence| sequence.videos()).collect();
    let unlabelled = seen.difference(&labelled).count();
    let used: BTreeSet<&str> = samples.iter().filter_map(|s| s.group.as_deref()).collect();
    let strangers = folds.keys().filter(|video| !used.contains(video.as_str())).count();
    let homeless =
        samples.iter().filter(|sample| !folds.is_empty() && sample.part.is_none()).count();
    let mut corpus = Corpus {
        modalities: modalities.iter().map(|wanted| wanted.name.clone()).collect(),
        classes: EMOTIONS.map(str::to_owned).to_vec(),
        samples,
        notices: Vec::new(),
    };
    for (count, what) in [
        (flaws.short, "rows of labels are shorter than a segment can be"),
        (flaws.not_numbers, "rows of labels contain NaN"),
        (flaws.twice, "duplicate segments in the labels; the first is used"),
        (flaws.featureless, "segments have labels but no features and are left out"),
        (unlabelled, "videos have features but no labels and are not used"),
        (strangers, "videos of the corpus's own folds are not in the data"),
        (homeless, "segments are of videos in none of the corpus's own folds"),
    ] {
        if count > 0 {
            corpus.notices.push(format!("{count} {what}"));
        }
    }
    corpus.note_missing();
    corpus.notices.extend(companions::notice(files.companions));
    Ok(corpus)
}

/// The segments of the labels, video by video, in the order of time.
fn rows(labels: &Csd, on_error: OnError, flaws: &mut Flaws) -> Result<Vec<Row>> {
    let names = labels.dimension_names()?;
    let mut rows = Vec::new();
    for video in labels.videos() {
        let parts = labels.parts(video);
        let (mut ids, mut spans) = (BTreeSet::new(), BTreeSet::new());
        let mut found = Vec::new();
        for part in parts {
            let intervals = labels.intervals(part)?;
            let values = labels.features(part, 0..intervals.len())?;
            let width = values.shape()[1];
            let columns = columns(names.as_deref(), width).ok_or_else(|| {
                Error::bad(
                    labels.path(),
                    format!("{part} has rows of {width} numbers where sentiment and six emotions are needed; give the file of all labels"),
                )
            })?;
            for (number, (row, span)) in
                values.data().chunks_exact(width).zip(intervals.iter()).enumerate()
            {
                // Published segments start up to half a second before their videos.
                let [start, end] = *span;
                let sound = start.is_finite() && end.is_finite() && end - start.max(0.0) > EPSILON;
                if !sound {
                    flaws.short += 1;
                    continue;
                }
                let intensities = columns.map(|column| row[column]);
                if intensities.iter().any(|x| x.is_nan()) {
                    flaws.not_numbers += 1;
                    continue;
                }
                // In an aligned export a part has one row, and the part's id is the segment's.
                let id = match part.contains('[') && intervals.len() == 1 {
                    true => part.clone(),
                    false => format!("{video}[{number}]"),
                };
                let again = !ids.insert(id.clone()) | !spans.insert(span.map(f64::to_bits));
                if again && on_error == OnError::Fail {
                    return Err(Error::bad(
                        labels.path(),
                        format!(
                            "duplicate segment {id} ({:.2} to {:.2} s); correct the labels, or set data.on_error = \"skip\" to use the first",
                            span[0], span[1]
                        ),
                    ));
                }
                if again {
                    flaws.twice += 1;
                    continue;
                }
                let bits = intensities.iter().enumerate().filter(|(_, x)| **x > 0.0);
                let bits = bits.fold(0, |bits, (emotion, _)| bits | 1 << emotion);
                found.push(Row { id, video: video.to_owned(), span: *span, bits });
            }
        }
        found.sort_by(|a, b| a.span[0].total_cmp(&b.span[0]));
        rows.extend(found);
    }
    Ok(rows)
}

/// The columns of the emotions' intensities: by their names, or after the sentiment.
fn columns(names: Option<&[String]>, width: usize) -> Option<[usize; 6]> {
    let named = names.filter(|names| names.len() == width).and_then(|names| {
        let mut columns = [0; 6];
        for (column, emotion) in columns.iter_mut().zip(EMOTIONS) {
            *column = names.iter().position(|name| name.to_lowercase().starts_with(emotion))?;
        }
        Some(columns)
    });
    named.or_else(|| (width == 7).then(|| std::array::from_fn(|emotion| emotion + 1)))
}

/// The part of each video in the corpus's own folds; empty when there are no lists.
fn folds(root: &Path) -> Result<BTreeMap<String, Part>> {
    let mut part_of: BTreeMap<String, Part> = BTreeMap::new();
    for (part, (path, videos)) in Part::ALL.into_iter().zip(lists(root)?) {
        if videos.is_empty() {
            return Err(Error::bad(&path, "names no video; write one id a line"));
        }
        for video in videos {
            if part_of.get(&video).is_some_and(|other| *other != part) {
                return Err(Error::bad(
                    &path,
                    format!("the video {video} is in two folds; take it out of one"),
                ));
            }
            part_of.insert(video, part);
        }
    }
    Ok(part_of)
}

/// A list of videos and its file.
type List = (PathBuf, Vec<String>);

/// The lists of training, validation and test videos; empty when there are none.
fn lists(root: &Path) -> Result<Vec<List>> {
    let json = root.join("folds.json");
    if let Ok(bytes) = std::fs::read(&json) {
        let lists: BTreeMap<String, Vec<String>> = serde_json::from_slice(&bytes).map_err(|e| {
            Error::bad(&json, format!("is no object of lists of video ids: {}; write {{\"train\": [..], \"valid\": [..], \"test\": [..]}}", of_serde(e)))
        })?;
        let find = |part: Part| {
            let names = part.names();
            let found = names.iter().find_map(|name| lists.get(*name));
            let found = found
                .ok_or_else(|| Error::bad(&json, format!("has no list `{}`; add it", names[0])))?;
            Ok((json.clone(), found.clone()))
        };
        return Part::ALL.into_iter().map(find).collect();
    }
    let find = |part: Part| {
        let paths = part.names().iter().map(|name| root.join(format!("{name}.txt")));
        paths.into_iter().find(|path| path.is_file())
    };
    let found = Part::ALL.map(find);
    if found.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    let read = |(path, part): (Option<PathBuf>, Part)| {
        let path = path.ok_or_else(|| {
            let missing = root.join(format!("{}.txt", part.names()[0]));
            Error::missing(
                &missing,
                "is not there, but other folds' lists are; add it or take them away",
            )
        })?;
        let text = std::fs::read_to_string(&path).map_err(|e| Error::reading(&path, e))?;
        let ids = text.lines().map(str::trim).filter(|line| !line.is_empty());
        Ok((path, ids.map(str::to_owned).collect()))
    };
    found.into_iter().zip(Part::ALL).map(read).collect()
}

#[cfg(test)]
mod tests;
