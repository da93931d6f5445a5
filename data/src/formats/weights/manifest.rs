//! Weights of TensorFlow.js: a JSON manifest of names and shapes, and files of concatenated values, which may be quantised.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{Entry, Number, Rounding, torch};
use crate::array::element_count;
use crate::plain::of_serde;
use crate::{Error, Result};

/// Largest accepted number of tensors.
const MOST: usize = 1 << 16;
/// Largest accepted manifest, and largest total size of its files, in bytes.
const LARGEST: u64 = 1 << 32;

#[derive(Deserialize)]
struct Group {
    weights: Vec<Tensor>,
    paths: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    dtype: String,
    quantization: Option<Quantization>,
}

#[derive(Deserialize)]
struct Quantization {
    dtype: String,
    scale: Option<f64>,
    min: Option<f64>,
}

/// Whether the bytes begin like a manifest: `[{`, with any spaces.
pub(super) fn is_manifest(bytes: &[u8]) -> bool {
    let mut letters = bytes.iter().take(64).filter(|byte| !byte.is_ascii_whitespace());
    letters.next() == Some(&b'[') && letters.next() == Some(&b'{')
}

/// Reads a manifest and the files that it names, which must be in its folder. Returns all bytes concatenated, those of the
/// manifest first, and the tensors.
///
/// # Errors
/// Bad data when it is not a manifest or the files' lengths do not fit it; missing data when a file does not exist.
pub(super) fn read(path: &Path, text: &[u8]) -> Result<(Vec<u8>, torch::Found)> {
    let bad = |what: String| {
        Error::bad(
            path,
            format!("cannot be read as a manifest of weights: {what}; get it and its files anew"),
        )
    };
    let groups: Vec<Group> = serde_json::from_slice(text).map_err(|error| bad(of_serde(error)))?;
    let mut bytes = text.to_vec();
    let mut entries = Vec::new();
    for group in groups {
        let mut at = bytes.len();
        for file in &group.paths {
            // Only plain file names: a manifest must not name files in other folders.
            if !matches!(file.components().collect::<Vec<_>>()[..], [Component::Normal(_)]) {
                return Err(bad(format!("`{}` is no plain file name", file.display())));
            }
            append(&path.with_file_name(file), &mut bytes)?;
        }
        for tensor in group.weights {
            if entries.len() == MOST {
                return Err(bad(format!("it has more than {MOST} tensors")));
            }
            let entry = entry(tensor, at, bytes.len()).map_err(bad)?;
            at = entry.bytes.end;
            entries.push(entry);
        }
        if at != bytes.len() {
            return Err(bad(format!(
                "{} bytes of its files belong to no tensor",
                bytes.len() - at
            )));
        }
    }
    Ok((bytes, torch::Found { entries, others: 0 }))
}

/// Appends the bytes of a file.
fn append(path: &Path, bytes: &mut Vec<u8>) -> Result<()> {
    let failed = |error| Error::reading(path, error);
    let room = LARGEST.saturating_sub(bytes.len() as u64);
    let length =
        File::open(path).map_err(failed)?.take(room + 1).read_to_end(bytes).map_err(failed)?;
    if length as u64 > room {
        return Err(Error::bad(path, "is larger than any weights of faces; is it the right file?"));
    }
    Ok(())
}

/// The tensor whose values begin at `start`; the bytes end at `end`.
fn entry(tensor: Tensor, start: usize, end: usize) -> Result<Entry, String> {
    let Tensor { name, shape, dtype, quantization } = tensor;
    let unknown = |kind: &str| format!("`{name}` has numbers of the type `{kind}`");
    let stored = quantization.as_ref().map_or(&dtype, |quantization| &quantization.dtype);
    let number = match stored.as_str() {
        "float32" => Number::F32,
        "float16" => Number::F16,
        "int32" => Number::I32,
        "uint8" => Number::U8,
        "uint16" => Number::U16,
        "bool" => Number::Bool,
        other => return Err(unknown(other)),
    };
    if quantization.is_some() && dtype != "float32" {
        return Err(unknown(&format!("{dtype}, rounded")));
    }
    let rounding = match quantization {
        Some(Quantization { scale: Some(scale), min: Some(least), .. }) => {
            if !scale.is_finite() || !least.is_finite() {
                return Err(format!("`{name}` is scaled by no number"));
            }
            Some(Rounding { scale, least })
        }
        _ => None,
    };
    let length = element_count(&shape).and_then(|count| count.checked_mul(number.size()));
    let last = length.and_then(|length| length.checked_add(start)).filter(|&last| last <= end);
    let Some(last) = last else {
        return Err(format!("the numbers of `{name}` are not all there: a file is cut short"));
    };
    let mut strides = vec![1; shape.len()];
    for axis in (1..strides.len()).rev() {
        strides[axis - 1] = shape[axis].saturating_mul(strides[axis]);
    }
    Entry { name, number, rounding, shape, strides, offset: 0, bytes: start..last }.checked()
}
