//! CMU-MOSEI (Zadeh et al. 2018) as the SDK's `.csd` files: videos cut into segments, each with the intensity of six
//! emotions.
//!
//! The unit is the segment, a row of the labels: `video[k]`. Its modalities are the rows of other sequences in the same
//! seconds. The files lie anywhere below one folder and are known by the name of their root group, or by their own.

mod segment;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::{Census, CorpusFormat, Format, Found, Options, OwnSplit, Wanted};
use crate::OnError;
use crate::corpus::{Corpus, Label, Part, Sample};
use crate::features::{Extractor, FeatureKind, SequenceSettings, Source};
use crate::formats::csd::Csd;
use crate::{Error, Result};
pub use segment::{Align, EPSILON, Segment};

/// The emotions in the order of the labels' columns, which follow the sentiment.
pub const EMOTIONS: [&str; 6] = ["happy", "sad", "anger", "surprise", "disgust", "fear"];

/// The sequence whose rows are the samples, and those of a known layout.
const LABELS: &str = "All Labels";
const LANDMARKS: &str = "OpenFace_2";
const WORDS: &str = "words";
/// Sequences by what their names hold, in this order: a file of word vectors also has `words` in its name.
const KNOWN: [(&str, &[&str]); 6] = [
    ("glove_vectors", &["glove", "wordvectors"]),
    ("COVAREP", &["covarep"]),
    (LANDMARKS, &["openface"]),
    ("FACET", &["facet"]),
    (LABELS, &["label"]),
    (WORDS, &["words"]),
];
/// Where word vectors, and else words, are the intervals that other sequences are aligned to.
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
        path.is_dir() && files.into_iter().flatten().any(|entry| is_csd(entry.path()))
    }

    /// Every sequence that there is; without word vectors the words are left out.
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

/// The sequence that a wanted feature is computed from.
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

/// The files of a folder, by what they are.
struct Files {
    root: PathBuf,
    by_kind: BTreeMap<String, Vec<Arc<Csd>>>,
}

impl Files {
    fn open(root: &Path) -> Result<Self> {
        let mut by_kind: BTreeMap<String, Vec<Arc<Csd>>> = BTreeMap::new();
        for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
            let entry = entry.map_err(|e| {
                let at = e.path().unwrap_or(root).to_owned();
                Error::reading(&at, e.into())
            })?;
            let path = entry.path();
            if entry.file_type().is_file() && is_csd(path) {
                let csd = Csd::open(path)?;
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let kind = known(csd.root()).or_else(|| known(&stem));
                let kind = kind.map_or_else(|| plain(csd.root()), str::to_owned);
                by_kind.entry(kind).or_default().push(Arc::new(csd));
            }
        }
        Ok(Self { root: root.to_owned(), by_kind })
    }

    /// The one file of a sequence; `None` without any.
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

/// The letters and digits of a name, small.
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

/// What was wrong with labels, counted.
#[derive(Default)]
struct Flaws {
    short: usize,
    not_numbers: usize,
    twice: usize,
    featureless: usize,
}

/// Finds the segments of the corpus below `root` with the modalities wanted, brought in step as `align` says.
///
/// A segment stands twice when two rows of the labels have its id or its seconds: an error, or with
/// [`OnError::Skip`] the first counts and the notices say how many. They also count rows too short to be a segment or
/// without numbers, videos with labels alone or with features alone, and segments that lack a modality.
///
/// The corpus's own folds are `train.txt`, `valid.txt` and `test.txt` (one video id a line) or `folds.json` (an object
/// with those three lists) in the folder.
///
/// # Errors
/// Missing data when there is no such folder, no file of labels or of a modality, or a list of folds without the
/// others; bad data in a file, an empty list, or a video in two.
fn find(root: &Path, modalities: &[Named], align: Align, on_error: OnError) -> Result<Corpus> {
    if !root.is_dir() {
        return Err(Error::missing(
            root,
            "there is no such folder; give the folder that holds CMU-MOSEI's .csd files",
        ));
    }
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
        samples.push(Sample { leak_key: id.clone(), id, files, label, group: Some(video), part });
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
        (flaws.short, "rows of labels are too short to be a segment"),
        (flaws.not_numbers, "rows of labels hold something that is no number"),
        (flaws.twice, "segments stand twice in the labels; the first counts"),
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
    Ok(corpus)
}

/// The segments that the labels name, video by video, in the order of time.
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
                let [start, end] = *span;
                let sound = start >= -EPSILON && end.is_finite() && end - start > EPSILON;
                if !sound {
                    flaws.short += 1;
                    continue;
                }
                let intensities = columns.map(|column| row[column]);
                if intensities.iter().any(|x| x.is_nan()) {
                    flaws.not_numbers += 1;
                    continue;
                }
                // An aligned export has one row a part, whose id is the segment's.
                let id = match part.contains('[') && intervals.len() == 1 {
                    true => part.clone(),
                    false => format!("{video}[{number}]"),
                };
                let again = !ids.insert(id.clone()) | !spans.insert(span.map(f64::to_bits));
                if again && on_error == OnError::Fail {
                    return Err(Error::bad(
                        labels.path(),
                        format!(
                            "the segment {id} ({:.2} to {:.2} s) stands twice; write the labels anew, or set data.on_error = \"skip\" to take the first",
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

/// Where the emotions' intensities stand: by name, or behind the sentiment.
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

/// The corpus's own folds, from `train.txt`, `valid.txt` and `test.txt` (one video id a line) or `folds.json` (an
/// object with those three lists) in the folder: the part of each video; nothing where there are none.
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

/// A list of videos and the file it is from.
type List = (PathBuf, Vec<String>);

/// The three lists, or none.
fn lists(root: &Path) -> Result<Vec<List>> {
    let json = root.join("folds.json");
    if let Ok(bytes) = std::fs::read(&json) {
        let lists: BTreeMap<String, Vec<String>> = serde_json::from_slice(&bytes).map_err(|e| {
            Error::bad(&json, format!("is no object of lists of video ids ({e}); write {{\"train\": [..], \"valid\": [..], \"test\": [..]}}"))
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
