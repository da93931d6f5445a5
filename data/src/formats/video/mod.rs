//! Video: H.264 in MP4 by a decoder in safe Rust, and whatever else ffmpeg reads, if it is installed.
//!
//! Frames come in the order they are shown, at a constant rate counted from the start of the recording, so that frame
//! `k` lies at `k / rate` seconds of the sound beside it: edit lists are applied, frames of streams with a varying
//! rate are repeated or left out, and a stream that starts late shows its first frame until then.

mod ffmpeg;
mod frame;
mod h264;
mod mp4;
mod timeline;

use std::path::Path;

pub use frame::{Frame, Turn};

use crate::{Error, Result};

/// Longest video that is taken, in frames: an hour and a half at 30 a second. Bounds time and memory.
pub const MOST_FRAMES: usize = 160_000;
/// What the names of videos end in.
pub const ENDINGS: [&str; 7] = ["mp4", "m4v", "mov", "avi", "flv", "mkv", "webm"];
/// Largest frame that is taken, in pixels (4K); bounds memory.
const MOST_PIXELS: usize = 4096 * 2304;

/// Who decoded a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The decoder in this program.
    Own,
    /// The ffmpeg that is installed.
    Ffmpeg,
}

/// What is known of a video once it is decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Info {
    /// Frames given.
    pub frames: usize,
    /// Frames a second.
    pub frames_per_second: f64,
    /// Who decoded it.
    pub reader: Reader,
}

/// Why our own decoder gave no frames.
enum Trouble {
    /// Nothing is wrong with the file; it needs another decoder, because of this.
    Unsupported(String),
    /// The file is wrong, or whoever took the frames refused one.
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Whether a file begins as a video in a container that is worth handing to [`decode`].
pub fn is_video(bytes: &[u8]) -> bool {
    mp4::is_mp4(bytes)
        || bytes.starts_with(b"FLV")
        || bytes.starts_with(b"\x1a\x45\xdf\xa3")
        || (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"AVI "))
}

/// Decodes the video whose file holds `bytes`, frame by frame in the order they are shown; `path` is for messages.
///
/// # Errors
/// Bad data when the file is corrupt or cut short, holds no video, or needs ffmpeg where there is none; whatever
/// `each` returns.
pub fn decode(
    path: &Path,
    bytes: &[u8],
    each: &mut dyn FnMut(Frame) -> Result<()>,
) -> Result<Info> {
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
    // Both decode exactly, so what was given already need not be given again.
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
