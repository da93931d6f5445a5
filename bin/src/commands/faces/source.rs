//! Where frames come from: what is to be looked at, and reading it frame by frame.

use crate::failure::{Failure, Kind, Result};
use data::formats::npy::{self, MappedArray};
use data::formats::{pictures, video};
use models::faces::Picture;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A video (or frames) to look at, and what its results are called, without ending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    pub path: PathBuf,
    pub out: PathBuf,
}

impl Clip {
    /// One of its results. The name may hold dots of its own.
    pub fn result(&self, ending: &str) -> PathBuf {
        let mut name = self.out.clone().into_os_string();
        name.push(".");
        name.push(ending);
        name.into()
    }
}

/// The videos of all inputs, in the order of their names.
///
/// # Errors
/// 66 when there is none, 2 when two would have the same results.
pub fn clips(inputs: &[PathBuf], out: &Path) -> Result<Vec<Clip>> {
    let mut clips = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            let stem = input.file_stem().unwrap_or_default();
            clips.push(Clip { path: input.clone(), out: out.join(stem) });
            continue;
        }
        let mut found = Vec::new();
        files(input, 0, &mut found)?;
        found.sort();
        for path in found {
            let place = path.strip_prefix(input).unwrap_or(&path);
            let out = match path.is_dir() {
                // The input itself, which may be called `.`.
                true if place.as_os_str().is_empty() => {
                    let whole = path.canonicalize().unwrap_or_else(|_| path.clone());
                    out.join(whole.file_name().unwrap_or("clip".as_ref()))
                }
                true => out.join(place),
                false => out.join(place.with_extension("")),
            };
            clips.push(Clip { out, path });
        }
    }
    let named: Vec<String> = inputs.iter().map(|input| input.display().to_string()).collect();
    if clips.is_empty() {
        let message = format!("{}: there is no video in it", named.join(", "));
        return Err(Failure::new(Kind::MissingData, message).hint(format_args!(
            "files that end in .npy, .{} are taken, and folders of pictures",
            video::ENDINGS.join(", .")
        )));
    }
    let mut by_result: BTreeMap<&Path, &Path> = BTreeMap::new();
    for clip in &clips {
        if let Some(other) = by_result.insert(&clip.out, &clip.path) {
            let message = format!(
                "{} and {} would have the same results, {}.*",
                other.display(),
                clip.path.display(),
                clip.out.display()
            );
            return Err(Failure::new(Kind::Usage, message)
                .hint("name a folder that holds both, or give each an --out of its own"));
        }
        // Frames must not be overwritten by crops.
        if clip.result("npy") == clip.path {
            let message = format!("{}: its crops would overwrite it", clip.path.display());
            return Err(Failure::new(Kind::Usage, message).hint("name another folder with --out"));
        }
    }
    Ok(clips)
}

/// How deep folders are looked into; links could lead in circles.
const DEEPEST: usize = 16;

fn files(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let unread = |error: std::io::Error| Failure::io("read the folder", folder, &error);
    let mut of_pictures = false;
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let ending = path.extension().map(|ending| ending.to_ascii_lowercase());
        let is = |known: &str| ending.as_deref() == Some(known.as_ref());
        if path.is_dir() {
            if depth < DEEPEST {
                files(&path, depth + 1, found)?;
            }
            continue;
        }
        if made(&path) {
            continue;
        }
        if is("npy") || video::ENDINGS.into_iter().any(is) {
            found.push(path);
        } else {
            of_pictures |= pictures::is_picture(&path);
        }
    }
    if of_pictures {
        found.push(folder.to_owned());
    }
    Ok(())
}

/// Whether it is a crop or a sheet that an earlier run made, or frames of the video beside them: nothing to look at.
fn made(path: &Path) -> bool {
    let of_video = || video::ENDINGS.iter().any(|ending| path.with_extension(ending).is_file());
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("npy") => path.with_extension("faces.json").is_file() || of_video(),
        Some("png") => path.with_extension("faces.json").is_file(),
        _ => false,
    }
}

/// Frames that can be read again from the start.
pub struct Frames {
    path: PathBuf,
    kind: Source,
}

