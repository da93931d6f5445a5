//! NumPy's `.npy` files (versions 1 to 3, C order, little-endian): reading, memory-mapping and writing.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::Mmap;

use super::{map_file, write_aside};
use crate::array::element_count;
use crate::{Array, Error, Result};

/// Longest accepted header, in bytes; NumPy writes 128.
const LONGEST_HEADER: usize = 1 << 16;
/// Largest accepted number of axes.
const MOST_AXES: usize = 32;
const MAGIC: &[u8; 6] = b"\x93NUMPY";

mod sealed {
    pub trait Sealed {}
}

/// A supported element type: `f32`, `f64`, `i64`, `i32`, `u8`.
pub trait Element: Pod + Send + Sync + sealed::Sealed {
    /// NumPy's name of the type, e.g. `<f4`.
    const NAME: &'static str;
}

macro_rules! elements {
    ($($type:ty => $name:literal),*) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const NAME: &'static str = $name;
        }
    )*};
}
elements!(f32 => "<f4", f64 => "<f8", i64 => "<i8", i32 => "<i4", u8 => "|u1");

/// An array of the element type of its file.
#[derive(Clone, Debug, PartialEq)]
pub enum AnyArray {
    /// `<f4`
    F32(Array<f32>),
    /// `<f8`
    F64(Array<f64>),
    /// `<i8`
    I64(Array<i64>),
    /// `<i4`
    I32(Array<i32>),
    /// `|u1`
    U8(Array<u8>),
}

impl AnyArray {
    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::F64(array) => array.shape(),
            Self::I64(array) => array.shape(),
            Self::I32(array) => array.shape(),
            Self::U8(array) => array.shape(),
        }
    }

    /// Converts the values to `f32`, rounded to nearest.
    ///
    /// # Errors
    /// None in practice: the shape does not change.
    pub fn into_f32(self) -> Result<Array<f32>> {
        fn cast<T>(array: Array<T>, f: impl Fn(T) -> f32) -> Result<Array<f32>> {
            let (shape, data) = array.into_parts();
            Array::new(shape, data.into_iter().map(f).collect())
        }
        match self {
            Self::F32(array) => Ok(array),
            Self::F64(array) => cast(array, |x| x as f32),
            Self::I64(array) => cast(array, |x| x as f32),
            Self::I32(array) => cast(array, |x| x as f32),
            Self::U8(array) => cast(array, f32::from),
        }
    }
}

/// A memory-mapped array; dereferences to its values.
///
/// Values are read from disk when they are first accessed, so an array may be larger than memory.
#[derive(Clone, Debug)]
pub struct MappedArray<T> {
    shape: Vec<usize>,
    values: Values<T>,
}

#[derive(Clone, Debug)]
enum Values<T> {
    /// Aligned values in bytes `start..end` of the map.
    Mapped { map: Arc<Mmap>, start: usize, end: usize },
    /// Values that are not aligned in the file, copied into memory.
    Copied(Arc<[T]>),
}

impl<T: Element> MappedArray<T> {
    /// Bytes `start..end` of `map` as an array of `shape`.
    ///
    /// # Errors
    /// Bad data when the number of bytes does not fit the shape.
    pub(crate) fn new(
        path: &Path,
        map: Arc<Mmap>,
        shape: Vec<usize>,
        start: usize,
        end: usize,
    ) -> Result<Self> {
        let bytes = map.get(start..end);
        let needed = element_count(&shape).and_then(|count| count.checked_mul(size_of::<T>()));
        let Some(bytes) = bytes.filter(|bytes| Some(bytes.len()) == needed) else {
            let size = map.len();
            return Err(Error::bad(
                path,
                format!(
                    "the shape {shape:?} does not fit the file's {size} bytes: cut short or corrupt; write the file again"
                ),
            ));
        };
        let values = match bytemuck::try_cast_slice::<u8, T>(bytes) {
            Ok(_) => Values::Mapped { map, start, end },
            Err(_) => {
                let values = bytes.chunks_exact(size_of::<T>());
                Values::Copied(values.map(bytemuck::pod_read_unaligned).collect())
            }
        };
        Ok(Self { shape, values })
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

impl<T: Element> std::ops::Deref for MappedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.values {
            // The cast succeeded in `new`, and neither the address nor the length can change.
            Values::Mapped { map, start, end } => bytemuck::cast_slice(&map[*start..*end]),
            Values::Copied(values) => values,
        }
    }
}

/// The fields of the header.
struct Header {
    descr: String,
    shape: Vec<usize>,
    /// Byte offset of the values.
    start: usize,
}

/// Reads an array of any supported element type.
///
/// # Errors
/// Bad data when it is not a `.npy` file of a supported type and order, or is truncated.
pub fn read(path: &Path) -> Result<AnyArray> {
    let map = Arc::new(map_file(path)?);
    let header = Header::parse(path, &map)?;
    fn copy<T: Element>(path: &Path, map: Arc<Mmap>, header: Header) -> Result<Array<T>> {
        let end = map.len();
        let mapped = MappedArray::<T>::new(path, map, header.shape, header.start, end)?;
        Array::new(mapped.shape.clone(), mapped.to_vec())
    }
    Ok(match header.descr.as_str() {
        f32::NAME => AnyArray::F32(copy(path, map, header)?),
        f64::NAME => AnyArray::F64(copy(path, map, header)?),
        i64::NAME => AnyArray::I64(copy(path, map, header)?),
        i32::NAME => AnyArray::I32(copy(path, map, header)?),
        u8::NAME => AnyArray::U8(copy(path, map, header)?),
        other => return Err(unsupported(path, other)),
    })
}

