//! NumPy's `.npy` files (versions 1 to 3) of real numbers: reading, memory-mapping and writing.

mod header;
mod mapped;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use half::f16;

use self::header::{Header, Number};
pub use self::mapped::MappedArray;
use super::{map_file, write_aside};
use crate::array::element_count;
use crate::{Array, Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// A supported element type: `f32`, `f64`, `i64`, `i32`, `u8`.
pub trait Element: Pod + Send + Sync + sealed::Sealed {
    /// NumPy's name of the type, e.g. `<f4`.
    const NAME: &'static str;
}

mod sealed {
    use super::header::Number;

    pub trait Sealed {
        /// The type in a header.
        const NUMBER: Number;
    }
}

macro_rules! elements {
    ($($type:ty => $name:literal $number:ident),*) => {$(
        impl sealed::Sealed for $type {
            const NUMBER: Number = Number::$number;
        }
        impl Element for $type {
            const NAME: &'static str = $name;
        }
    )*};
}
elements!(f32 => "<f4" F32, f64 => "<f8" F64, i64 => "<i8" I64, i32 => "<i4" I32, u8 => "|u1" U8);

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

/// Reads an array of any real element type, byte order and memory order; the values come in C order.
///
/// Types that [`AnyArray`] lacks are widened: `f16` to `f32`, 8-bit and 16-bit integers to `i32`, `u32` to `i64`, `u64` to
/// `f64`, truth values to `u8`.
///
/// # Errors
/// Bad data when it is not a `.npy` file of numbers, or is truncated.
pub fn read(path: &Path) -> Result<AnyArray> {
    let map = map_file(path)?;
    let header = Header::parse(path, &map)?;
    let bytes = header.values(path, &map)?;
    Ok(match header.number {
        Number::F16 => AnyArray::F32(load(&header, bytes, |x| f16::from_bits(x).to_f32())?),
        Number::F32 => AnyArray::F32(load(&header, bytes, |x| x)?),
        Number::F64 => AnyArray::F64(load(&header, bytes, |x| x)?),
        Number::I8 => AnyArray::I32(load(&header, bytes, |x: i8| x.into())?),
        Number::I16 => AnyArray::I32(load(&header, bytes, |x: i16| x.into())?),
        Number::U16 => AnyArray::I32(load(&header, bytes, |x: u16| x.into())?),
        Number::I32 => AnyArray::I32(load(&header, bytes, |x| x)?),
        Number::U32 => AnyArray::I64(load(&header, bytes, |x: u32| x.into())?),
        Number::I64 => AnyArray::I64(load(&header, bytes, |x| x)?),
        Number::U64 => AnyArray::F64(load(&header, bytes, |x: u64| x as f64)?),
        Number::U8 => AnyArray::U8(load(&header, bytes, |x| x)?),
    })
}

/// The values in C order and in this machine's byte order, each converted by a function.
fn load<T: Pod, U>(header: &Header, bytes: &[u8], make: impl Fn(T) -> U) -> Result<Array<U>> {
    let size = size_of::<T>();
    let value = |at: usize| {
        let mut value = [0; 8];
        value[..size].copy_from_slice(&bytes[at * size..][..size]);
        if header.big_endian {
            value[..size].reverse();
        }
        make(bytemuck::pod_read_unaligned(&value[..size]))
    };
    let count = bytes.len() / size;
    let values = if header.fortran_order && header.shape.len() > 1 {
        fortran_places(&header.shape, count).map(value).collect()
    } else {
        (0..count).map(value).collect()
    };
    Array::new(header.shape.clone(), values)
}

/// The place of each value in Fortran order, in C order.
fn fortran_places(shape: &[usize], count: usize) -> impl Iterator<Item = usize> {
    let strides = shape
        .iter()
        .scan(1usize, |stride, &size| Some(std::mem::replace(stride, stride.saturating_mul(size))));
    let axes: Vec<(usize, usize)> = shape.iter().copied().zip(strides).collect();
    let (mut at, mut place) = (vec![0; axes.len()], 0);
    (0..count).map(move |_| {
        let here = place;
        for (at, (size, stride)) in at.iter_mut().zip(&axes).rev() {
            *at += 1;
            place += stride;
            if *at < *size {
                break;
            }
            place -= stride * size;
            *at = 0;
        }
        here
    })
}

/// Memory-maps an array of element type `T`; values in another byte or memory order are copied into memory.
///
/// # Errors
/// As [`read`], and bad data when the file has another element type.
pub fn map<T: Element>(path: &Path) -> Result<MappedArray<T>> {
    let map = Arc::new(map_file(path)?);
    let header = Header::parse(path, &map)?;
    if header.number != T::NUMBER {
        return Err(Error::bad(
            path,
            format!(
                "has the shape {:?} and values of type `{}` where `{}` is needed; convert it with numpy's astype",
                header.shape,
                header.descr,
                T::NAME
            ),
        ));
    }
    let bytes = header.values(path, &map)?;
    if header.big_endian || (header.fortran_order && header.shape.len() > 1) {
        let (shape, values) = load::<T, T>(&header, bytes, |x| x)?.into_parts();
        return Ok(MappedArray::copied(shape, values));
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

#[cfg(test)]
mod tests;
