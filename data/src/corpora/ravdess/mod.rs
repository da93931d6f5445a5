//! RAVDESS (Livingstone and Russo 2018), found by its file names in a folder tree, unpacked or in the published ZIP archives
//! (Zenodo records 1188976 and 3255102).
//!
//! Names are `MM-VV-EE-II-SS-RR-AA.ext`: medium, speech or song, emotion, intensity, statement, repetition, actor. A sample
//! is a performance (1,440 of speech, 1,012 of song), identified by fields 2 to 7. Its files are voice `03-*.wav`,
//! landmarks `01-*.csv` by OpenFace, and clips: frames (`.npy`) or videos (`.mp4`), `01-` with sound or `02-` without.

mod census;
mod name;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::format::{found_as_wanted, recorded_kinds, recordings};
use super::{Census, CorpusFormat, Format, Found, Options, OwnSplit, Wanted, tree};
use crate::corpus::{Corpus, Label, Sample};
use crate::features::clip::ClipSettings;
use crate::features::{Extractor, FeatureKind, Source};
use crate::formats::is_of_faces;
use crate::{Error, Result};
use name::Name;

/// The format `ravdess`.
pub const FORMAT: Format = Format(&Ravdess);

/// Emotions in label order: label = emotion code - 1.
pub const EMOTIONS: [&str; 8] =
    ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"];

/// The performances of RAVDESS to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vocal {
    /// Speech: eight emotions, 24 actors.
    #[default]
    Speech,
    /// Song: without disgust and surprise, and without actor 18.
    Song,
    /// Both.
    Both,
}

impl Vocal {
    /// Whether it includes files with this code: 1 for speech, 2 for song.
    fn takes(self, code: u8) -> bool {
        self == Self::Both || (self == Self::Speech) == (code == 1)
    }
}

struct Ravdess;

impl CorpusFormat for Ravdess {
    fn name(&self) -> &'static str {
        "ravdess"
    }

    fn about(&self) -> &'static str {
        "RAVDESS: files with RAVDESS's names, in folders or archives; also a synthetic world"
    }

    fn is_here(&self, path: &Path) -> bool {
        let named = |stem: &str| matches!(Name::parse(stem), Some(Ok(_)));
        tree::any_file(path, |stem, ending| ending == "zip" || named(stem))
    }

    fn modalities(&self, path: &Path, _vectors: Option<&Path>) -> Result<Vec<Wanted>> {
        let mut wanted = recordings();
        if let (Some(world), Some(last)) = (SyntheticWorld::read(path), wanted.last_mut()) {
            last.feature = Extractor::Clip(world.settings.clips());
        }
        Ok(wanted)
    }

    fn find(&self, path: &Path, wanted: &[Wanted], options: &Options) -> Result<Found> {
        let kinds = recorded_kinds("RAVDESS", wanted)?;
        Ok(found_as_wanted(find(path, &kinds, options.vocal)?, wanted))
    }

    fn census(&self, path: &Path, corpus: &Corpus) -> Vec<Census> {
        // A synthetic world has as many clips as its settings say.
        if path.join(SyntheticWorld::FILE).exists() {
            return Vec::new();
        }
        let counted = census::census(corpus).into_iter();
        counted.filter(|census| census.found > 0 || !census.unexpected.is_empty()).collect()
    }

    fn own_split(&self) -> OwnSplit {
        OwnSplit::None
    }

    fn same_seconds(&self) -> bool {
        true
    }
}

/// The settings of a synthetic world in this format, in `world.json`, as far as its face frames need them.
#[derive(Deserialize)]
struct SyntheticWorld {
    settings: FrameSettings,
}

#[derive(Deserialize)]
struct FrameSettings {
    face_size: usize,
    video_fps: f64,
}

impl SyntheticWorld {
    const FILE: &str = "world.json";

    fn read(root: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(root.join(Self::FILE)).ok()?).ok()
    }
}

impl FrameSettings {
    fn clips(&self) -> ClipSettings {
        ClipSettings {
            height: self.face_size,
            width: self.face_size,
            frames_per_second: self.video_fps,
        }
    }
}

/// The files of one performance: for each kind the best file so far, with its rank.
#[derive(Default)]
struct Files {
    voice: Option<(Rank, Source)>,
    landmarks: Option<(Rank, Source)>,
    clip: Option<(Rank, Source)>,
}

/// The rank of a file; the smallest is preferred. Clips: frames before videos, with sound before without. Landmarks: the
/// published ones before those of `mpuc faces`.
type Rank = (bool, u8);

/// Numbers of files that are not used, by reason.
#[derive(Default)]
struct Counts {
    copies: usize,
    out_of_range: usize,
}

