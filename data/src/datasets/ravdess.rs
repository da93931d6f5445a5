//! RAVDESS (Livingstone and Russo 2018): the original tree, anywhere below a folder, found by file names.
//!
//! Names are `MM-VV-EE-II-SS-RR-AA.ext`: modality, speech or song, emotion, intensity, statement, repetition, actor.
//! The unit is the performance (1,440 of speech), whose key is fields 2 to 7: its audio (`03-`), video (`01-`, `02-`)
//! and landmark (`01-`) files are views of the same seconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use super::{Corpus, Sample};
use crate::features::Source;
use crate::{Error, Result};

/// Emotions in label order: label = emotion code - 1.
pub const EMOTIONS: [&str; 8] =
    ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"];

/// A modality of RAVDESS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// `03-*.wav`.
    Voice,
    /// `01-*.csv`, as OpenFace writes them (Zenodo record 3255102).
    Landmarks,
    /// `01-*.npy` or `02-*.npy`: frames `[T, H, W, 3]`.
    Clip,
}

impl Modality {
    /// The modality's name in a [`Corpus`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Landmarks => "landmarks",
            Self::Clip => "clip",
        }
    }
}

/// What to take from the tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Modalities wanted, in this order. A performance with at least one of them is kept.
    pub modalities: Vec<Modality>,
    /// Whether sung performances are taken too.
    pub songs: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { modalities: vec![Modality::Voice, Modality::Landmarks], songs: false }
    }
}

/// The seven codes of a file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name([u8; 7]);

impl Name {
    /// Codes of `stem`; `None` when it is no RAVDESS name. Codes out of range give `Some(Err)`.
    fn parse(stem: &str) -> Option<std::result::Result<Self, ()>> {
        let bytes = stem.as_bytes();
        if bytes.len() != 20 {
            return None;
        }
        let mut codes = [0; 7];
        for (i, (code, field)) in codes.iter_mut().zip(bytes.chunks(3)).enumerate() {
            let &[tens, ones] = field.get(..2)? else { return None };
            if !tens.is_ascii_digit() || !ones.is_ascii_digit() || (i < 6 && field[2] != b'-') {
                return None;
            }
            *code = (tens - b'0') * 10 + (ones - b'0');
        }
        let most = [3, 2, 8, 2, 2, 2, 24];
        let in_range = codes.iter().zip(most).all(|(&code, most)| (1..=most).contains(&code));
        Some(in_range.then_some(Self(codes)).ok_or(()))
    }

    /// Fields 2 to 7, the same in all files of one performance.
    fn performance(self) -> [u8; 6] {
        let [_, rest @ ..] = self.0;
        rest
    }
}

/// Files of one performance, by [`Modality`]; for the clip the better one so far.
#[derive(Default)]
struct Files {
    voice: Option<PathBuf>,
    landmarks: Option<PathBuf>,
    clip: Option<(u8, PathBuf)>,
    video: Option<PathBuf>,
}

/// Finds the performances below `root`. Which file belongs to what depends on names only; no file is opened.
///
/// A copy of a file elsewhere in the tree is ignored and counted in the notices, as are performances that lack a
/// modality. For `.mp4` files without frames the notices give the command that makes the frames.
///
/// # Errors
/// Missing data when there is no such folder or no wanted file in it; input/output errors.
pub fn find(root: &Path, options: &Options) -> Result<Corpus> {
    if options.modalities.is_empty() {
        return Err(Error::config("ravdess: no modality is wanted; name voice, landmarks or clip"));
    }
    if !root.is_dir() {
        return Err(Error::missing(
            root,
            "there is no such folder; give the folder that holds RAVDESS's Actor_01 to Actor_24",
        ));
    }
    let mut performances: BTreeMap<[u8; 6], Files> = BTreeMap::new();
    let (mut copies, mut out_of_range) = (0usize, 0usize);
    for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|e| {
            let at = e.path().unwrap_or(root).to_owned();
            Error::reading(&at, e.into())
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        let path = entry.into_path();
        let Some(name) = path.file_stem().and_then(|stem| Name::parse(stem.to_str()?)) else {
            continue;
        };
        let Ok(name) = name else {
            out_of_range += 1;
            continue;
        };
        let [medium, vocal, ..] = name.0;
        if vocal == 2 && !options.songs {
            continue;
        }
        let extension = path.extension().map(|e| e.to_ascii_lowercase());
        let files = performances.entry(name.performance()).or_default();
        let place = match (medium, extension.as_ref().and_then(|e| e.to_str())) {
            (3, Some("wav")) => &mut files.voice,
            (1, Some("csv")) => &mut files.landmarks,
            (1 | 2, Some("npy")) => {
                match &files.clip {
                    Some((other, _)) if *other <= medium => copies += usize::from(*other == medium),
                    _ => files.clip = Some((medium, path)),
                }
                continue;
            }
            (1 | 2, Some("mp4")) => {
                files.video.get_or_insert(path);
                continue;
            }
            _ => continue,
        };
        match place {
            Some(_) => copies += 1,
            None => *place = Some(path),
        }
    }
    let mut corpus = corpus_of(&mut performances, options);
    let videos: Vec<&PathBuf> = performances
        .values()
        .filter(|f| f.clip.is_none())
        .filter_map(|f| f.video.as_ref())
        .collect();
    if let (true, Some(first)) = (options.modalities.contains(&Modality::Clip), videos.first()) {
        corpus.notices.push(format!(
            "{} videos have no frames yet; for each: {}",
            videos.len(),
            frames_command(first)
        ));
    }
    if corpus.samples.is_empty() {
        let wanted: Vec<&str> = options.modalities.iter().map(|m| m.name()).collect();
        let hint = corpus.notices.first().map(|notice| format!("; {notice}")).unwrap_or_default();
        return Err(Error::missing(
            root,
            format!(
                "no RAVDESS file for {}; give the folder with names such as Actor_01/03-01-05-02-01-01-01.wav{hint}",
                wanted.join(" or ")
            ),
        ));
    }
    if copies > 0 {
        corpus
            .notices
            .push(format!("{copies} files are copies of others in the tree and are not used"));
    }
    if out_of_range > 0 {
        corpus.notices.push(format!(
            "{out_of_range} files are named like RAVDESS's but with codes that do not exist"
        ));
    }
    corpus.note_missing();
    Ok(corpus)
}

