//! Writing of a world to a folder, under a temporary name until it is complete.

use super::aside::Claim;
use super::checksums;
use super::clip_id::ClipId;
use super::segments::{self, SequenceFile};
use super::world::Clip;
use super::write::{factor_line, npy, openface_header, openface_table, wav};
use super::{EMOTIONS, Factors, Shape, SynthError, World, WorldSettings, attributes};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Version of the bytes of a shape's clips. Raise it when the same settings give other bytes.
const fn format_version(shape: Shape) -> u32 {
    match shape {
        Shape::Ravdess => 1,
        Shape::Mosei => 2,
    }
}

const VOICE_FOLDER: &str = "Audio_Speech_Actors_01-24";
const LANDMARK_FOLDER: &str = "FacialTracking_Actors_01-24";
const VIDEO_FOLDER: &str = "Video_Speech_Actors_01-24";
pub(super) const WORLD_FILE: &str = "world.json";

/// Progress of the generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Clips written.
    pub done: usize,
    /// Clips of the whole world.
    pub total: usize,
    /// Whether another process writes the same world, which this one waits for.
    pub waiting: bool,
}

/// Summary of a written world; also the content of `world.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of the bytes of its shape's clips.
    pub format_version: u32,
    /// The corpus whose files and names it has.
    #[serde(default, skip_serializing_if = "is_ravdess")]
    pub shape: Shape,
    /// The settings.
    pub settings: WorldSettings,
    /// Name and version of the external speech synthesiser, on which the bytes depend; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Clips written.
    pub clips: usize,
    /// Bytes of all clips' files.
    pub bytes: u64,
    /// BLAKE3 over the clips' files in order (voice, landmarks, frames, factors), hexadecimal.
    pub hash: String,
}

fn is_ravdess(shape: &Shape) -> bool {
    *shape == Shape::Ravdess
}

/// One clip's files as bytes.
pub(super) struct ClipFiles {
    pub(super) voice: Vec<u8>,
    pub(super) landmarks: Vec<u8>,
    pub(super) frames: Vec<u8>,
    pub(super) factors: String,
    pub(super) attributes: String,
}

impl ClipFiles {
    pub(super) fn new(
        clip: &Clip,
        settings: &WorldSettings,
        header: &str,
    ) -> Result<Self, SynthError> {
        let size = settings.face_size;
        let voice = wav(&clip.voice, settings.sample_rate).map_err(|error| {
            let path = PathBuf::from(clip.id.stem(3));
            SynthError::Io {
                action: "encode the voice of",
                path,
                source: std::io::Error::other(error),
            }
        })?;
        Ok(Self {
            voice,
            landmarks: openface_table(header, &clip.landmarks, settings.landmark_fps),
            frames: npy(&clip.frames, &[settings.video_frames(), size, size, 3]),
            factors: factor_line(&clip.id.stem(1), clip.id, &clip.factors),
            attributes: attributes::line(&clip.id.performance(), &clip.affect),
        })
    }

    pub(super) fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for part in [&self.voice, &self.landmarks, &self.frames] {
            hasher.update(part);
        }
        hasher.update(self.factors.as_bytes());
        hasher.finalize()
    }
}

