//! Writes a world as RAVDESS's tree: aside first, renamed when complete.

use super::world::{Clip, ClipId};
use super::write::{factor_line, npy, openface_header, openface_table, wav};
use super::{SynthError, World, WorldSettings};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Version of the world itself: raised whenever the same settings give other bytes.
pub const FORMAT_VERSION: u32 = 1;

const VOICE_FOLDER: &str = "Audio_Speech_Actors_01-24";
const LANDMARK_FOLDER: &str = "FacialTracking_Actors_01-24";
const VIDEO_FOLDER: &str = "Video_Speech_Actors_01-24";
const WORLD_FILE: &str = "world.json";

/// How far the generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Clips written.
    pub done: usize,
    /// Clips of the whole world.
    pub total: usize,
}

/// What was made; also the contents of `world.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORMAT_VERSION`] at the time.
    pub format_version: u32,
    /// The settings.
    pub settings: WorldSettings,
    /// Clips written.
    pub clips: usize,
    /// Bytes of all clips' files.
    pub bytes: u64,
    /// BLAKE3 over the clips' files in order (voice, landmarks, frames, factors), hexadecimal.
    pub hash: String,
}

/// One clip's files as bytes.
pub(super) struct ClipFiles {
    pub(super) voice: Vec<u8>,
    pub(super) landmarks: Vec<u8>,
    pub(super) frames: Vec<u8>,
    pub(super) factors: String,
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
            factors: factor_line(clip),
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

/// Writes the world of `settings` under `root` and returns its summary; a `root` that already holds exactly this
/// world is left as it is. `progress` runs after every clip, on any thread, and may stop the work.
///
/// The tree grows in a hidden folder beside `root` and is renamed when complete, so a broken run is never taken for
/// a world; what a failed run wrote is removed.
///
/// # Errors
/// Settings outside their ranges, a `root` that holds something else, an unwritable place or a full disk (with the
/// path), and a stop asked for by `progress`.
pub fn generate(
    settings: &WorldSettings,
    root: &Path,
    progress: &(dyn Fn(Progress) -> ControlFlow<()> + Sync),
) -> Result<Summary, SynthError> {
    let world = World::new(settings)?;
    if let Some(summary) = existing(settings, root)? {
        return Ok(summary);
    }
    let aside = aside_of(root);
    let made = write_tree(&world, &aside, root, progress).and_then(|summary| {
        fs::rename(&aside, root).map_err(SynthError::io("rename the complete world to", root))?;
        Ok(summary)
    });
    if made.is_err() {
        // The first error is the one to tell; what cannot be removed is hidden and harmless.
        let _ = fs::remove_dir_all(&aside);
    }
    made
}

/// The summary of the same world at `root`, or nothing where `root` is free.
fn existing(settings: &WorldSettings, root: &Path) -> Result<Option<Summary>, SynthError> {
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
            if summary.settings == *settings && summary.format_version == FORMAT_VERSION =>
        {
            Ok(Some(summary))
        }
        _ => Err(SynthError::Occupied(root.to_path_buf())),
    }
}

/// The hidden folder beside `root` in which the tree grows; the process id keeps two runs apart.
fn aside_of(root: &Path) -> PathBuf {
    let name =
        root.file_name().map_or_else(|| "world".into(), |name| name.to_string_lossy().into_owned());
    root.with_file_name(format!(".{name}.partial-{}", std::process::id()))
}

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
    let written: Vec<(u64, blake3::Hash, String)> = clips
        .par_iter()
        .map(|&id| {
            let files = write_clip(world, id, aside, &header)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if progress(Progress { done, total }).is_break() && done < total {
                return Err(SynthError::Interrupted { done, total, root: root.to_path_buf() });
            }
            let bytes = files.voice.len() + files.landmarks.len() + files.frames.len();
            Ok((bytes as u64, files.hash(), files.factors))
        })
        .collect::<Result<_, _>>()?;
    let mut factors = World::factor_header();
    let mut hasher = blake3::Hasher::new();
    for (_, hash, line) in &written {
        factors.push_str(line);
        hasher.update(hash.as_bytes());
    }
    write_file(&aside.join("factors.csv"), factors.as_bytes())?;
    let summary = Summary {
        format_version: FORMAT_VERSION,
        settings: settings.clone(),
        clips: total,
        bytes: written.iter().map(|(bytes, ..)| bytes).sum(),
        hash: hasher.finalize().to_hex().to_string(),
    };
    let path = aside.join(WORLD_FILE);
    let text = serde_json::to_string_pretty(&summary).map_err(|error| {
        SynthError::io("describe the world in", &path)(std::io::Error::other(error))
    })?;
    write_file(&path, text.as_bytes())?;
    Ok(summary)
}

fn write_clip(
    world: &World,
    id: ClipId,
    aside: &Path,
    header: &str,
) -> Result<ClipFiles, SynthError> {
    let Some(clip) = world.clip(id) else {
        let path = PathBuf::from(id.stem(1));
        return Err(SynthError::io("find the actor of", &path)(
            std::io::ErrorKind::NotFound.into(),
        ));
    };
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
