//! The tables of MP4: the position and the presentation time of each coded frame.
//!
//! `mp4parse` reads the boxes (Firefox's reader, which is fuzzed; `re_mp4` indexes past the end of damaged tables).

use std::path::Path;

use mp4parse::unstable::create_sample_table;
use mp4parse::{CodecType, SampleEntry, TrackType, VideoCodecSpecific, VideoSampleEntry};

use super::{MOST_FRAMES, Trouble, Turn, container, too_long};
use crate::Error;
use crate::formats::foreign;

/// A coded frame, in decoding order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Offset in the file of its first byte.
    pub start: usize,
    /// Offset after its last byte.
    pub end: usize,
    /// Index in presentation order; `None` when an edit list hides the frame.
    pub shown: Option<usize>,
}

/// The video track of a file.
#[derive(Debug)]
pub(super) struct Track {
    /// Coded frames in decoding order.
    pub samples: Vec<Sample>,
    /// Presentation times in seconds, ascending.
    pub times: Vec<f64>,
    /// The decoder configuration (`avcC`).
    pub configuration: Vec<u8>,
    /// The rotation that makes frames upright.
    pub turn: Turn,
}

/// Whether the bytes begin like ISO base media.
pub(super) fn is_mp4(bytes: &[u8]) -> bool {
    matches!(
        bytes.get(4..8),
        Some(
            b"ftyp" | b"styp" | b"moov" | b"moof" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot"
        )
    )
}

impl Track {
    pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Self, Trouble> {
        if let Some(what) = container::without_frames(bytes) {
            let what = format!("is {what}, not a video; give the file with the frames");
            return Err(Error::bad(path, what).into());
        }
        if let Some(error) = foreign::refuse_stand_in(path, bytes) {
            return Err(error.into());
        }
        if !is_mp4(bytes) {
            let what =
                container::named(bytes).unwrap_or("no video that is known by its first bytes");
            return Err(Trouble::Unsupported(format!("it is {what}")));
        }
        let bytes = whole(path, bytes)?;
        let movie = mp4parse::read_mp4(&mut std::io::Cursor::new(bytes))
            .map_err(|error| refuse(path, &error))?;
        let track =
            movie.tracks.iter().find(|track| track.track_type == TrackType::Video).ok_or_else(
                || Error::bad(path, "holds no video; give the file with the pictures"),
            )?;
        let configuration = configuration(track)?;
        let frames = coded_frames(track);
        if frames == 0 {
            return Err(Trouble::Unsupported("its frames are in fragments".into()));
        }
        // The table of frames has room for as many as the chunks claim.
        if frames.max(frames_in_chunks(track)) > MOST_FRAMES {
            return Err(too_long(path).into());
        }
        let table = create_sample_table(track, 0.into()).ok_or_else(|| {
            Error::bad(path, "its tables of frames contradict each other; copy the file again")
        })?;
        let clock = track.timescale.map_or(0, |scale| scale.0) as f64;
        let movie_clock = movie.timescale.map_or(0, |scale| scale.0) as f64;
        if clock <= 0.0 || movie_clock <= 0.0 {
            return Err(Error::bad(path, "its clock stands still; make the video again").into());
        }
        let skipped = track.media_time.map_or(0, |time| time.0) as f64 / clock;
        let late = track.empty_duration.map_or(0, |time| time.0) as f64 / movie_clock;
        let edited = track.edited_duration.map(|time| time.0 as f64 / movie_clock);
        // 0 means "to the end".
        let until = edited.filter(|length| *length > 0.0).unwrap_or(f64::INFINITY);
        let mut samples = Vec::with_capacity(table.len());
        let mut moments = Vec::with_capacity(table.len());
        for (number, sample) in table.iter().enumerate() {
            let (start, end) = (sample.start_offset.0, sample.end_offset.0);
            if end > bytes.len() as u64 || start > end {
                let what = format!(
                    "is cut short: frame {number} ends at byte {end} of {}; copy the file again",
                    bytes.len()
                );
                return Err(Error::bad(path, what).into());
            }
            let time = sample.start_composition.0 as f64 / clock - skipped;
            if (0.0..until).contains(&time) {
                moments.push((time + late, number));
            }
            samples.push(Sample { start: start as usize, end: end as usize, shown: None });
        }
        moments.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (place, &(_, number)) in moments.iter().enumerate() {
            samples[number].shown = Some(place);
        }
        let times = moments.into_iter().map(|(time, _)| time).collect();
        Ok(Self { samples, times, configuration, turn: turn(track)? })
    }
}

/// The number of coded frames by the tables; 0 when the frames are in fragments. Frames of one size have no list of sizes,
/// so the times are counted.
fn coded_frames(track: &mp4parse::Track) -> usize {
    let Some(sizes) = &track.stsz else { return 0 };
    if sizes.sample_size == 0 {
        return sizes.sample_sizes.len();
    }
    let times = track.stts.as_ref().map_or(&[][..], |times| &times.samples);
    times.iter().fold(0, |sum: usize, run| sum.saturating_add(run.sample_count as usize))
}

