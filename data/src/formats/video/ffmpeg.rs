//! Decoding of videos that the built-in decoder does not support, through a pipe from ffmpeg.
//!
//! ffmpeg gets no terminal, may open only files and pipes, and is stopped at limits of frames and time. It writes upright
//! frames at a constant rate (YUV4MPEG2): the nominal one of the file, or that of its [clock] when the nominal one is
//! far from it, as in recordings of browsers, whose clock ticks 1,000 times a second.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::time::Duration;

use super::frame::Colours;
use super::{
    Frame, Info, MOST_FRAMES, MOST_PIXELS, Reader, Turn, clock, container, too_large, too_long,
};
use crate::process::{Ended, Running};
use crate::{Error, Result};

const PROGRAM: &str = "ffmpeg";
/// Time limit of ffmpeg for one file.
const MOST_TIME: Duration = Duration::from_secs(1800);
/// Longest accepted header line, in bytes.
const LONGEST_LINE: u64 = 1024;
/// Largest relative difference between a nominal rate and the rate of a file's clock.
const NEAR: f64 = 0.02;

/// Decodes a file with the installed ffmpeg; `reason` says why the built-in decoder cannot.
pub(super) fn decode(
    path: &Path,
    bytes: &[u8],
    reason: &str,
    each: &mut dyn FnMut(Frame) -> Result<()>,
) -> Result<Info> {
    // Before a copy of gigabytes is made for nothing.
    if !installed() {
        return Err(unstarted(path, bytes, reason, &std::io::ErrorKind::NotFound.into()));
    }
    // A member of an archive is not a file, so ffmpeg gets a temporary copy.
    let copy;
    let file = if path.is_file() {
        path.to_owned()
    } else {
        copy = tempfile::Builder::new()
            .suffix(".video")
            .tempfile()
            .map_err(|e| Error::writing(path, e))?;
        std::fs::write(copy.path(), bytes).map_err(|e| Error::writing(copy.path(), e))?;
        copy.path().to_owned()
    };
    let measured = clock::rate(&file);
    let mut forced = None;
    let (read, ended, told) = loop {
        let (running, output) =
            start(&file, forced).map_err(|error| unstarted(path, bytes, reason, &error))?;
        let mut pipe = BufReader::with_capacity(1 << 20, output);
        // When reading stops early, ffmpeg writes to a closed pipe and exits.
        let read = match (Header::read(path, &mut pipe), measured) {
            (Ok(header), Some(rate)) if forced.is_none() && far(header.rate, rate) => {
                drop(pipe);
                running.end();
                forced = measured;
                continue;
            }
            (Ok(header), _) => header.frames(path, &mut pipe, each),
            (Err(error), _) => Err(error),
        };
        drop(pipe);
        let (ended, told) = running.end();
        break (read, ended, told);
    };
    match (read, ended) {
        (Ok(info), Ended::Well) => Ok(info),
        (_, Ended::TooLate) => Err(Error::bad(
            path,
            format!(
                "ffmpeg took longer than {} minutes; cut the video into clips",
                MOST_TIME.as_secs() / 60
            ),
        )),
        // ffmpeg's message is more precise than the error of its truncated output.
        (Ok(_) | Err(Error::BadData { .. }), Ended::Badly) if !told.is_empty() => {
            Err(Error::bad(path, format!("{reason}, and ffmpeg cannot read it: {told}")))
        }
        (Err(error), _) => Err(error),
        (Ok(_), Ended::Badly) => {
            Err(Error::bad(path, format!("{reason}, and ffmpeg broke off; copy the file again")))
        }
    }
}

/// Whether a folder of the program path has ffmpeg.
fn installed() -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(PROGRAM).is_file())
}

/// The error for an ffmpeg that could not be started.
fn unstarted(path: &Path, bytes: &[u8], reason: &str, error: &std::io::Error) -> Error {
    let known = container::named(bytes).is_some();
    let what = match error.kind() {
        std::io::ErrorKind::NotFound if known => "install ffmpeg, which reads it".to_owned(),
        std::io::ErrorKind::NotFound => "install ffmpeg, which reads more formats".to_owned(),
        _ => format!("ffmpeg, which would read it, cannot be started: {error}"),
    };
    Error::bad(path, format!("{reason}; {what}, or convert it to H.264 in MP4"))
}

/// Whether a nominal rate is not that of the clock.
fn far(nominal: f64, measured: f64) -> bool {
    !(1.0 - NEAR..1.0 + NEAR).contains(&(nominal / measured))
}

/// ffmpeg with a file as its input, without terminal and network; options of the output are to be added.
pub(super) fn command(file: &Path) -> Command {
    let mut input = std::ffi::OsString::from("file:");
    input.push(file);
    let mut command = Command::new(PROGRAM);
    command
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-xerror"])
        .args(["-protocol_whitelist", "file,pipe"])
        .arg("-i")
        .arg(input)
        .args(["-map", "0:v:0", "-an", "-sn", "-dn", "-frames:v", &(MOST_FRAMES + 1).to_string()]);
    command
}

/// Starts decoding, at `rate` frames per second, or at the nominal rate.
fn start(file: &Path, rate: Option<f64>) -> std::io::Result<(Running, ChildStdout)> {
    let mut command = command(file);
    if let Some(rate) = rate {
        command.args(["-r", &format!("{rate:.6}")]);
    }
    command
        .args(["-vf", "scale=out_color_matrix=bt601:out_range=tv", "-pix_fmt", "yuv420p"])
        .args(["-f", "yuv4mpegpipe", "pipe:1"]);
    Running::start(&mut command, MOST_TIME)
}

