//! CREMA-D (Cao et al. 2014): 7,442 clips of 91 actors, found by their file names in a folder tree and its ZIP archives.
//!
//! Names are `ACTOR_SENTENCE_EMOTION_LEVEL.ext`, e.g. `1001_DFA_ANG_XX.wav`. The published recordings are `AudioWAV/*.wav`,
//! the published videos `VideoFlash/*.flv`, which need ffmpeg. Frames (`.npy`) and `.mp4` of the same name are preferred.

use std::collections::BTreeMap;
use std::path::Path;

use super::format::{found_as_wanted, recorded_kinds, recordings};
use super::{Census, CorpusFormat, Format, Found, Options, OwnSplit, Wanted, tree};
use crate::corpus::{Corpus, Label, Sample};
use crate::features::{FeatureKind, Source};
use crate::{Error, Result};

/// The format `crema_d`.
pub const FORMAT: Format = Format(&CremaD);

/// Emotions in label order, the alphabetical order of their codes.
pub const EMOTIONS: [&str; 6] = ["anger", "disgust", "fear", "happy", "neutral", "sad"];
/// Number of clips in the published corpus.
const CLIPS: usize = 7_442;
/// Codes of the emotions in file names, in label order.
const CODES: [&str; 6] = ["ANG", "DIS", "FEA", "HAP", "NEU", "SAD"];
/// Codes of the twelve sentences.
const SENTENCES: [&str; 12] =
    ["IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI"];
/// Intensity levels. `XX` means unspecified; one published file has `X`.
const LEVELS: [&str; 5] = ["LO", "MD", "HI", "XX", "X"];

struct CremaD;

impl CorpusFormat for CremaD {
    fn name(&self) -> &'static str {
        "crema_d"
    }

    fn about(&self) -> &'static str {
        "CREMA-D: its file names, anywhere below a folder or in archives there"
    }

    fn is_here(&self, path: &Path) -> bool {
        tree::any_file(path, |stem, _| Name::parse(stem).is_some())
    }

    fn modalities(&self, _path: &Path, _vectors: Option<&Path>) -> Result<Vec<Wanted>> {
        Ok(recordings())
    }

    fn find(&self, path: &Path, wanted: &[Wanted], _options: &Options) -> Result<Found> {
        let kinds = recorded_kinds("CREMA-D", wanted)?;
        Ok(found_as_wanted(find(path, &kinds)?, wanted))
    }

    fn census(&self, _path: &Path, corpus: &Corpus) -> Vec<Census> {
        vec![Census {
            vocal: "speech",
            expected: CLIPS,
            found: corpus.samples.len(),
            absent: Vec::new(),
            absent_by_group: BTreeMap::new(),
            unexpected: Vec::new(),
        }]
    }

    fn own_split(&self) -> OwnSplit {
        OwnSplit::None
    }

    fn same_seconds(&self) -> bool {
        true
    }
}

/// The fields of a file name that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name<'a> {
    actor: &'a str,
    emotion: usize,
}

impl<'a> Name<'a> {
    /// The fields of `stem`; `None` when it is not a name of CREMA-D.
    fn parse(stem: &'a str) -> Option<Self> {
        let mut parts = stem.split('_');
        let mut next = || parts.next();
        let (actor, sentence, emotion, level) = (next()?, next()?, next()?, next()?);
        let known = next().is_none()
            && actor.parse().is_ok_and(|actor: u32| (1001..=1091).contains(&actor))
            && actor.len() == 4
            && SENTENCES.contains(&sentence)
            && LEVELS.contains(&level);
        let emotion = CODES.iter().position(|code| *code == emotion)?;
        known.then_some(Self { actor, emotion })
    }
}

/// The files of one clip.
#[derive(Default)]
struct Files {
    voice: Option<Source>,
    landmarks: Option<Source>,
    frames: Option<Source>,
    video: Option<Source>,
    flash: Option<Source>,
}

/// Finds the clips below `root` that have a file of at least one of `kinds`. Files are not opened; of archives only the
/// directory is read.
///
/// # Errors
/// Missing data when `root` or such a file does not exist; bad data for a damaged archive; input/output errors.
fn find(root: &Path, kinds: &[FeatureKind]) -> Result<Corpus> {
    tree::check_root(root, "give the folder that contains CREMA-D's AudioWAV")?;
    let mut clips: BTreeMap<String, Files> = BTreeMap::new();
    let mut copies = 0usize;
    let tree = tree::files(root)?;
    let notices = tree.notices();
    for source in tree.sources {
        let Some((stem, ending)) = tree::name(&source) else { continue };
        if Name::parse(stem).is_none() {
            continue;
        }
        // Frames are memory-mapped, which needs a file of their own.
        if ending == "npy" && matches!(source, Source::Member(_)) {
            continue;
        }
        let files = clips.entry(stem.to_owned()).or_default();
        let place = match ending.as_str() {
            "wav" => &mut files.voice,
            "csv" => &mut files.landmarks,
            "npy" => &mut files.frames,
            "mp4" => &mut files.video,
            "flv" => &mut files.flash,
            _ => continue,
        };
        match place {
            Some(_) => copies += 1,
            None => *place = Some(source),
        }
    }
    let mut corpus = corpus_of(&clips, kinds);
    if kinds.contains(&FeatureKind::Clip) {
        let mut flash = clips
            .values()
            .filter(|files| files.frames.is_none() && files.video.is_none())
            .filter_map(|files| files.flash.as_ref());
        if let Some(first) = flash.next() {
            corpus.notices.push(format!(
                "{} clips have a video in Flash format alone, e.g. {}: decoding it needs ffmpeg, and gives whole pictures, not cut-out faces",
                flash.count() + 1,
                first.path().display()
            ));
        }
    }
    if copies > 0 {
        corpus.notices.push(format!("{copies} files are copies of other files and are not used"));
    }
    if corpus.samples.is_empty() {
        let wanted: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let hint = corpus.notices.first().map(|notice| format!("; {notice}")).unwrap_or_default();
        return Err(Error::missing(
            root,
            format!(
                "no file of CREMA-D for {}; give the folder with names such as AudioWAV/1001_DFA_ANG_XX.wav{hint}",
                wanted.join(" or ")
            ),
        ));
    }
    corpus.note_missing();
    corpus.notices.extend(notices);
    Ok(corpus)
}