/// Writes the world of `settings` to the folder `root`, with the files and names of RAVDESS, and returns its summary.
///
/// A `root` that already has exactly this world is not changed. Worker threads call `progress` after every clip; it may
/// stop the work. Files are written to a hidden folder beside `root`, which is renamed when complete and removed after an
/// error.
///
/// # Errors
/// Settings out of range, a `root` with other content, input/output errors with the path, and a stop by `progress`.
pub fn generate(
    settings: &WorldSettings,
    root: &Path,
    progress: &(dyn Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<Summary, SynthError> {
    generate_of(&World::new(settings, Shape::Ravdess)?, root, progress)
}

/// As [`generate`], of an existing [`World`].
pub(super) fn generate_of(
    world: &World,
    root: &Path,
    progress: &(dyn Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<Summary, SynthError> {
    whole_or_not_at_all(world, Shape::Ravdess, root, progress, |aside| {
        write_tree(world, aside, root, progress)
    })
}

/// Writes the actors of `settings` to `root` as `.csd` files like CMU-MOSEI's: a video for each actor, a segment for each
/// clip, and lists of folds with one fifth of the videos each for validation and testing.
///
/// As [`generate`], but `progress` counts each video once for each file.
///
/// # Errors
/// As [`generate`].
pub fn generate_segments(
    settings: &WorldSettings,
    root: &Path,
    progress: &(dyn Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<Summary, SynthError> {
    let world = World::new(settings, Shape::Mosei)?;
    whole_or_not_at_all(&world, Shape::Mosei, root, progress, |aside| {
        write_segments(&world, aside, root, progress)
    })
}

/// Calls `make` on a temporary folder and renames it to `root` when the world is complete.
fn whole_or_not_at_all(
    world: &World,
    shape: Shape,
    root: &Path,
    progress: &(dyn Fn(Progress) -> ControlFlow<()> + Sync),
    make: impl FnOnce(&Path) -> Result<Summary, SynthError>,
) -> Result<Summary, SynthError> {
    if let Some(summary) = existing(world, shape, root)? {
        return Ok(summary);
    }
    let claim = Claim::take(root, progress)?;
    // Another process may have written it meanwhile.
    if let Some(summary) = existing(world, shape, root)? {
        return Ok(summary);
    }
    let aside = claim.folder();
    let made = make(&aside).and_then(|summary| {
        let path = aside.join(WORLD_FILE);
        let text = serde_json::to_string_pretty(&summary).map_err(|error| {
            SynthError::io("describe the world in", &path)(std::io::Error::other(error))
        })?;
        write_file(&path, text.as_bytes())?;
        checksums::write(&aside).map_err(SynthError::io("write the checksums of", &aside))?;
        fs::rename(&aside, root).map_err(SynthError::io("rename the complete world to", root))?;
        Ok(summary)
    });
    if made.is_err() {
        // The first error is returned; a folder that cannot be removed is hidden.
        let _ = fs::remove_dir_all(&aside);
    }
    made
}

/// The summary of the same world at `root`; `None` when `root` is empty or does not exist.
fn existing(world: &World, shape: Shape, root: &Path) -> Result<Option<Summary>, SynthError> {
    let entries = match fs::read_dir(root) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SynthError::io("read", root)(error)),
    };
    if !entries {
        return Ok(None);
    }
    let summary: Option<Summary> =
        fs::read(root.join(WORLD_FILE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match summary {
        Some(summary)
            if summary.settings == *world.settings()
                && summary.speaker.as_deref() == world.speaker()
                && summary.shape == shape
                && summary.format_version == format_version(shape) =>
        {
            Ok(Some(summary))
        }
        _ => Err(SynthError::Occupied(root.to_path_buf())),
    }
}

/// The hidden temporary folder beside `root`, named by the process id.
fn write_tree(
    world: &World,
    aside: &Path,
    root: &Path,
    progress: &(dyn Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<Summary, SynthError> {
    let settings = world.settings();
    let clips = world.clips();
    make_folder(&aside.join(LANDMARK_FOLDER))?;
    for actor in 1..=settings.actors + settings.extra_actors {
        for folder in [VOICE_FOLDER, VIDEO_FOLDER] {
            make_folder(&aside.join(folder).join(format!("Actor_{actor:02}")))?;
        }
    }
    let header = openface_header();
    let done = AtomicUsize::new(0);
    let total = clips.len();
    let written: Vec<(u64, blake3::Hash, [String; 2])> = clips
        .par_iter()
        .map(|&id| {
            let files = write_clip(world, id, aside, &header)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if progress(Progress { done, total, waiting: false }).is_break() && done < total {
                return Err(SynthError::Interrupted { done, total, root: root.to_path_buf() });
            }
            let bytes = files.voice.len() + files.landmarks.len() + files.frames.len();
            Ok((bytes as u64, files.hash(), [files.factors, files.attributes]))
        })
        .collect::<Result<_, _>>()?;
    let (mut factors, mut ratings) = (World::factor_header(), attributes::header());
    let mut hasher = blake3::Hasher::new();
    for (_, hash, [of_factors, of_attributes]) in &written {
        factors.push_str(of_factors);
        ratings.push_str(of_attributes);
        hasher.update(hash.as_bytes());
    }
    write_file(&aside.join("factors.csv"), factors.as_bytes())?;
    write_file(&aside.join(attributes::FILE), ratings.as_bytes())?;
    Ok(Summary {
        format_version: format_version(Shape::Ravdess),
        shape: Shape::Ravdess,
        settings: settings.clone(),
        speaker: world.speaker().map(str::to_owned),
        clips: total,
        bytes: written.iter().map(|(bytes, ..)| bytes).sum(),
        hash: hasher.finalize().to_hex().to_string(),
    })
}

fn write_segments(
    world: &World,
    aside: &Path,
    root: &Path,
    progress: &(dyn Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<Summary, SynthError> {
    let settings = world.settings();
    let actors: Vec<usize> = (1..=settings.actors + settings.extra_actors).collect();
    let total = actors.len() * SequenceFile::ALL.len();
    make_folder(aside)?;
    let done = AtomicUsize::new(0);
    let (mut bytes, mut hasher) = (0, blake3::Hasher::new());
    for kind in SequenceFile::ALL {
        let (name, _) = kind.names();
        let path = aside.join(name);
        let failed =
            |error: crate::Error| SynthError::io("write", &path)(std::io::Error::other(error));
        let video = |&actor: &usize| {
            let made = segments::entry(world, actor, kind).map_err(failed)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if progress(Progress { done, total, waiting: false }).is_break() && done < total {
                return Err(SynthError::Interrupted { done, total, root: root.to_path_buf() });
            }
            Ok(made)
        };
        let entries: Vec<_> = actors.par_iter().map(video).collect::<Result<_, _>>()?;
        let entries: Vec<_> = entries.into_iter().flatten().collect();
        if entries.is_empty() {
            let (name, value) = kind.absence(&settings.segments);
            let rule = "smaller, or the world larger: no segment has rows in its file";
            return Err(SynthError::setting(name, value, rule));
        }
        segments::write_kind(&path, kind, &entries).map_err(failed)?;
        let written = fs::read(&path).map_err(SynthError::io("read", &path))?;
        bytes += written.len() as u64;
        hasher.update(blake3::hash(&written).as_bytes());
    }
    let spoken = EMOTIONS.map(|emotion| format!(",words_{emotion}")).concat();
    let mut factors = format!("{}{spoken}\n", World::factor_header().trim_end());
    let mut ratings = attributes::header();
    for &actor in &actors {
        for (number, clip) in segments::segments(world, actor).into_iter().enumerate() {
            let Some(shown) = world.shown(clip, number) else { continue };
            let id = format!("{}[{number}]", segments::video(actor));
            let line = factor_line(&id, clip, &Factors::of(&shown.performance));
            let words = shown.feelings(world).map(|count| format!(",{count}")).concat();
            factors.push_str(&format!("{}{words}\n", line.trim_end()));
            ratings.push_str(&attributes::line(&id, &shown.performance.affect));
        }
    }
    write_file(&aside.join("factors.csv"), factors.as_bytes())?;
    write_file(&aside.join(attributes::FILE), ratings.as_bytes())?;
    for (name, places) in [("train", &[0, 1, 2][..]), ("valid", &[3]), ("test", &[4])] {
        let of_fold = actors.iter().filter(|&&actor| places.contains(&((actor - 1) % 5)));
        let lines: String = of_fold.map(|&actor| segments::video(actor) + "\n").collect();
        // With fewer than five actors a list would be empty, so none is written.
        if actors.len() >= 5 {
            write_file(&aside.join(format!("{name}.txt")), lines.as_bytes())?;
        }
    }
    Ok(Summary {
        format_version: format_version(Shape::Mosei),
        shape: Shape::Mosei,
        settings: settings.clone(),
        speaker: world.speaker().map(str::to_owned),
        clips: world.clips().len(),
        bytes,
        hash: hasher.finalize().to_hex().to_string(),
    })
}

fn write_clip(
    world: &World,
    id: ClipId,
    aside: &Path,
    header: &str,
) -> Result<ClipFiles, SynthError> {
    let clip = world.clip(id)?;
    let files = ClipFiles::new(&clip, world.settings(), header)?;
    let actor = format!("Actor_{:02}", id.actor);
    write_file(&aside.join(VOICE_FOLDER).join(&actor).join(id.stem(3) + ".wav"), &files.voice)?;
    write_file(&aside.join(LANDMARK_FOLDER).join(id.stem(1) + ".csv"), &files.landmarks)?;
    write_file(&aside.join(VIDEO_FOLDER).join(&actor).join(id.stem(1) + ".npy"), &files.frames)?;
    Ok(files)
}

fn make_folder(path: &Path) -> Result<(), SynthError> {
    fs::create_dir_all(path).map_err(SynthError::io("make the folder", path))
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SynthError> {
    fs::write(path, bytes).map_err(SynthError::io("write", path))
}