/// The samples of performances with at least one wanted file, ordered by actor and then by their codes.
fn corpus_of(performances: &mut BTreeMap<[u8; 6], Files>, options: &Options) -> Corpus {
    let mut samples: Vec<Sample> = Vec::new();
    for (&[vocal, emotion, intensity, statement, repetition, actor], found) in performances.iter() {
        let files: Vec<Option<Source>> = options
            .modalities
            .iter()
            .map(|modality| match modality {
                Modality::Voice => found.voice.clone(),
                Modality::Landmarks => found.landmarks.clone(),
                Modality::Clip => found.clip.as_ref().map(|(_, path)| path.clone()),
            })
            .map(|path| path.map(Source::File))
            .collect();
        if files.iter().all(Option::is_none) {
            continue;
        }
        samples.push(Sample {
            id: format!(
                "{vocal:02}-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}"
            ),
            files,
            label: Some(usize::from(emotion) - 1),
            group: Some(format!("{actor:02}")),
            leak_key: format!("{vocal:02}-{emotion:02}-{intensity:02}-{statement:02}-{actor:02}"),
        });
    }
    samples.sort_by(|a, b| (&a.group, &a.id).cmp(&(&b.group, &b.id)));
    Corpus {
        modalities: options.modalities.iter().map(|m| m.name().to_owned()).collect(),
        classes: EMOTIONS.map(str::to_owned).to_vec(),
        samples,
        notices: Vec::new(),
    }
}

/// A shell command that turns a video into frames beside it (the middle square, 112 x 112).
fn frames_command(video: &Path) -> String {
    let frames = video.with_extension("npy");
    format!(
        "ffmpeg -v error -i '{}' -vf 'crop=ih:ih,scale=112:112' -f rawvideo -pix_fmt rgb24 - | python3 -c \"import sys, numpy as n; n.save('{}', n.frombuffer(sys.stdin.buffer.read(), 'u1').reshape(-1, 112, 112, 3))\"",
        video.display(),
        frames.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn files_of_one_performance_meet_in_one_sample() {
        let folder = tree(&[
            "Audio/Actor_12/03-01-06-01-02-01-12.wav",
            "Tracking/01-01-06-01-02-01-12.csv",
            "copy/Actor_12/03-01-06-01-02-01-12.wav",
            "Video/02-01-06-01-02-01-12.npy",
            "Video/01-01-06-01-02-01-12.npy",
            "Audio/Actor_12/03-01-06-01-02-02-12.wav",
            "Audio/Actor_02/03-01-01-01-01-01-02.WAV",
            "Audio/Actor_02/03-02-01-01-01-01-02.wav",
            "Audio/Actor_02/03-01-09-01-01-01-02.wav",
            "readme.txt",
        ]);
        let modalities = vec![Modality::Voice, Modality::Landmarks, Modality::Clip];
        let corpus =
            find(folder.path(), &Options { modalities: modalities.clone(), songs: false }).unwrap();
        let ids: Vec<&str> = corpus.samples.iter().map(|s| s.id.as_str()).collect();
        assert_eq!(ids, ["01-01-01-01-01-02", "01-06-01-02-01-12", "01-06-01-02-02-12"]);
        let sample = &corpus.samples[1];
        assert_eq!((sample.label, sample.group.as_deref()), (Some(5), Some("12")));
        assert!(sample.files.iter().all(Option::is_some));
        assert!(
            sample.files[2].as_ref().unwrap().path().ends_with("Video/01-01-06-01-02-01-12.npy")
        );
        assert_eq!(sample.leak_key, corpus.samples[2].leak_key);
        assert_eq!(corpus.missing(), [0, 2, 2]);
        assert_eq!(corpus.notices.len(), 4, "{:?}", corpus.notices);
        assert_eq!(
            find(folder.path(), &Options { modalities, songs: true }).unwrap().samples.len(),
            4
        );
    }

    #[test]
    fn videos_without_frames_give_the_command() {
        let folder = tree(&["01-01-06-01-02-01-12.mp4"]);
        let options = Options { modalities: vec![Modality::Clip], songs: false };
        let error = find(folder.path(), &options).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::MissingData);
        assert!(
            error.to_string().contains("1 videos have no frames yet; for each: ffmpeg"),
            "{error}"
        );
        assert!(find(&folder.path().join("none"), &options).is_err());
    }

    proptest! {
        #[test]
        fn any_name_is_answered(name in "[0-9a-\u{e9}-]{0,22}") {
            let _ = Name::parse(&name);
        }
    }
}
