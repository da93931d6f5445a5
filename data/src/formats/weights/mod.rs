//! Weights of networks that others trained: safetensors, what `torch.save` writes, new (a ZIP archive) and old, and what
//! TensorFlow.js writes.
//!
//! PyTorch's files are programs in Python's pickle language. The reader here understands the part of it that tensors
//! are made with and refuses everything else; nothing is run.

mod manifest;
mod pickle;
mod torch;

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{map_file, write_aside};
use crate::array::element_count;
use crate::{Array, Error, Result};

/// How a file of weights is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A JSON header, then the numbers.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a ZIP archive.
    TorchZip,
    /// `torch.save` before that, or with `_use_new_zipfile_serialization=False`.
    TorchLegacy,
    /// TensorFlow.js: a JSON manifest, and the numbers in files beside it. Features are last there.
    Manifest,
}

/// The type of a tensor's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say all")]
pub enum Number {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    U16,
    I8,
    U8,
    Bool,
}

/// The types as safetensors names them.
const NUMBERS: [(Number, Dtype); 11] = [
    (Number::F64, Dtype::F64),
    (Number::F32, Dtype::F32),
    (Number::F16, Dtype::F16),
    (Number::Bf16, Dtype::BF16),
    (Number::I64, Dtype::I64),
    (Number::I32, Dtype::I32),
    (Number::I16, Dtype::I16),
    (Number::U16, Dtype::U16),
    (Number::I8, Dtype::I8),
    (Number::U8, Dtype::U8),
    (Number::Bool, Dtype::BOOL),
];

impl Number {
    fn of(dtype: Dtype) -> Option<Self> {
        NUMBERS.iter().find(|(_, theirs)| *theirs == dtype).map(|(ours, _)| *ours)
    }

    fn dtype(self) -> Dtype {
        NUMBERS.iter().find(|(ours, _)| *ours == self).map_or(Dtype::F32, |(_, theirs)| *theirs)
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Number::F64 | Number::I64 => 8,
            Number::F32 | Number::I32 => 4,
            Number::F16 | Number::Bf16 | Number::I16 | Number::U16 => 2,
            Number::I8 | Number::U8 | Number::Bool => 1,
        }
    }

    /// A number's little-endian bytes as `f32`, rounded to nearest.
    fn value(self, bytes: &[u8]) -> f32 {
        // Numbers of fewer bytes stand in the first ones.
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        let whole = u64::from_le_bytes(eight);
        match self {
            Number::F64 => f64::from_bits(whole) as f32,
            Number::F32 => f32::from_bits(whole as u32),
            Number::F16 => f16::from_bits(whole as u16).to_f32(),
            Number::Bf16 => bf16::from_bits(whole as u16).to_f32(),
            Number::I64 => whole as i64 as f32,
            Number::I32 => whole as i32 as f32,
            Number::I16 => f32::from(whole as i16),
            Number::U16 => f32::from(whole as u16),
            Number::I8 => f32::from(whole as i8),
            Number::U8 => f32::from(whole as u8),
            Number::Bool => f32::from(u8::from(whole != 0)),
        }
    }
}

/// What numbers were rounded to: `least` and so many times `scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rounding {
    scale: f64,
    least: f64,
}

/// A tensor of a file.
#[derive(Clone, Debug)]
pub struct Entry {
    name: String,
    number: Number,
    /// What the numbers stand for, if not for themselves.
    rounding: Option<Rounding>,
    shape: Vec<usize>,
    /// How far apart neighbours along each axis stand, and where the first number stands, in numbers.
    strides: Vec<usize>,
    offset: usize,
    /// Where the numbers lie in the file.
    bytes: Range<usize>,
}

impl Entry {
    /// The same, if all of its numbers lie among its bytes; else why they do not.
    fn checked(self) -> Result<Self, String> {
        let Entry { name, number, shape, strides, offset, bytes, .. } = &self;
        let there = bytes.len() / number.size();
        let count = element_count(shape).filter(|&count| count <= there);
        let last = shape.iter().zip(strides).try_fold(*offset, |last, (&size, &stride)| {
            size.saturating_sub(1).checked_mul(stride)?.checked_add(last)
        });
        let inside = match (count, last) {
            (Some(0), _) => true,
            (Some(_), Some(last)) => last < there,
            _ => false,
        };
        if !inside {
            return Err(format!(
                "`{name}` has the shape {shape:?}, but {there} numbers: the file is damaged, or the tensor was expanded \
                 and wants .contiguous() before it is saved"
            ));
        }
        Ok(self)
    }

    /// Its name: the keys of the dictionaries on the way to it, with dots between them.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its numbers.
    pub fn number(&self) -> Number {
        self.number
    }

    /// The type it is saved in.
    fn saved(&self) -> Number {
        if self.rounding.is_some() { Number::F32 } else { self.number }
    }

    /// The sizes of its axes, as the file has them: features first in PyTorch's.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// What the bytes of one of its numbers stand for, rounded to nearest.
    fn value(&self, bytes: &[u8]) -> f32 {
        let value = self.number.value(bytes);
        match self.rounding {
            None => value,
            Some(Rounding { scale, least }) => (f64::from(value) * scale + least) as f32,
        }
    }