/// The header of YUV4MPEG2.
#[derive(Debug)]
struct Header {
    width: usize,
    height: usize,
    /// Frames per second.
    rate: f64,
}

impl Header {
    /// Reads the header line.
    fn read(path: &Path, pipe: &mut impl BufRead) -> Result<Self> {
        let header = line(pipe).map_err(|e| Error::reading(path, e))?;
        let header = header.ok_or_else(|| strange(path))?;
        let mut words = header.split(' ');
        if words.next() != Some("YUV4MPEG2") {
            return Err(strange(path));
        }
        let (mut width, mut height, mut rate) = (0usize, 0usize, None);
        for word in words {
            let number = word.get(1..).unwrap_or_default();
            match word.as_bytes().first() {
                Some(b'W') => width = number.parse().map_err(|_| strange(path))?,
                Some(b'H') => height = number.parse().map_err(|_| strange(path))?,
                Some(b'F') => rate = fraction(number),
                _ => {}
            }
        }
        let rate = rate.ok_or_else(|| strange(path))?;
        if width == 0 || height == 0 {
            return Err(strange(path));
        }
        if width.saturating_mul(height) > MOST_PIXELS {
            return Err(too_large(path, width, height));
        }
        Ok(Self { width, height, rate })
    }

    /// Reads the frames: for each a line `FRAME` and three planes.
    fn frames(
        self,
        path: &Path,
        pipe: &mut impl BufRead,
        each: &mut dyn FnMut(Frame) -> Result<()>,
    ) -> Result<Info> {
        let Self { width, height, rate } = self;
        let colour = width.div_ceil(2) * height.div_ceil(2);
        let colours = Colours { high_definition: false, full_range: false };
        let mut frames = 0;
        while let Some(mark) = line(pipe).map_err(|e| Error::reading(path, e))? {
            if !mark.starts_with("FRAME") {
                return Err(strange(path));
            }
            if frames == MOST_FRAMES {
                return Err(too_long(path));
            }
            let mut plane = |length: usize| {
                let mut plane = vec![0; length];
                pipe.read_exact(&mut plane).map(|()| plane)
            };
            let planes = (|| Ok([plane(width * height)?, plane(colour)?, plane(colour)?]))();
            let [y, u, v] = planes.map_err(|_: std::io::Error| {
                Error::bad(path, format!("ffmpeg broke off in frame {frames}; copy the file again"))
            })?;
            let time = frames as f64 / rate;
            each(Frame { time, width, height, y, u, v, turn: Turn::Upright, colours })?;
            frames += 1;
        }
        if frames == 0 {
            return Err(Error::bad(path, "ffmpeg found no frame in it; copy the file again"));
        }
        Ok(Info { frames, frames_per_second: rate, reader: Reader::Ffmpeg })
    }
}

fn strange(path: &Path) -> Error {
    Error::bad(
        path,
        "ffmpeg's output is not YUV4MPEG2 with 4:2:0 planes; try another version of ffmpeg",
    )
}

/// The next line without its end; `None` at the end of the stream.
fn line(pipe: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    pipe.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
    Ok((!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

/// `30000:1001`
fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once(':')?;
    let rate =
        above.parse::<u32>().ok().map(f64::from)? / below.parse::<u32>().ok().map(f64::from)?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(stream: &[u8]) -> Result<(Info, Vec<Frame>)> {
        let mut frames = Vec::new();
        let (path, mut pipe) = (Path::new("x.flv"), stream);
        let info = Header::read(path, &mut pipe)?.frames(path, &mut pipe, &mut |frame| {
            frames.push(frame);
            Ok(())
        })?;
        Ok((info, frames))
    }

    #[test]
    fn frames_come_with_their_times() {
        let mut stream = b"YUV4MPEG2 W3 H1 F30000:1001 Ip A0:0 C420jpeg\nFRAME\n".to_vec();
        stream.extend([1, 2, 3, 4, 5, 6, 7]);
        stream.extend(b"FRAME Ip\n");
        stream.extend([8; 7]);
        let (info, found) = frames(&stream).unwrap();
        assert_eq!((info.frames, info.reader), (2, Reader::Ffmpeg));
        assert_eq!(
            (&found[0].y[..], &found[0].u[..], &found[0].v[..]),
            (&[1, 2, 3][..], &[4, 5][..], &[6, 7][..])
        );
        assert!((found[1].time - 1001.0 / 30_000.0).abs() < 1e-9);
    }

    #[test]
    fn nonsense_and_breaks_are_errors() {
        for (stream, wanted) in [
            (&b""[..], "is not YUV4MPEG2"),
            (b"JUNK\n", "is not YUV4MPEG2"),
            (b"YUV4MPEG2 W2 H2\n", "is not YUV4MPEG2"),
            (b"YUV4MPEG2 W2 H2 F25:0\n", "is not YUV4MPEG2"),
            (b"YUV4MPEG2 W2 H2 F25:1\n", "found no frame"),
            (b"YUV4MPEG2 W2 H2 F25:1\nFRAME\n123", "broke off in frame 0"),
            (b"YUV4MPEG2 W99999999 H99999999 F25:1\nFRAME\n", "scale the video down"),
        ] {
            let error = frames(stream).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