/// The number of frames that the chunks claim to have.
fn frames_in_chunks(track: &mp4parse::Track) -> usize {
    let runs = track.stsc.as_ref().map_or(&[][..], |chunks| &chunks.samples);
    let chunks = track.stco.as_ref().map_or(0, |chunks| chunks.offsets.len()) as u32;
    // A run of chunks ends before the first chunk of the next, numbered from 1; the last run at the last chunk.
    let ends = runs.iter().skip(1).map(|next| next.first_chunk);
    let ends = ends.chain([chunks.saturating_add(1)]);
    runs.iter().zip(ends).fold(0, |sum: usize, (run, end)| {
        let chunks = end.saturating_sub(run.first_chunk) as usize;
        sum.saturating_add(chunks.saturating_mul(run.samples_per_chunk as usize))
    })
}

/// The bytes without those after the last box, which cameras and taggers write: whatever follows `moov` and `mdat` and is no
/// whole box. A file that ends inside an outermost box before that is truncated, the most frequent damage, and gives an
/// error; frames that are cut off are found by their places.
fn whole<'a>(path: &Path, bytes: &'a [u8]) -> crate::Result<&'a [u8]> {
    let mut at = 0usize;
    let mut known = [("moov", false), ("mdat", false)];
    while at < bytes.len() {
        let number = |from: usize, length: usize| {
            let digits = bytes.get(at + from..at + from + length);
            digits.map(|digits| digits.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
        };
        let name = bytes.get(at + 4..at + 8).unwrap_or_default();
        let is_box = name.len() == 4 && name.iter().all(|c| c.is_ascii_graphic() || *c == b' ');
        let size = match number(0, 4) {
            // To the end of the file; or zeros after the last box.
            Some(0) if is_box => return Ok(bytes),
            Some(0) => None,
            // Too large for 32 bits.
            Some(1) => number(8, 8),
            size => size,
        };
        let end = size.and_then(|size| at.checked_add(usize::try_from(size).ok()?));
        at = match end {
            Some(end) if is_box && end > at && end <= bytes.len() => end,
            _ if known.iter().all(|(_, seen)| *seen) => return Ok(&bytes[..at]),
            _ => {
                let what = format!(
                    "is cut short: it breaks off at byte {}, in the part that begins at byte {at}; copy the file again",
                    bytes.len()
                );
                return Err(Error::bad(path, what));
            }
        };
        known.iter_mut().for_each(|(known, seen)| *seen |= known.as_bytes() == name);
    }
    Ok(bytes)
}

/// The error for a file that cannot be parsed.
fn refuse(path: &Path, error: &mp4parse::Error) -> Trouble {
    let what = match error {
        mp4parse::Error::UnexpectedEOF | mp4parse::Error::MoovMissing => {
            "is cut short: the table of its frames is missing; copy the file again".to_owned()
        }
        mp4parse::Error::Unsupported(what) => return Trouble::Unsupported((*what).to_owned()),
        other => format!("is no whole MP4 file ({other}); copy the file again"),
    };
    Trouble::Failed(Error::bad(path, what))
}

fn configuration(track: &mp4parse::Track) -> Result<Vec<u8>, Trouble> {
    let entries = track.stsd.as_ref().map_or(&[][..], |entries| &entries.descriptions);
    match entries {
        [
            SampleEntry::Video(VideoSampleEntry {
                codec_type: CodecType::H264,
                codec_specific: VideoCodecSpecific::AVCConfig(configuration),
                ..
            }),
        ] => Ok(configuration.to_vec()),
        [SampleEntry::Video(VideoSampleEntry { codec_type: CodecType::H264, .. })] => {
            Err(Trouble::Unsupported("its H.264 says nothing of its settings".into()))
        }
        [SampleEntry::Video(entry)] => {
            Err(Trouble::Unsupported(format!("it is coded as {:?}, not H.264", entry.codec_type)))
        }
        [_] => Err(Trouble::Unsupported("it is not coded as H.264".into())),
        many => {
            Err(Trouble::Unsupported(format!("it has {} descriptions of its coding", many.len())))
        }
    }
}

/// The rotation in the track's matrix.
fn turn(track: &mp4parse::Track) -> Result<Turn, Trouble> {
    const ONE: i32 = 1 << 16;
    let Some(header) = &track.tkhd else { return Ok(Turn::Upright) };
    let matrix = &header.matrix;
    match [matrix.a, matrix.b, matrix.c, matrix.d].map(|x| (x.signum(), x.unsigned_abs())) {
        // Some writers leave the matrix zero.
        [(0, _), (0, _), (0, _), (0, _)] => Ok(Turn::Upright),
        [(1, _), (0, _), (0, _), (1, _)] => Ok(Turn::Upright),
        [(0, _), (1, _), (-1, _), (0, _)] => Ok(Turn::Quarter),
        [(-1, _), (0, _), (0, _), (-1, _)] => Ok(Turn::Half),
        [(0, _), (-1, _), (1, _), (0, _)] => Ok(Turn::ThreeQuarters),
        _ => Err(Trouble::Unsupported(format!(
            "its frames are to be mirrored or bent ({:.2} {:.2} {:.2} {:.2})",
            f64::from(matrix.a) / f64::from(ONE),
            f64::from(matrix.b) / f64::from(ONE),
            f64::from(matrix.c) / f64::from(ONE),
            f64::from(matrix.d) / f64::from(ONE)
        ))),
    }
}
