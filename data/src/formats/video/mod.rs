//! Video: H.264 in MP4 by a decoder in safe Rust, other formats by ffmpeg when it is installed.
//!
//! Frames are returned in presentation order at a constant rate from the start of the recording, so that frame `k` is at
//! `k / rate` seconds of the audio: edit lists are applied, frames of a variable rate are repeated or dropped, and a stream
//! that starts late repeats its first frame until then.

mod clock;
mod container;
mod ffmpeg;
mod frame;
mod h264;
mod mp4;
mod timeline;

use std::path::Path;

pub use frame::{Frame, Turn};

use crate::{Error, Result};

/// Longest accepted video, in frames: 90 minutes at 30 per second. Bounds time and memory.
pub const MOST_FRAMES: usize = 160_000;
/// File extensions of videos.
pub const ENDINGS: [&str; 20] = [
    "mp4", "m4v", "mov", "avi", "flv", "mkv", "webm", "ts", "mts", "m2ts", "3gp", "3g2", "mpg",
    "mpeg", "vob", "wmv", "asf", "ogv", "f4v", "h264",
];
/// Largest accepted frame, in pixels (4K). Bounds memory.
const MOST_PIXELS: usize = 4096 * 2304;

/// The decoder of a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The built-in H.264 decoder.
    Own,
    /// The installed ffmpeg.
    Ffmpeg,
}

/// Facts about a decoded video.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Info {
    /// The number of frames.
    pub frames: usize,
    /// Frames per second.
    pub frames_per_second: f64,
    /// Its decoder.
    pub reader: Reader,
}

/// Why the built-in decoder did not decode a video.
enum Trouble {
    /// The format is not supported, for this reason.
    Unsupported(String),
    /// The file is invalid, or the caller's function returned an error.
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Whether the bytes begin like a container of videos that [`decode`] may read.
pub fn is_video(bytes: &[u8]) -> bool {
    container::named(bytes).is_some()
}

/// Whether the extension of `path` is that of a video.
pub fn has_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// Decodes a video from the `bytes` of its file, whatever its extension, and calls `each` with every frame, in presentation order; `path` is for
/// messages.
///
/// # Errors
/// Bad data when the file is corrupt or truncated, has no video, or needs ffmpeg and it is not installed; errors of `each`.
pub fn decode(
    path: &Path,
    bytes: &[u8],
    each: &mut dyn FnMut(Frame) -> Result<()>,
) -> Result<Info> {
    if bytes.is_empty() {
        return Err(Error::bad(path, "is empty (0 bytes); copy or record the file again"));
    }
    let mut given = 0;
    let own = own(path, bytes, &mut |frame| {
        given += 1;
        each(frame)
    });
    let reason = match own {
        Ok(info) => return Ok(info),
        Err(Trouble::Failed(error)) => return Err(error),
        Err(Trouble::Unsupported(reason)) => reason,
    };
    // Both decoders are exact, so frames that were returned already are skipped.
    let mut number = 0;
    ffmpeg::decode(path, bytes, &reason, &mut |frame| {
        number += 1;
        if number > given { each(frame) } else { Ok(()) }
    })
}

fn own(
    path: &Path,
    bytes: &[u8],
    each: &mut dyn FnMut(Frame) -> Result<()>,
) -> Result<Info, Trouble> {
    let track = mp4::Track::read(path, bytes)?;
    let timeline = timeline::Timeline::new(path, &track.times)?;
    let frames_per_second = timeline.frames_per_second;
    let mut frames = 0;
    h264::decode(path, bytes, &track, &mut |shown, mut frame| {
        let turns = timeline.shown.get(shown).copied().unwrap_or_default();
        for left in (0..turns).rev() {
            frame.time = frames as f64 / frames_per_second;
            frames += 1;
            if left == 0 {
                return each(frame);
            }
            each(frame.clone())?;
        }
        Ok(())
    })?;
    Ok(Info { frames, frames_per_second, reader: Reader::Own })
}

fn too_large(path: &Path, width: usize, height: usize) -> Error {
    Error::bad(
        path,
        format!(
            "frames of {width}x{height} pixels; {MOST_PIXELS} in all are the most: scale the video down"
        ),
    )
}

fn too_long(path: &Path) -> Error {
    Error::bad(path, format!("more than {MOST_FRAMES} frames; cut the video into clips"))
}
