//! Finds the videos of the inputs and reads their frames.

use crate::failure::{Failure, Kind, Result};
use data::corpora::{ravdess, tree};
use data::features::Source;
use data::formats::archive::Member;
use data::formats::npy::{self, MappedArray};
use data::formats::{is_of_faces, pictures, video};
use models::faces::Picture;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A video or other source of frames, and the path of its results without ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// The video, `.npy` file or folder of pictures; for a video in an archive its name in messages.
    pub path: PathBuf,
    /// The archive member, if the video is in an archive.
    member: Option<Member>,
    pub out: PathBuf,
}

impl Clip {
    /// The path of a result. The name may contain dots.
    pub fn result(&self, ending: &str) -> PathBuf {
        let mut name = self.out.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }

    /// The file name of the results, without folders.
    fn name(&self) -> &str {
        self.out.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// The videos of all inputs.
pub struct Clips {
    /// Sorted by the names of their results.
    pub clips: Vec<Clip>,
    /// Number of videos skipped because the same frames exist with sound.
    pub silent: usize,
    /// Number of companions of other files, which are ignored.
    pub companions: usize,
}

/// Finds the videos of all inputs.
///
/// # Errors
/// Exit code 66 when there is none, 2 when two would have the same results, 65 for a truncated archive.
pub fn clips(inputs: &[PathBuf], out: &Path) -> Result<Clips> {
    let mut clips: BTreeMap<PathBuf, Clip> = BTreeMap::new();
    let mut companions = 0;
    for input in inputs {
        for clip in of_input(input, out, &mut companions)? {
            // Frames must not be overwritten by crops.
            if clip.result("npy") == clip.path {
                let message = format!("{}: its crops would overwrite it", clip.path.display());
                return Err(
                    Failure::new(Kind::Usage, message).hint("name another folder with --out")
                );
            }
            match clips.get(&clip.out) {
                None => {}
                // The archive was unpacked in the same folder.
                Some(other) if clip.member.is_some() && other.member.is_none() => continue,
                Some(other) => return Err(same_results(other, &clip)),
            }
            clips.insert(clip.out.clone(), clip);
        }
    }
    if clips.is_empty() {
        let named: Vec<String> = inputs.iter().map(|input| input.display().to_string()).collect();
        let message = format!("{}: found no video", named.join(", "));
        return Err(Failure::new(Kind::MissingData, message).hint(format_args!(
            "give files that end in .npy, .{}, folders of pictures, or .zip archives of videos",
            video::ENDINGS.join(", .")
        )));
    }
    let with_sound = |clip: &Clip| ravdess::with_sound(clip.name());
    let (silent, clips): (Vec<Clip>, Vec<Clip>) = clips.values().cloned().partition(|clip| {
        with_sound(clip).is_some_and(|name| clips.contains_key(&clip.out.with_file_name(name)))
    });
    Ok(Clips { clips, silent: silent.len(), companions })
}

fn same_results(one: &Clip, other: &Clip) -> Failure {
    let message = format!(
        "{} and {} would have the same results, {}.*",
        one.path.display(),
        other.path.display(),
        one.out.display()
    );
    Failure::new(Kind::Usage, message)
        .hint("give a folder that contains both, or process them with different --out")
}

/// Finds the videos of one input: a file, a folder, or an archive. Adds the number of ignored companions.
fn of_input(input: &Path, out: &Path, companions: &mut usize) -> Result<Vec<Clip>> {
    if !input.is_dir() && !has_ending(input, &["zip"]) {
        let stem = input.file_stem().unwrap_or_default();
        return Ok(vec![Clip { path: input.to_owned(), member: None, out: out.join(stem) }]);
    }
    let mut clips = Vec::new();
    let mut folders = BTreeSet::new();
    let tree = tree::files(input)?;
    *companions += tree.companions;
    for source in tree.sources {
        match source {
            Source::File(path) if made(&path) => {}
            Source::File(path) if is_video(&path) || has_ending(&path, &["npy"]) => {
                let place = path.strip_prefix(input).unwrap_or(&path).with_extension("");
                clips.push(Clip { out: out.join(place), path, member: None });
            }
            Source::File(path) if pictures::is_picture(&path) => {
                folders.extend(path.parent().map(Path::to_owned));
            }
            Source::Member(member) if is_video(member.path()) => {
                let unpacked = member.unpacked();
                // For an archive given as input, names are relative to its folder.
                let base = if input.is_dir() { Some(input) } else { input.parent() };
                let place = unpacked.strip_prefix(base.unwrap_or(input)).unwrap_or(&unpacked);
                clips.push(Clip {
                    out: out.join(place.with_extension("")),
                    path: member.path().to_owned(),
                    member: Some(member),
                });
            }
            _ => {}
        }
    }
    for path in folders {
        let place = path.strip_prefix(input).unwrap_or(&path);
        let out = match place.file_name() {
            Some(_) => out.join(place),
            // The input itself, which may be `.`.
            None => {
                let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
                out.join(whole.file_name().unwrap_or("clip".as_ref()))
            }
        };
        clips.push(Clip { out, path, member: None });
    }
    Ok(clips)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

fn is_video(path: &Path) -> bool {
    has_ending(path, &video::ENDINGS)
}

/// Whether a file is the result of an earlier run, or frames of a video in the same folder; both are skipped.
fn made(path: &Path) -> bool {
    let of_video = || video::ENDINGS.iter().any(|ending| path.with_extension(ending).is_file());
    (has_ending(path, &["npy", "png"]) && is_of_faces(path))
        || (has_ending(path, &["npy"]) && of_video())
}

/// The frames of a clip, which can be read several times.
pub struct Frames {
    path: PathBuf,
    content: Content,
}

enum Content {
    /// An array `[T, H, W, 3]` and its frames per second.
    Array(MappedArray<u8>, f64),
    /// Pictures of one size and their frames per second.
    Pictures(Vec<PathBuf>, f64),
    /// A video file's bytes.
    Video(Vec<u8>),
}

impl Frames {
    /// Opens a clip. `rate` is the frames per second of clips without a frame rate.
    ///
    /// # Errors
    /// Exit code 66 when the file does not exist, 65 when it has no frames.
    pub fn open(clip: &Clip, rate: f64) -> Result<Self> {
        let path = clip.path.as_path();
        let frames = |content| Ok(Frames { path: path.to_owned(), content });
        if let Some(member) = &clip.member {
            return frames(Content::Video(member.read()?));
        }
        if path.is_dir() {
            return frames(Content::Pictures(pictures::list(path)?.files, rate));
        }
        if !has_ending(path, &["npy"]) {
            let bytes = std::fs::read(path).map_err(|error| Failure::io("read", path, &error))?;
            return frames(Content::Video(bytes));
        }
        let array = npy::map::<u8>(path)?;
        let whole = |sizes: &[usize]| sizes.iter().all(|&size| size > 0);
        if !matches!(array.shape(), [_, _, _, 3]) || !whole(array.shape()) {
            let message = format!(
                "{}: got shape {:?}, expected [T, H, W, 3] with T, H and W above 0",
                path.display(),
                array.shape()
            );
            return Err(Failure::new(Kind::BadData, message));
        }
        frames(Content::Array(array, rate))
    }

    /// The number of frames, if it is known before they are read.
    pub fn count(&self) -> Option<usize> {
        match &self.content {
            Content::Array(array, _) => array.shape().first().copied(),
            Content::Pictures(pictures, _) => Some(pictures.len()),
            Content::Video(_) => None,
        }
    }

    /// Calls the body with the time in seconds and the picture of each frame; returns the frames per second.
    ///
    /// # Errors
    /// Exit code 65 when a frame cannot be read; any error of the body.
    pub fn each(&self, mut body: impl FnMut(f64, &Picture<'_>) -> Result<()>) -> Result<f64> {
        match &self.content {
            Content::Array(array, rate) => {
                let &[_, height, width, _] = array.shape() else { return Ok(*rate) };
                for (number, pixels) in array.chunks_exact(height * width * 3).enumerate() {
                    let picture = Picture::new(width, height, pixels)?;
                    body(number as f64 / rate, &picture)?;
                }
                Ok(*rate)
            }
            Content::Pictures(all, rate) => {
                let mut first = None;
                for (number, path) in all.iter().enumerate() {
                    let rgb = pictures::read(path)?;
                    let &[height, width, _] = rgb.shape() else { continue };
                    if *first.get_or_insert([width, height]) != [width, height] {
                        let message = format!(
                            "{}: is {width}x{height}, but the earlier frames are not; give frames of one size",
                            path.display()
                        );
                        return Err(Failure::new(Kind::BadData, message));
                    }
                    body(number as f64 / rate, &Picture::new(width, height, rgb.data())?)?;
                }
                Ok(*rate)
            }
            Content::Video(bytes) => {
                let mut failed = None;
                let decoded = video::decode(&self.path, bytes, &mut |frame| {
                    let rgb = frame.rgb()?;
                    let &[height, width, _] = rgb.shape() else { return Ok(()) };
                    let outcome = Picture::new(width, height, rgb.data())
                        .map_err(Failure::from)
                        .and_then(|picture| body(frame.time, &picture));
                    outcome.map_err(|failure| {
                        failed = Some(failure);
                        // Stops the decoder; this error is never printed.
                        data::Error::Config { message: "stopped".into() }
                    })
                });
                match failed {
                    Some(failure) => Err(failure),
                    None => Ok(decoded?.frames_per_second),
                }
            }
        }
    }

    /// A hash of the files' bytes.
    ///
    /// # Errors
    /// Exit code 74 when a file cannot be read.
    pub fn hash(&self) -> Result<String> {
        let of_file = |path: &Path| {
            let unread = |error: std::io::Error| Failure::io("read", path, &error);
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(std::fs::File::open(path).map_err(unread)?).map_err(unread)?;
            Ok::<_, Failure>(hasher)
        };
        let hasher = match &self.content {
            Content::Video(bytes) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(bytes);
                hasher
            }
            Content::Array(..) => of_file(&self.path)?,
            Content::Pictures(pictures, _) => {
                let mut hasher = blake3::Hasher::new();
                for path in pictures {
                    hasher.update(of_file(path)?.finalize().as_bytes());
                }
                hasher
            }
        };
        Ok(hasher.finalize().to_hex()[..16].to_owned())
    }
}