enum Source {
    /// [T, H, W, 3], so many frames a second.
    Array(MappedArray<u8>, f64),
    /// Pictures of one size, so many a second.
    Pictures(Vec<PathBuf>, f64),
    /// A video file's bytes.
    Video(Vec<u8>),
}

impl Frames {
    /// Opens a file, or a folder of pictures. `rate` is for those that do not say.
    ///
    /// # Errors
    /// 66 when there is none, 65 when it holds no frames.
    pub fn open(path: &Path, rate: f64) -> Result<Self> {
        let frames = |kind| Ok(Frames { path: path.to_owned(), kind });
        if path.is_dir() {
            return frames(Source::Pictures(pictures::list(path)?, rate));
        }
        if path.extension().is_none_or(|ending| ending != "npy") {
            let bytes = std::fs::read(path).map_err(|error| Failure::io("read", path, &error))?;
            return frames(Source::Video(bytes));
        }
        let array = npy::map::<u8>(path)?;
        let whole = |sizes: &[usize]| sizes.iter().all(|&size| size > 0);
        if !matches!(array.shape(), [_, _, _, 3]) || !whole(array.shape()) {
            let message = format!(
                "{}: has the shape {:?}; frames are [T, H, W, 3] with T, H and W above 0",
                path.display(),
                array.shape()
            );
            return Err(Failure::new(Kind::BadData, message));
        }
        frames(Source::Array(array, rate))
    }

    /// Frames in all, where that is known before they are read.
    pub fn count(&self) -> Option<usize> {
        match &self.kind {
            Source::Array(array, _) => array.shape().first().copied(),
            Source::Pictures(pictures, _) => Some(pictures.len()),
            Source::Video(_) => None,
        }
    }

    /// Hands each frame to the body, with its time in seconds; gives the frames a second.
    ///
    /// # Errors
    /// 65 when a frame cannot be read; whatever the body ends with.
    pub fn each(&self, mut body: impl FnMut(f64, &Picture<'_>) -> Result<()>) -> Result<f64> {
        match &self.kind {
            Source::Array(array, rate) => {
                let &[_, height, width, _] = array.shape() else { return Ok(*rate) };
                for (number, pixels) in array.chunks_exact(height * width * 3).enumerate() {
                    let picture = Picture::new(width, height, pixels)?;
                    body(number as f64 / rate, &picture)?;
                }
                Ok(*rate)
            }
            Source::Pictures(all, rate) => {
                let mut first = None;
                for (number, path) in all.iter().enumerate() {
                    let rgb = pictures::read(path)?;
                    let &[height, width, _] = rgb.shape() else { continue };
                    if *first.get_or_insert([width, height]) != [width, height] {
                        let message = format!(
                            "{}: is {width}x{height}, but the pictures before it are not; frames of one clip have one size",
                            path.display()
                        );
                        return Err(Failure::new(Kind::BadData, message));
                    }
                    body(number as f64 / rate, &Picture::new(width, height, rgb.data())?)?;
                }
                Ok(*rate)
            }
            Source::Video(bytes) => {
                let mut failed = None;
                let decoded = video::decode(&self.path, bytes, &mut |frame| {
                    let rgb = frame.rgb()?;
                    let &[height, width, _] = rgb.shape() else { return Ok(()) };
                    let outcome = Picture::new(width, height, rgb.data())
                        .map_err(Failure::from)
                        .and_then(|picture| body(frame.time, &picture));
                    outcome.map_err(|failure| {
                        failed = Some(failure);
                        // Stops the decoder; nobody sees it.
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

    /// What the frames are: a hash of the files' bytes.
    ///
    /// # Errors
    /// 74 when it cannot be read.
    pub fn hash(&self) -> Result<String> {
        let of_file = |path: &Path| {
            let unread = |error: std::io::Error| Failure::io("read", path, &error);
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(std::fs::File::open(path).map_err(unread)?).map_err(unread)?;
            Ok::<_, Failure>(hasher)
        };
        let hasher = match &self.kind {
            Source::Video(bytes) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(bytes);
                hasher
            }
            Source::Array(..) => of_file(&self.path)?,
            Source::Pictures(pictures, _) => {
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