/// The samples of clips with a file of at least one kind, in the order of their names.
fn corpus_of(clips: &BTreeMap<String, Files>, kinds: &[FeatureKind]) -> Corpus {
    let sample = |(id, found): (&String, &Files)| {
        let name = Name::parse(id)?;
        let files: Vec<Option<Source>> = kinds
            .iter()
            .map(|kind| match kind {
                FeatureKind::Voice => found.voice.clone(),
                FeatureKind::Landmarks => found.landmarks.clone(),
                FeatureKind::Words | FeatureKind::Sequence => None,
                FeatureKind::Clip => {
                    found.frames.as_ref().or(found.video.as_ref()).or(found.flash.as_ref()).cloned()
                }
            })
            .collect();
        files.iter().any(Option::is_some).then(|| Sample {
            id: id.clone(),
            files,
            label: Some(Label::One(name.emotion)),
            group: Some(name.actor.to_owned()),
            // No actor repeats a sentence with the same emotion and level.
            leak_key: id.clone(),
            part: None,
            line: None,
        })
    };
    Corpus {
        modalities: kinds.iter().map(|kind| kind.name().to_owned()).collect(),
        classes: EMOTIONS.map(str::to_owned).to_vec(),
        samples: clips.iter().filter_map(sample).collect(),
        notices: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [FeatureKind; 3] = [FeatureKind::Voice, FeatureKind::Landmarks, FeatureKind::Clip];

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn clips_are_found_by_their_names() {
        let folder = tree(&[
            "AudioWAV/1001_DFA_ANG_XX.wav",
            "AudioWAV/1091_IEO_SAD_HI.wav",
            "AudioWAV/1040_ITH_SAD_X.wav",
            "AudioWAV/1092_IEO_SAD_HI.wav",
            "AudioWAV/1001_DFA_JOY_XX.wav",
            "AudioMP3/1001_DFA_ANG_XX.mp3",
            "VideoFlash/1001_DFA_ANG_XX.flv",
            "VideoFlash/1091_IEO_SAD_HI.flv",
            "frames/1001_DFA_ANG_XX.npy",
            "frames/1001_DFA_ANG_XX.mp4",
            "SentenceFilenames.csv",
        ]);
        let corpus = find(folder.path(), &ALL).unwrap();
        let of = |sample: &Sample| {
            (sample.id.clone(), sample.label.and_then(Label::class), sample.group.clone())
        };
        let found: Vec<_> = corpus.samples.iter().map(of).collect();
        assert_eq!(
            found,
            [
                ("1001_DFA_ANG_XX".into(), Some(0), Some("1001".into())),
                ("1040_ITH_SAD_X".into(), Some(5), Some("1040".into())),
                ("1091_IEO_SAD_HI".into(), Some(5), Some("1091".into())),
            ]
        );
        let clip = corpus.samples[0].files[2].as_ref().unwrap();
        assert!(clip.path().ends_with("frames/1001_DFA_ANG_XX.npy"));
        let flash = corpus.samples[2].files[2].as_ref().unwrap();
        assert!(flash.path().ends_with("VideoFlash/1091_IEO_SAD_HI.flv"));
        assert_eq!(corpus.missing(), [0, 3, 1]);
        assert!(
            corpus.notices[0].starts_with("1 clips have a video in Flash format alone, e.g. "),
            "{:?}",
            corpus.notices
        );
    }

    #[test]
    fn a_folder_without_clips_says_what_is_wanted() {
        let folder = tree(&["VideoFlash/1001_DFA_ANG_XX.flv", "readme.txt"]);
        let error = find(folder.path(), &ALL[..2]).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::MissingData);
        assert!(error.to_string().contains("AudioWAV/1001_DFA_ANG_XX.wav"), "{error}");
        assert!(
            find(&folder.path().join("none"), &ALL).is_err() && find(folder.path(), &[]).is_err()
        );
    }

    proptest! {
        #[test]
        fn any_name_is_answered(name in "([0-9]{0,5}|[A-Z_]{0,9}|\u{e9}){0,4}") {
            let _ = Name::parse(&name);
        }
    }
}
