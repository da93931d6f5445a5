//! RAVDESS (Livingstone and Russo 2018): the original tree, anywhere below a folder, found by file names, unpacked or in
//! the archives it is served in (Zenodo records 1188976 and 3255102).
//!
//! Names are `MM-VV-EE-II-SS-RR-AA.ext`: modality, speech or song, emotion, intensity, statement, repetition, actor.
//! Landmarks are `01-*.csv` as OpenFace writes them, clips frames (`.npy`) or videos (`.mp4`).
//! The unit is the performance (1,440 of speech, 1,012 of song), whose key is fields 2 to 7: its audio (`03-`), video
//! (`01-` with sound, `02-` without) and landmark (`01-`) files are views of the same seconds.

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

/// Which performances are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vocal {
    /// Spoken ones: eight emotions, 24 actors.
    #[default]
    Speech,
    /// Sung ones: no disgust and no surprise, and none by actor 18.
    Song,
    /// Both.
    Both,
}

impl Vocal {
    /// Whether it takes files with this code, 1 for speech and 2 for song.
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
        "RAVDESS: its folders or archives, and its file names; a made-up world has them too"
    }

    fn is_here(&self, path: &Path) -> bool {
        let named = |stem: &str| matches!(Name::parse(stem), Some(Ok(_)));
        tree::any_file(path, |stem, ending| ending == "zip" || named(stem))
    }

    fn modalities(&self, path: &Path, _vectors: Option<&Path>) -> Result<Vec<Wanted>> {
        let mut wanted = recordings();
        if let (Some(world), Some(last)) = (MadeUpWorld::read(path), wanted.last_mut()) {
            last.feature = Extractor::Clip(world.settings.clips());
        }
        Ok(wanted)
    }

    fn find(&self, path: &Path, wanted: &[Wanted], options: &Options) -> Result<Found> {
        let kinds = recorded_kinds("RAVDESS", wanted)?;
        Ok(found_as_wanted(find(path, &kinds, options.vocal)?, wanted))
    }

    fn census(&self, path: &Path, corpus: &Corpus) -> Vec<Census> {
        // A made-up world has as many clips as its settings say.
        if path.join(MadeUpWorld::FILE).exists() {
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

/// What `world.json` of a made-up world in this format says of its face frames.
#[derive(Deserialize)]
struct MadeUpWorld {
    settings: FrameSettings,
}

#[derive(Deserialize)]
struct FrameSettings {
    face_size: usize,
    video_fps: f64,
}

impl MadeUpWorld {
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

/// Files of one performance: of each kind the best one so far, with its rank.
#[derive(Default)]
struct Files {
    voice: Option<(Rank, Source)>,
    landmarks: Option<(Rank, Source)>,
    clip: Option<(Rank, Source)>,
}

/// How good a file is, the least best. Clips: frames before videos, those with sound before those without. Landmarks: the
/// published ones before those of `mpuc faces`.
type Rank = (bool, u8);

/// What was found beside the files that are used.
#[derive(Default)]
struct Counts {
    copies: usize,
    out_of_range: usize,
}

/// Finds the performances below `root`. Which file belongs to what depends on names only; no file is opened, and of
/// archives only the directory.
///
/// A copy of a file elsewhere in the tree is ignored and counted in the notices (an unpacked file is taken before one in
/// an archive), as are performances that lack a modality. Where both stand beside each other, frames are taken before
/// videos.
///
/// # Errors
/// Missing data when there is no such folder or no wanted file in it; bad data for an archive that is not whole;
/// input/output errors.
fn find(root: &Path, kinds: &[FeatureKind], vocal: Vocal) -> Result<Corpus> {
    if !root.is_dir() {
        return Err(Error::missing(
            root,
            "there is no such folder; give the folder that holds RAVDESS's archives, or its Actor_01 to Actor_24",
        ));
    }
    let mut performances: BTreeMap<[u8; 6], Files> = BTreeMap::new();
    let mut counts = Counts::default();
    for source in tree::files(root)? {
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
    Ok(corpus)
}

impl Files {
    /// Takes a file if it is the first of its kind, or better.
    fn take(&mut self, medium: u8, ending: &str, source: Source, copies: &mut usize) {
        let (place, rank) = match (medium, ending) {
            (3, "wav") => (&mut self.voice, (false, medium)),
            (1, "csv") => (&mut self.landmarks, (is_of_faces(source.path()), medium)),
            (1 | 2, "npy" | "mp4") => (&mut self.clip, (ending == "mp4", medium)),
            _ => return,
        };
        // Frames are mapped where they lie.
        if ending == "npy" && matches!(source, Source::Member(_)) {
            return;
        }
        match place {
            Some((other, _)) if *other <= rank => *copies += usize::from(*other == rank),
            _ => *place = Some((rank, source)),
        }
    }
}

/// The samples of performances with at least one wanted file, ordered by actor and then by their codes.
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

/// What a person should know of the tree.
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
            "{} files are copies of others in the tree and are not used",
            counts.copies
        ));
    }
    if counts.out_of_range > 0 {
        corpus.notices.push(format!(
            "{} files are named like RAVDESS's but with codes that do not exist",
            counts.out_of_range
        ));
    }
    if corpus.samples.iter().any(|sample| sample.id.starts_with("02-")) {
        corpus.notices.push("actor 18 sang nothing: RAVDESS has songs of 23 actors".into());
    }
    corpus.note_missing();
}

/// The name, without ending, of the video with sound whose pictures a video without sound of this name has too; `None` for
/// other names.
pub fn with_sound(stem: &str) -> Option<String> {
    Name::parse(stem)?.ok()?.with_sound()
}

#[cfg(test)]
mod tests;
