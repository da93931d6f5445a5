//! Files of pretrained weights: safetensors, both formats of `torch.save` (ZIP archive and legacy), and TensorFlow.js.
//!
//! PyTorch's files contain programs in Python's pickle language. The reader interprets the operations that build tensors and
//! refuses all others; no code is run.

mod manifest;
mod pickle;
mod stored;
mod torch;

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::Dtype;

use super::{foreign, map_file, write_aside};
use crate::array::element_count;
use crate::{Array, Error, Result};

/// The format of a file of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// safetensors: a JSON header, then the values.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a ZIP archive.
    TorchZip,
    /// `torch.save` before that, or with `_use_new_zipfile_serialization=False`.
    TorchLegacy,
    /// TensorFlow.js: a JSON manifest, and values in files beside it. Features are the last axis.
    Manifest,
}

/// The element type of a tensor.
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

/// Largest size of all tensors as a multiple of the file's. PyTorch keeps the numbers of tensors that share them once; tied
/// weights double them at most.
const SHARED: usize = 8;

/// The element types with their names in safetensors.
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

    /// Size of a value in bytes.
    pub fn size(self) -> usize {
        match self {
            Number::F64 | Number::I64 => 8,
            Number::F32 | Number::I32 => 4,
            Number::F16 | Number::Bf16 | Number::I16 | Number::U16 => 2,
            Number::I8 | Number::U8 | Number::Bool => 1,
        }
    }

    /// Converts the little-endian bytes of a value to `f32`, rounded to nearest.
    fn value(self, bytes: &[u8]) -> f32 {
        // Shorter values are in the first bytes.
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

/// Linear quantisation: the value of `q` is `least + q * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rounding {
    scale: f64,
    least: f64,
}

/// A tensor in a file.
#[derive(Clone, Debug)]
pub struct Entry {
    name: String,
    number: Number,
    /// The quantisation; `None` without.
    rounding: Option<Rounding>,
    shape: Vec<usize>,
    /// Strides of the axes, and offset of the first value, in values.
    strides: Vec<usize>,
    offset: usize,
    /// Byte range of the storage in the file.
    bytes: Range<usize>,
}

impl Entry {
    /// Checks that all values lie within the storage; returns why they do not.
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

    /// Its name: the keys of the nested dictionaries, joined with dots.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its element type.
    pub fn number(&self) -> Number {
        self.number
    }

    /// The element type in which it is saved as safetensors.
    fn saved(&self) -> Number {
        if self.rounding.is_some() { Number::F32 } else { self.number }
    }

    /// Its shape as in the file (PyTorch has features on the first axes).
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of its values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Converts the bytes of one value to `f32`, rounded to nearest.
    fn value(&self, bytes: &[u8]) -> f32 {
        let value = self.number.value(bytes);
        match self.rounding {
            None => value,
            Some(Rounding { scale, least }) => (f64::from(value) * scale + least) as f32,
        }
    }

    /// Calls a function with the bytes of each value, last axis fastest.
    fn each<'a>(&self, file: &'a [u8], mut body: impl FnMut(&'a [u8])) {
        let size = self.number.size();
        let bytes = &file[self.bytes.clone()];
        let mut at = vec![0; self.shape.len()];
        let mut place = self.offset;
        for _ in 0..self.count() {
            body(&bytes[place * size..][..size]);
            for axis in (0..at.len()).rev() {
                // Wrapping, because the stride of an axis of size 1 is arbitrary.
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

/// The bytes of the values.
#[derive(Debug)]
enum Bytes {
    /// A mapped file.
    Mapped(Mmap),
    /// The concatenated bytes of several files.
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

/// A memory-mapped file of weights.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    map: Bytes,
    format: Format,
    entries: Vec<Entry>,
    others: usize,
}

impl Weights {
    /// Opens a file; its first bytes identify the format. Values are read when they are used.
    ///
    /// # Errors
    /// Bad data when the format is unknown, the file is truncated, or its pickle does more than build tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let map = map_file(path)?;
        let bad = |what: String| Error::bad(path, what);
        let read = |found: Result<torch::Found, String>| {
            found.map_err(|why| {
                bad(format!("cannot be read as weights: {why}; save model.state_dict() with torch.save, or as safetensors"))
            })
        };
        if torch::is_script(&map) {
            return Err(bad(
                "is a TorchScript program: save the state_dict, `torch.save(torch.jit.load(FILE).state_dict(), OUT)`".into(),
            ));
        }
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
            (Format::Safetensors, read(stored::entries(&map))?)
        } else {
            let otherwise = "not a file of weights (safetensors, what torch.save writes, or a manifest of \
                TensorFlow.js); save model.state_dict() with torch.save";
            return Err(foreign::refuse(path, &map, otherwise));
        };
        let total = found.entries.iter().fold(0usize, |sum, entry| {
            sum.saturating_add(entry.count().saturating_mul(entry.number.size()))
        });
        if total > SHARED.saturating_mul(map.len()) {
            return Err(bad(format!(
                "its tensors have {total} bytes of numbers, more than {SHARED} times the {} bytes of the file: they share \
                 them; save clones of the tensors",
                map.len()
            )));
        }
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

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The first digits of the file's hash.
    pub fn hash(&self) -> String {
        blake3::Hasher::new().update_rayon(&self.map).finalize().to_hex()[..16].to_owned()
    }

    /// Its tensors, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The number of its other entries, such as an epoch or the settings of an optimiser.
    pub fn others(&self) -> usize {
        self.others
    }

    /// The values of a tensor as `f32`, rounded to nearest, in the layout of the file.
    ///
    /// # Errors
    /// None in practice: the shape fits the values.
    ///
    /// # Panics
    /// When `entry` is of another file and lies outside this one.
    pub fn values(&self, entry: &Entry) -> Result<Array<f32>> {
        let mut values = Vec::with_capacity(entry.count());
        entry.each(&self.map, |bytes| values.push(entry.value(bytes)));
        Array::new(entry.shape.clone(), values)
    }

    /// Writes all tensors as safetensors with their names, element types and layout; quantised ones as `f32`.
    ///
    /// # Errors
    /// Input/output errors; `path` never has partial content.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = stored::bytes(&self.entries, &self.map).map_err(|what| {
            Error::bad(&self.path, format!("cannot be written as safetensors: {what}"))
        })?;
        write_aside(path, |file| file.write_all(&bytes))
    }
}

#[cfg(test)]
mod tests;