    /// Calls the body with the bytes of each number, the last axis fastest.
    fn each<'a>(&self, file: &'a [u8], mut body: impl FnMut(&'a [u8])) {
        let size = self.number.size();
        let bytes = &file[self.bytes.clone()];
        let mut at = vec![0; self.shape.len()];
        let mut place = self.offset;
        for _ in 0..self.count() {
            body(&bytes[place * size..][..size]);
            for axis in (0..at.len()).rev() {
                // Wrapping, for the step of an axis of one number may be anything.
                let (size, stride) = (self.shape[axis], self.strides[axis]);
                at[axis] += 1;
                place = place.wrapping_add(stride);
                if at[axis] < size {
                    break;
                }
                place = place.wrapping_sub(stride.wrapping_mul(size));
                at[axis] = 0;
            }
        }
    }
}

/// The bytes that hold the numbers.
#[derive(Debug)]
enum Bytes {
    /// Of one file.
    Mapped(Mmap),
    /// Of several.
    Read(Vec<u8>),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}

/// A file of weights, mapped into memory.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    map: Bytes,
    format: Format,
    entries: Vec<Entry>,
    others: usize,
}

impl Weights {
    /// Opens a file of any of the formats, which its first bytes tell. The numbers are read when they are asked for.
    ///
    /// # Errors
    /// Bad data when it is of no format, cut short, or asks for anything but tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let map = map_file(path)?;
        let bad = |what: String| Error::bad(path, what);
        let read = |found: Result<torch::Found, String>| {
            found.map_err(|why| {
                bad(format!("cannot be read as weights: {why}; save model.state_dict() with torch.save, or as safetensors"))
            })
        };
        let mut map = Bytes::Mapped(map);
        let (format, found) = if map.starts_with(torch::ZIP) {
            (Format::TorchZip, read(torch::zip(&map))?)
        } else if map.starts_with(torch::LEGACY) {
            (Format::TorchLegacy, read(torch::legacy(&map))?)
        } else if manifest::is_manifest(&map) {
            let (bytes, found) = manifest::read(path, &map)?;
            map = Bytes::Read(bytes);
            (Format::Manifest, found)
        } else if map.get(8) == Some(&b'{') {
            (Format::Safetensors, read(safetensors(&map))?)
        } else {
            return Err(bad(
                "is neither safetensors nor what torch.save writes, nor a manifest of TensorFlow.js; save \
                 model.state_dict() with torch.save"
                    .into(),
            ));
        };
        let mut names = BTreeSet::new();
        if let Some(twice) = found.entries.iter().find(|entry| !names.insert(entry.name())) {
            return Err(bad(format!("has two tensors called `{}`; save it again", twice.name())));
        }
        Ok(Weights {
            path: path.to_owned(),
            map,
            format,
            entries: found.entries,
            others: found.others,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is laid out.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The beginning of the file's hash.
    pub fn hash(&self) -> String {
        blake3::Hasher::new().update_rayon(&self.map).finalize().to_hex()[..16].to_owned()
    }

    /// Its tensors, in its order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many other things it holds, such as an epoch or an optimiser's settings.
    pub fn others(&self) -> usize {
        self.others
    }

    /// The numbers of one of its tensors as `f32`, rounded to nearest, in the file's layout.
    ///
    /// # Errors
    /// None in practice: the shape fits the numbers.
    ///
    /// # Panics
    /// May, if the tensor is of another file.
    pub fn values(&self, entry: &Entry) -> Result<Array<f32>> {
        let mut values = Vec::with_capacity(entry.count());
        entry.each(&self.map, |bytes| values.push(entry.value(bytes)));
        Array::new(entry.shape.clone(), values)
    }

    /// Writes all tensors as safetensors, with the names, types and layout they have; rounded ones as `f32`.
    ///
    /// # Errors
    /// When the operating system refuses; nothing is left half written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let contents: Vec<Vec<u8>> = self
            .entries
            .iter()
            .map(|entry| {
                let mut bytes = Vec::with_capacity(entry.count() * entry.saved().size());
                entry.each(&self.map, |number| match entry.rounding {
                    None => bytes.extend_from_slice(number),
                    Some(_) => bytes.extend_from_slice(&entry.value(number).to_le_bytes()),
                });
                bytes
            })
            .collect();
        let unfit =
            |error| Error::bad(&self.path, format!("cannot be written as safetensors: {error}"));
        let views = self.entries.iter().zip(&contents).map(|(entry, bytes)| {
            let view = TensorView::new(entry.saved().dtype(), entry.shape.clone(), bytes);
            view.map(|view| (&entry.name, view)).map_err(unfit)
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let bytes = safetensors::serialize(views, None).map_err(unfit)?;
        write_aside(path, |file| file.write_all(&bytes))
    }
}

fn safetensors(bytes: &[u8]) -> Result<torch::Found, String> {
    let (length, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    for (name, info) in metadata.tensors() {
        let number = Number::of(info.dtype)
            .ok_or_else(|| format!("`{name}` has numbers of the type {:?}", info.dtype))?;
        let mut strides = vec![1; info.shape.len()];
        for axis in (1..strides.len()).rev() {
            strides[axis - 1] = info.shape[axis].saturating_mul(strides[axis]);
        }
        // Behind the length of the header and the header.
        let (start, end) = (8 + length + info.data_offsets.0, 8 + length + info.data_offsets.1);
        if end > bytes.len() {
            return Err(format!("the numbers of `{name}` are not all there: it is cut short"));
        }
        let (shape, bytes) = (info.shape.clone(), start..end);
        let rounding = None;
        entries.push(Entry { name, number, rounding, shape, strides, offset: 0, bytes }.checked()?);
    }
    entries.sort_by_key(|entry| entry.bytes.start);
    Ok(torch::Found { entries, others: 0 })
}

#[cfg(test)]
mod tests;
