//! The chunks of a WAV file: RIFF, its big-endian form RIFX, and the 64-bit forms RF64 and BW64.
//!
//! Only `fmt `, `ds64` and `data` are read. The size of the file in its header is ignored, because many programs write it
//! wrong. Nothing is allocated.

use super::CONVERT;
use super::format::{Format, Order};

/// First bytes of the accepted files.
const BEGINNINGS: [&[u8]; 4] = [b"RIFF", b"RIFX", b"RF64", b"BW64"];
/// First bytes of a tag that some programs write before the file.
const TAG: &[u8] = b"ID3";
/// Names of the chunks that programs write. They show where a chunk starts when a length or a pad byte is wrong.
const NAMES: [&[u8; 4]; 24] = [
    b"fmt ", b"data", b"LIST", b"list", b"fact", b"ds64", b"JUNK", b"junk", b"bext", b"iXML",
    b"cue ", b"smpl", b"inst", b"id3 ", b"ID3 ", b"PEAK", b"cart", b"FLLR", b"PAD ", b"axml",
    b"chna", b"acid", b"_PMX", b"DISP",
];
/// Number of bytes that are searched for the next chunk where none starts.
const SEARCHED: usize = 64;
/// Length of a chunk's name and size, in bytes.
const HEAD: usize = 8;
/// Place of the first chunk.
const FIRST: usize = 12;

/// The samples of a file, not decoded.
#[derive(Debug)]
pub(super) struct Recording<'a> {
    pub(super) format: Format,
    /// Whole frames.
    pub(super) data: &'a [u8],
}

/// Whether a file with these first bytes can be one that [`is_riff`]: the end of a tag may lie beyond them.
pub(super) fn may_be_riff(start: &[u8]) -> bool {
    is_riff(start) || start.starts_with(TAG)
}

/// Whether the file is RIFF or a form of it.
pub(super) fn is_riff(bytes: &[u8]) -> bool {
    let bytes = &bytes[tag_length(bytes)..];
    BEGINNINGS.iter().any(|name| bytes.starts_with(name))
}

/// Finds the samples in the bytes of a file that [`is_riff`].
///
/// # Errors
/// What is wrong with the file, and what to do.
pub(super) fn open(bytes: &[u8]) -> Result<Recording<'_>, String> {
    let bytes = &bytes[tag_length(bytes)..];
    let order = order(bytes)?;
    let (mut format, mut long, mut data) = (None, None, None);
    let mut at = FIRST;
    while let Some((name, size)) = head(bytes, at, order) {
        if !name.iter().all(|&letter| letter == b' ' || letter.is_ascii_graphic()) {
            match (at..at + SEARCHED).find(|&near| is_chunk(bytes, near)) {
                Some(near) => at = near,
                None => break,
            }
            continue;
        }
        let rest = &bytes[at + HEAD..];
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        let body = &rest[..rest.len().min(length)];
        match &name {
            b"fmt " if format.is_none() => format = Some(Format::parse(body, order)?),
            b"ds64" => long = body.get(8..16).map(|field| order.number(field)),
            b"data" if data.is_none() => {
                data = Some((rest, claimed(size, long, rest, bytes.len() as u64)));
            }
            _ => {}
        }
        if let (Some(format), Some((rest, claimed))) = (format, data) {
            return whole_frames(format, rest, claimed);
        }
        let end = (at + HEAD).saturating_add(length);
        // A pad byte follows a chunk of odd length; some programs leave it out.
        at = end.saturating_add(usize::from(length % 2 == 1 && !is_chunk(bytes, end)));
    }
    Err(match format {
        None => {
            "has no chunk `fmt `, which describes the samples: it is cut short or damaged; copy or export it again"
        }
        Some(_) => "has no chunk `data`: it is cut short or damaged; copy or record it again",
    }
    .into())
}

/// Length of the tag before the file, in bytes; 0 without.
fn tag_length(bytes: &[u8]) -> usize {
    let Some(size) = bytes.get(6..10).filter(|_| bytes.starts_with(TAG)) else { return 0 };
    // Four groups of 7 bits.
    let size = size.iter().fold(0, |size, &group| size << 7 | usize::from(group & 0x7f));
    10 + size.min(bytes.len() - 10)
}

/// The byte order of the file's numbers.
fn order(bytes: &[u8]) -> Result<Order, String> {
    let Some(kind) = bytes.get(8..FIRST) else {
        return Err("is cut short inside its header; copy or record it again".into());
    };
    if kind != b"WAVE" {
        let kind = kind.escape_ascii();
        return Err(format!(
            "is a RIFF file of the kind `{kind}`, not a WAV file; convert it with {CONVERT}"
        ));
    }
    Ok(if bytes.starts_with(b"RIFX") { Order::Big } else { Order::Little })
}

/// Name and size of the chunk at `at`; `None` at the end of the file.
fn head(bytes: &[u8], at: usize, order: Order) -> Option<([u8; 4], u64)> {
    let head = bytes.get(at..at.checked_add(HEAD)?)?;
    let (name, size) = head.split_first_chunk()?;
    Some((*name, order.number(size)))
}

/// Whether a chunk with a known name starts at `at`.
fn is_chunk(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..).is_some_and(|rest| NAMES.iter().any(|name| rest.starts_with(*name)))
}

/// The length of the samples according to the header, in bytes; `None` when the program that wrote it did not know.
///
/// `rest` is the file from the first sample on, `whole` the length of the file.
fn claimed(size: u64, long: Option<u64>, rest: &[u8], whole: u64) -> Option<u64> {
    let there = rest.len() as u64;
    match (size, long) {
        (0xffff_ffff, Some(long)) if !matches!(long, 0 | u64::MAX) => Some(long),
        // A program that writes to a pipe leaves 0, or the largest length of 32 or 31 bits less a few headers.
        (0, _) if !rest.is_empty() && !is_chunk(rest, 0) => None,
        (0x7fff_0000..=0x8000_0000 | 0xffff_0000.., _) if size > there => None,
        // Some programs write the length of the file, or the length that stands in the file's own head.
        _ if size == whole || size + HEAD as u64 == whole => None,
        _ => Some(size),
    }
}

/// The frames that are there; a last partial frame is left out.
fn whole_frames(
    format: Format,
    rest: &[u8],
    claimed: Option<u64>,
) -> Result<Recording<'_>, String> {
    let frame = format.frame();
    let there = rest.len() / frame;
    let count = match claimed.map(|claimed| claimed / frame as u64) {
        None => there,
        Some(promised) => match usize::try_from(promised) {
            Ok(promised) if promised <= there => promised,
            _ => {
                return Err(format!(
                    "cut short: the header gives {promised} samples, the file has {there}; copy or record the file again"
                ));
            }
        },
    };
    Ok(Recording { format, data: &rest[..count * frame] })
}
