//! safetensors files.

use std::borrow::Cow;

use safetensors::tensor::{Dtype, SafeTensors, View};

use super::{Entry, Number, torch};

/// The bytes of a file with these tensors, whose values are in `file`.
///
/// # Errors
/// Why they cannot be written.
pub(super) fn bytes(entries: &[Entry], file: &[u8]) -> Result<Vec<u8>, String> {
    let tensors = entries.iter().map(|entry| (&entry.name, Saved { entry, file }));
    safetensors::serialize(tensors, None).map_err(|error| error.to_string())
}

/// A tensor whose bytes are put together when they are written.
struct Saved<'a> {
    entry: &'a Entry,
    file: &'a [u8],
}

impl View for Saved<'_> {
    fn dtype(&self) -> Dtype {
        self.entry.saved().dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.entry.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        self.entry.each(self.file, |number| match self.entry.rounding {
            None => bytes.extend_from_slice(number),
            Some(_) => bytes.extend_from_slice(&self.entry.value(number).to_le_bytes()),
        });
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.entry.count() * self.entry.saved().size()
    }
}

/// The tensors of a file.
///
/// # Errors
/// The damage, or an element type that is not read.
pub(super) fn entries(bytes: &[u8]) -> Result<torch::Found, String> {
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
        // Values follow the header and its length.
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