/// Finds the performances below `root` that have a file of at least one of `kinds`. Files are not opened; of archives only
/// the directory is read.
///
/// Notices count copies of a file elsewhere in the tree, which are ignored, and performances without a modality. Files are
/// preferred to members of archives, and frames to videos.
///
/// # Errors
/// Missing data when `root` or such a file does not exist; bad data for a damaged archive; input/output errors.
fn find(root: &Path, kinds: &[FeatureKind], vocal: Vocal) -> Result<Corpus> {
    tree::check_root(
        root,
        "give the folder that contains RAVDESS's archives, or its folders Actor_01 to Actor_24",
    )?;
    let mut performances: BTreeMap<[u8; 6], Files> = BTreeMap::new();
    let mut counts = Counts::default();
    let tree = tree::files(root)?;
    let notices = tree.notices();
    for source in tree.sources {
        let Some((stem, ending)) = tree::name(&source) else { continue };
        let Some(name) = Name::parse(stem) else { continue };
        let Ok(name) = name else {
            counts.out_of_range += 1;
            continue;
        };
        let [medium, code, ..] = name.0;
        if vocal.takes(code) {
            let files = performances.entry(name.performance()).or_default();
            files.take(medium, &ending, source, &mut counts.copies);
        }
    }
    let mut corpus = corpus_of(&performances, kinds);
    if corpus.samples.is_empty() {
        let wanted: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        return Err(Error::missing(
            root,
            format!(
                "no RAVDESS file for {}; give the folder with its archives, or with names such as Actor_01/03-01-05-02-01-01-01.wav",
                wanted.join(" or ")
            ),
        ));
    }
    note(&mut corpus, &performances, kinds, &counts);
    let others = performances.keys().filter(|codes| codes[5] > census::ACTORS).count();
    if others > 0 && !root.join(SyntheticWorld::FILE).exists() {
        corpus.notices.push(format!(
            "{others} performances are of actors above {}, whom RAVDESS does not have",
            census::ACTORS
        ));
    }
    corpus.notices.extend(notices);
    Ok(corpus)
}

impl Files {
    /// Keeps a file when it is the first of its kind or has a smaller rank.
    fn take(&mut self, medium: u8, ending: &str, source: Source, copies: &mut usize) {
        let (place, rank) = match (medium, ending) {
            (3, "wav") => (&mut self.voice, (false, medium)),
            (1, "csv") => (&mut self.landmarks, (is_of_faces(source.path()), medium)),
            (1 | 2, "npy" | "mp4") => (&mut self.clip, (ending == "mp4", medium)),
            _ => return,
        };
        // Frames are memory-mapped, which needs a file of their own.
        if ending == "npy" && matches!(source, Source::Member(_)) {
            return;
        }
        match place {
            Some((other, _)) if *other <= rank => *copies += usize::from(*other == rank),
            _ => *place = Some((rank, source)),
        }
    }
}

/// The samples of performances with a file of at least one kind, ordered by actor and then by id.
fn corpus_of(performances: &BTreeMap<[u8; 6], Files>, kinds: &[FeatureKind]) -> Corpus {
    let mut samples: Vec<Sample> = Vec::new();
    for (&codes, found) in performances {
        let [vocal, emotion, intensity, statement, _, actor] = codes;
        let file = |kind: &FeatureKind| {
            let ranked = match kind {
                FeatureKind::Voice => &found.voice,
                FeatureKind::Landmarks => &found.landmarks,
                FeatureKind::Clip => &found.clip,
                FeatureKind::Words | FeatureKind::Sequence => &None,
            };
            ranked.as_ref().map(|(_, source)| source.clone())
        };
        let files: Vec<Option<Source>> = kinds.iter().map(file).collect();
        if files.iter().all(Option::is_none) {
            continue;
        }
        samples.push(Sample {
            id: name::id(codes),
            files,
            label: Some(Label::One(usize::from(emotion) - 1)),
            group: Some(format!("{actor:02}")),
            leak_key: format!("{vocal:02}-{emotion:02}-{intensity:02}-{statement:02}-{actor:02}"),
            part: None,
            line: None,
        });
    }
    samples.sort_by(|a, b| (&a.group, &a.id).cmp(&(&b.group, &b.id)));
    Corpus {
        modalities: kinds.iter().map(|kind| kind.name().to_owned()).collect(),
        classes: EMOTIONS.map(str::to_owned).to_vec(),
        samples,
        notices: Vec::new(),
    }
}

/// Adds notices about the files.
fn note(
    corpus: &mut Corpus,
    performances: &BTreeMap<[u8; 6], Files>,
    kinds: &[FeatureKind],
    counts: &Counts,
) {
    if kinds.contains(&FeatureKind::Clip) {
        let clips = performances.values().filter_map(|files| files.clip.as_ref());
        let videos = clips.filter(|((video, _), _)| *video).count();
        if videos > 0 {
            corpus.notices.push(format!(
                "{videos} performances have only a video (.mp4), of which whole pictures are taken; `mpuc faces` cuts out the faces"
            ));
        }
    }
    if kinds.contains(&FeatureKind::Landmarks) {
        let landmarks = performances.values().filter_map(|files| files.landmarks.as_ref());
        let own = landmarks.filter(|((own, _), _)| *own).count();
        if own > 0 {
            corpus.notices.push(format!(
                "{own} performances have their landmarks from `mpuc faces`; OpenFace's are Zenodo's record 3255102"
            ));
        }
    }
    if counts.copies > 0 {
        corpus.notices.push(format!(
            "{} files are copies of other files in the tree and are not used",
            counts.copies
        ));
    }
    if counts.out_of_range > 0 {
        corpus.notices.push(format!(
            "{} files have names like RAVDESS's with codes out of range (actors: 01 to 99) and are not used",
            counts.out_of_range
        ));
    }
    if corpus.samples.iter().any(|sample| sample.id.starts_with("02-")) {
        corpus.notices.push("RAVDESS has songs of 23 actors: none of actor 18".into());
    }
    corpus.note_missing();
}

/// The file stem of the video with sound that has the same pictures as the video without sound named `stem`; `None` for
/// other stems.
pub fn with_sound(stem: &str) -> Option<String> {
    Name::parse(stem)?.ok()?.with_sound()
}

#[cfg(test)]
mod tests;