/// Memory-maps an array of element type `T`.
///
/// # Errors
/// As [`read`], and bad data when the file has another element type.
pub fn map<T: Element>(path: &Path) -> Result<MappedArray<T>> {
    let map = Arc::new(map_file(path)?);
    let header = Header::parse(path, &map)?;
    if header.descr != T::NAME {
        return Err(Error::bad(
            path,
            format!(
                "holds values of type `{}` where `{}` is needed; convert it with numpy's astype",
                header.descr,
                T::NAME
            ),
        ));
    }
    let end = map.len();
    MappedArray::new(path, map, header.shape, header.start, end)
}

/// Writes an array as version 1.0: to a temporary file, which is then renamed.
///
/// # Errors
/// Input/output errors, with the path.
pub fn write<T: Element>(path: &Path, array: &Array<T>) -> Result<()> {
    write_parts(path, array.shape(), |part| part(array.data()))
}

/// As [`write()`] for an array that is produced in parts: `fill` gets a function that appends values.
///
/// # Errors
/// Input/output errors, with the path; errors of `fill`; bad settings when the number of values does not fit the shape.
pub fn write_parts<T: Element, E: From<Error>>(
    path: &Path,
    shape: &[usize],
    fill: impl FnOnce(&mut dyn FnMut(&[T]) -> Result<()>) -> Result<(), E>,
) -> Result<(), E> {
    let sizes: Vec<String> = shape.iter().map(|size| format!("{size},")).collect();
    let mut header = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
        T::NAME,
        sizes.join(" ")
    );
    // Magic, version, length, header and line end are padded to a multiple of 64 bytes.
    let unpadded = MAGIC.len() + 2 + 2 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let unfit = |what: String| Error::config(format!("{}: {what}", path.display()));
    let length = u16::try_from(header.len())
        .map_err(|_| unfit("too many axes to write; reshape the array".into()))?;
    // An error of `fill`, which is not an input/output error.
    let mut stopped = None;
    let written = write_aside(path, |file| {
        file.write_all(MAGIC)?;
        file.write_all(&[1, 0])?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let mut count = 0;
        let mut part = |values: &[T]| {
            count += values.len();
            file.write_all(bytemuck::cast_slice(values)).map_err(|e| Error::writing(path, e))
        };
        let mut outcome = fill(&mut part);
        if outcome.is_ok() && Some(count) != element_count(shape) {
            let what = format!("{count} values do not fill {shape:?}; write as many as there are");
            outcome = Err(unfit(what).into());
        }
        outcome.map_err(|error| {
            stopped = Some(error);
            std::io::Error::other("stopped")
        })
    });
    match stopped {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}

impl Header {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let cut = || Error::bad(path, "cut short inside its header; write the file again");
        if !bytes.starts_with(MAGIC) {
            return Err(Error::bad(path, "not a .npy file; write it with numpy.save"));
        }
        let version = *bytes.get(6).ok_or_else(cut)?;
        let (length, text) = match version {
            1 => (bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))), 10),
            2 | 3 => (
                bytes.get(8..12).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize),
                12,
            ),
            other => {
                return Err(Error::bad(
                    path,
                    format!(".npy version {other} is unknown; write it with numpy.save"),
                ));
            }
        };
        let length = length.ok_or_else(cut)?;
        if length > LONGEST_HEADER {
            return Err(Error::bad(
                path,
                format!(
                    "the header has {length} bytes; at most {LONGEST_HEADER} are accepted: write the file again"
                ),
            ));
        }
        let start = text + length;
        let header = bytes.get(text..start).ok_or_else(cut)?;
        let header = String::from_utf8_lossy(header);
        let garbled = |what: &str| {
            Error::bad(path, format!("the header has no readable `{what}`; write the file again"))
        };
        let descr = value_of(&header, "descr")
            .and_then(quoted)
            .ok_or_else(|| garbled("descr"))?
            .into_owned();
        let order = value_of(&header, "fortran_order").ok_or_else(|| garbled("fortran_order"))?;
        if order.starts_with("True") {
            return Err(Error::bad(
                path,
                "values are in Fortran order; save numpy.ascontiguousarray(array) instead",
            ));
        }
        let shape = value_of(&header, "shape").and_then(sizes).ok_or_else(|| garbled("shape"))?;
        Ok(Self { descr, shape, start })
    }
}

fn unsupported(path: &Path, descr: &str) -> Error {
    let descr: String = descr.chars().take(30).collect();
    Error::bad(
        path,
        format!(
            "values of type `{descr}` are not supported; convert with array.astype('<f4') and save again"
        ),
    )
}

/// The text that follows `'name':` in a Python dictionary.
fn value_of<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    ['\'', '"'].iter().find_map(|quote| {
        let key = format!("{quote}{name}{quote}");
        let after = header.get(header.find(&key)? + key.len()..)?;
        Some(after.trim_start().strip_prefix(':')?.trim_start())
    })
}

/// The string at the start of `text`; `u1` has three spellings.
fn quoted(text: &str) -> Option<Cow<'_, str>> {
    let quote = text.chars().next().filter(|quote| "'\"".contains(*quote))?;
    let name = text.get(1..)?.split(quote).next()?;
    Some(match name {
        "<u1" | "=u1" | "u1" => Cow::Borrowed(u8::NAME),
        other => Cow::Borrowed(other),
    })
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

#[cfg(test)]
mod tests;
