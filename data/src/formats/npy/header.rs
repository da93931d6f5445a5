//! The header of a `.npy` file: a Python dictionary of the element type, the memory order and the shape.

use std::path::Path;

use super::MAGIC;
use crate::array::element_count;
use crate::formats::foreign;
use crate::{Error, Result};

/// Longest accepted header, in bytes; NumPy writes 128.
const LONGEST: usize = 1 << 16;
/// Largest accepted number of axes.
const MOST_AXES: usize = 32;

/// The element type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl Number {
    /// The type of NumPy's name without its byte order, e.g. `f4`.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "f2" => Self::F16,
            "f4" => Self::F32,
            "f8" => Self::F64,
            "i1" => Self::I8,
            "i2" => Self::I16,
            "i4" => Self::I32,
            "i8" => Self::I64,
            "u1" | "b1" => Self::U8,
            "u2" => Self::U16,
            "u4" => Self::U32,
            "u8" => Self::U64,
            _ => return None,
        })
    }

    /// Size of a value in bytes.
    fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

/// The fields of the header.
pub(super) struct Header {
    /// NumPy's name of the element type.
    pub(super) descr: String,
    pub(super) number: Number,
    pub(super) big_endian: bool,
    /// Whether the first axis is contiguous, not the last.
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
    /// Byte offset of the values.
    pub(super) start: usize,
}

impl Header {
    /// Reads the header at the start of a file.
    ///
    /// # Errors
    /// Bad data when it is not a `.npy` file, or has an element type other than real numbers.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let bad = |what: String| Error::bad(path, what);
        let cut = || bad("cut short inside its header; write the file again".into());
        if !bytes.starts_with(MAGIC) {
            let otherwise = "not a .npy file; write it with numpy.save (an archive of numpy.savez has to be unpacked)";
            return Err(foreign::refuse(path, bytes, otherwise));
        }
        let (length, text) = match *bytes.get(6).ok_or_else(cut)? {
            1 => (bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))), 10),
            2 | 3 => (
                bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize),
                12,
            ),
            other => {
                return Err(bad(format!(
                    ".npy version {other} is unknown; write it with numpy.save"
                )));
            }
        };
        let length = length.ok_or_else(cut)?;
        if length > LONGEST {
            return Err(bad(format!(
                "the header has {length} bytes; at most {LONGEST} are accepted: write the file again"
            )));
        }
        let start = text + length;
        let header = String::from_utf8_lossy(bytes.get(text..start).ok_or_else(cut)?);
        let garbled =
            |what: &str| bad(format!("the header has no readable `{what}`; write the file again"));
        let shape = value_of(&header, "shape").and_then(sizes).ok_or_else(|| garbled("shape"))?;
        let order = value_of(&header, "fortran_order").ok_or_else(|| garbled("fortran_order"))?;
        let descr = value_of(&header, "descr").ok_or_else(|| garbled("descr"))?;
        let unsupported = |kind: &str| {
            bad(format!(
                "has the shape {shape:?} and {kind}, which are not real numbers; convert it with array.astype('<f4') and save it again"
            ))
        };
        if descr.starts_with('[') {
            return Err(unsupported("rows of named fields"));
        }
        let descr = quoted(descr).ok_or_else(|| garbled("descr"))?;
        let name = descr.trim_start_matches(['<', '>', '=', '|']);
        let Some(number) = Number::named(name) else {
            let short: String = descr.chars().take(30).collect();
            return Err(unsupported(&match name {
                "O" => "values of type `O` (Python objects)".into(),
                _ => format!("values of type `{short}`"),
            }));
        };
        Ok(Self {
            number,
            big_endian: descr.starts_with('>'),
            fortran_order: order.starts_with("True"),
            descr: descr.to_owned(),
            shape,
            start,
        })
    }

    /// The bytes of the values.
    ///
    /// # Errors
    /// Bad data when their number does not fit the shape.
    pub(super) fn values<'a>(&self, path: &Path, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let values = &bytes[self.start.min(bytes.len())..];
        let needed =
            element_count(&self.shape).and_then(|count| count.checked_mul(self.number.size()));
        if needed == Some(values.len()) {
            return Ok(values);
        }
        Err(Error::bad(
            path,
            format!(
                "the shape {:?} of `{}` does not fit the {} bytes of values: cut short or corrupt; write the file again",
                self.shape,
                self.descr,
                values.len()
            ),
        ))
    }
}

/// The text that follows `'name':` in a Python dictionary.
fn value_of<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    ['\'', '"'].iter().find_map(|quote| {
        let key = format!("{quote}{name}{quote}");
        let after = header.get(header.find(&key)? + key.len()..)?;
        Some(after.trim_start().strip_prefix(':')?.trim_start())
    })
}

/// The string at the start of `text`.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|quote| "'\"".contains(*quote))?;
    text.get(1..)?.split(quote).next()
}

/// The tuple of sizes at the start of `text`.
fn sizes(text: &str) -> Option<Vec<usize>> {
    let inside = text.strip_prefix('(')?.split(')').next()?;
    let parts: Vec<&str> =
        inside.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.len() > MOST_AXES {
        return None;
    }
    parts.iter().map(|part| part.trim_end_matches('L').parse().ok()).collect()
}
