//! Cache entries: a checksum, a JSON header, and the values at an aligned offset so that they can be memory-mapped.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::array::element_count;
use crate::features::Decoded;
use crate::formats::npy::MappedArray;
use crate::formats::{map_file, write_aside};
use crate::values::{Values, View};
use crate::{Error, Result};

/// First bytes of an entry; the last byte is the version of the layout.
const MAGIC: &[u8; 8] = b"MPUCFEA1";
/// Bytes of the BLAKE3 checksum, which covers everything after it.
const CHECKSUM: std::ops::Range<usize> = 8..40;
/// Bytes of the header's length (u32, little-endian).
const HEADER_LENGTH: std::ops::Range<usize> = 40..44;
/// Alignment of the values in the file, in bytes.
const ALIGNMENT: usize = 64;

/// The JSON header of an entry.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    kind: ValueKind,
    pub(super) shape: Vec<usize>,
    frames_per_second: Option<f64>,
    pub(super) warnings: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum ValueKind {
    F32,
    U8,
}

pub(super) fn write(path: &Path, decoded: &Decoded) -> Result<()> {
    let (kind, values): (ValueKind, &[u8]) = match &decoded.values {
        Values::F32(array) => (ValueKind::F32, bytemuck::cast_slice(array.data())),
        Values::U8(array) => (ValueKind::U8, array.data()),
    };
    let header = Header {
        kind,
        shape: decoded.values.shape().to_vec(),
        frames_per_second: decoded.frames_per_second,
        warnings: decoded.warnings.clone(),
    };
    let mut header = serde_json::to_vec(&header).map_err(|e| {
        Error::config(format!(
            "{}: cannot write the feature's header as JSON: {e}; report this bug",
            path.display()
        ))
    })?;
    let unpadded = HEADER_LENGTH.end + header.len();
    header.resize(header.len() + unpadded.next_multiple_of(ALIGNMENT) - unpadded, b' ');
    let length = (header.len() as u32).to_le_bytes();
    let mut checksum = blake3::Hasher::new();
    checksum.update(&length).update(&header).update(values);
    write_aside(path, |file| {
        use std::io::Write;
        file.write_all(MAGIC)?;
        file.write_all(checksum.finalize().as_bytes())?;
        file.write_all(&length)?;
        file.write_all(&header)?;
        file.write_all(values)
    })
}

/// The header and the byte offset of the values; `None` when the bytes are not a valid entry.
fn parse(bytes: &[u8]) -> Option<(Header, usize)> {
    bytes.strip_prefix(MAGIC)?;
    let length = bytes.get(HEADER_LENGTH)?.try_into().ok().map(u32::from_le_bytes)?;
    let start = HEADER_LENGTH.end.checked_add(length as usize)?;
    let header: Header = serde_json::from_slice(bytes.get(HEADER_LENGTH.end..start)?).ok()?;
    let size = if header.kind == ValueKind::F32 { 4 } else { 1 };
    let needed = element_count(&header.shape)?.checked_mul(size)?;
    (bytes.len() - start == needed).then_some((header, start))
}

/// The header of the entry at `path` after its checksum was verified; `None` when it is absent or corrupt.
pub(super) fn verify(path: &Path) -> Option<Header> {
    let bytes = map_file(path).ok()?;
    let (header, _) = parse(&bytes)?;
    let sum = blake3::hash(&bytes[CHECKSUM.end..]);
    (sum.as_bytes() == &bytes[CHECKSUM]).then_some(header)
}

/// Memory-maps an entry. The checksum is not verified again: [`verify`] did so when the entry was fetched.
pub(crate) fn open(path: &Path) -> Result<View> {
    let map = Arc::new(map_file(path)?);
    let Some((header, start)) = parse(&map) else {
        return Err(Error::bad(
            path,
            "is a cache entry that changed during the run; run `mpuc data prepare` again",
        ));
    };
    let end = map.len();
    Ok(match header.kind {
        ValueKind::F32 => View::F32(MappedArray::new(path, map, header.shape, start, end)?),
        ValueKind::U8 => View::U8(MappedArray::new(path, map, header.shape, start, end)?),
    })
}
