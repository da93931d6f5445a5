//! Files of `torch.save`: ZIP archives since PyTorch 1.6, before that (legacy format) pickles followed by values.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use super::Entry;
use super::pickle::{self, Made, Refusal, Value, View};
use crate::formats::archive::believable_count;

/// First bytes of an archive.
pub(super) const ZIP: &[u8] = b"PK\x03\x04";
/// The first pickle of the legacy format: the number 0x1950a86a20f9469cfc6c.
pub(super) const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The only version of the legacy format.
const VERSION: i64 = 1001;
/// Largest nesting of dictionaries.
const DEEPEST: usize = 16;
/// Largest accepted number of tensors.
const MOST: usize = 1 << 18;
/// Longest accepted name of a tensor, in bytes.
const LONGEST_NAME: usize = 512;
/// Length of all names, and number of all things, that a program may have without being long itself, and for each of its
/// bytes. A tensor takes about 200 bytes of a program.
const NAMES: usize = 1 << 20;
const NAMES_FOR_A_BYTE: usize = 8;
const THINGS: usize = 1 << 12;

/// The tensors of a file, and the number of its other entries.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    pub(super) others: usize,
}

/// Byte range of a storage in the file.
type Places = HashMap<String, Range<usize>>;

/// Whether the file is an archive of `torch.jit.save`, which has the code of the network beside its tensors.
pub(super) fn is_script(bytes: &[u8]) -> bool {
    if !bytes.starts_with(ZIP) || !believable_count(bytes) {
        return false;
    }
    let Ok(mut archive) = zip::ZipArchive::new(Cursor::new(bytes)) else { return false };
    (0..archive.len()).any(|number| {
        let Ok(file) = archive.by_index_raw(number) else { return false };
        let name = file.name().unwrap_or_default();
        let inner = name.split_once('/').map_or("", |(_, inner)| inner);
        inner == "constants.pkl" || inner.starts_with("code/")
    })
}

/// Reads a ZIP archive: `NAME/data.pkl` is the pickle, `NAME/data/KEY` are the storages.
///
/// # Errors
/// Why it is not a file of PyTorch, or the damage.
pub(super) fn zip(bytes: &[u8]) -> Result<Found, Refusal> {
    let broken = |error: zip::result::ZipError| format!("its ZIP archive is broken: {error}");
    if !believable_count(bytes) {
        return Err("its ZIP archive has lost the end of its directory".into());
    }
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let (mut program, mut places) = (None, Places::new());
    for number in 0..archive.len() {
        let file = archive.by_index_raw(number).map_err(broken)?;
        let name = file.name().map_err(broken)?.into_owned();
        let Some((_, inner)) = name.split_once('/') else { continue };
        if file.compression() != zip::CompressionMethod::Stored {
            return Err("its archive was compressed after torch.save wrote it; unpack it and zip it without compression".into());
        }
        let start = file.data_start().and_then(|start| usize::try_from(start).ok());
        let end = start
            .zip(usize::try_from(file.size()).ok())
            .and_then(|(start, size)| start.checked_add(size));
        let range = start.zip(end).map(|(start, end)| start..end);
        let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
            return Err(format!("`{name}` reaches beyond its end: it is cut short"));
        };
        match inner {
            "data.pkl" => program = Some(range),
            "byteorder" if &bytes[range.clone()] != b"little" => {
                return Err("its numbers are big-endian".into());
            }
            _ => {
                if let Some(key) = inner.strip_prefix("data/") {
                    places.insert(key.to_owned(), range);
                }
            }
        }
    }
    let Some(program) = program else {
        return Err(
            "it is a ZIP archive, but not one that torch.save wrote: it has no data.pkl".into()
        );
    };
    let made = pickle::read(&bytes[program])?;
    found(&made, &places)
}

/// Reads the legacy format: a magic number, a version, system information, the pickle, the keys of the storages, and for
/// each storage its count and values.
///
/// # Errors
/// As [`zip`].
pub(super) fn legacy(bytes: &[u8]) -> Result<Found, Refusal> {
    let mut at = 0;
    let mut next = || -> Result<Made, Refusal> {
        let made = pickle::read(&bytes[at..])?;
        at += made.length;
        Ok(made)
    };
    let (_, version, machine) = (next()?, next()?, next()?);
    if version.value != Value::Int(VERSION) {
        return Err("its version is unknown; load it in PyTorch and save it again".into());
    }
    let little = (Value::Text("little_endian".into()), Value::Bool(true));
    if !machine.dict(&machine.value).is_some_and(|facts| facts.contains(&little)) {
        return Err("its numbers are big-endian".into());
    }
    let (made, keys) = (next()?, next()?);
    let sizes = sizes(&made);
    let mut places = Places::new();
    for key in keys.sequence(&keys.value).unwrap_or_default() {
        let Value::Text(key) = key else {
            return Err("the names of its numbers are no text".into());
        };
        let size = sizes.get(&**key).ok_or_else(|| format!("no tensor has its numbers `{key}`"))?;
        let count = bytes
            .get(at..at + 8)
            .and_then(|count| Some(u64::from_le_bytes(count.try_into().ok()?)));
        let length = count.and_then(|count| usize::try_from(count).ok()?.checked_mul(*size));
        let end =
            length.and_then(|length| length.checked_add(at + 8)).filter(|&end| end <= bytes.len());
        let Some(end) = end else {
            return Err("it is cut short among its numbers".into());
        };
        places.insert(key.to_string(), at + 8..end);
        at = end;
    }
    found(&made, &places)
}

/// Size of a value in each storage, in bytes.
fn sizes(made: &Made) -> HashMap<String, usize> {
    let mut sizes = HashMap::new();
    visit(made, &mut |_, view| {
        sizes.insert(view.storage.key.to_string(), view.storage.number.size());
        Ok(())
    })
    .unwrap_or_default();
    sizes
}

/// The tensors of a program with the byte ranges of their storages.
fn found(made: &Made, places: &Places) -> Result<Found, Refusal> {
    let mut entries = Vec::new();
    let others = visit(made, &mut |name, view| {
        let View { storage, offset, shape, strides } = view;
        let size = storage.number.size();
        let place = places.get(&*storage.key);
        let part = place.and_then(|place| {
            let start = storage.start.checked_mul(size)?.checked_add(place.start)?;
            let end = storage.count.checked_mul(size)?.checked_add(start)?;
            (end <= place.end).then_some(start..end)
        });
        let Some(bytes) = part else {
            return Err(format!("the numbers of `{name}` are not all there: it is cut short"));
        };
        let (number, shape, strides) = (storage.number, shape.clone(), strides.clone());
        let (offset, rounding) = (*offset, None);
        entries.push(Entry { name, number, rounding, shape, strides, offset, bytes }.checked()?);
        Ok(())
    })?;
    Ok(Found { entries, others })
}

/// Calls a function with every tensor and its name (the nested keys joined with dots); returns the number of other
/// entries.
fn visit(
    made: &Made,
    body: &mut impl FnMut(String, &View) -> Result<(), Refusal>,
) -> Result<usize, Refusal> {
    let (mut tensors, mut others, mut names) = (0, 0, 0);
    let most = MOST.min(THINGS + made.length);
    let room = |things: usize| match things > most {
        true => Err(format!("it holds more than {most} things, too many for its length")),
        false => Ok(()),
    };
    // A stack of the entries still to visit.
    let mut todo = vec![(String::new(), &made.value, 0)];
    while let Some((name, value, depth)) = todo.pop() {
        names += name.len();
        if names > NAMES + NAMES_FOR_A_BYTE * made.length {
            return Err("the names of its tensors are too long for its length".into());
        }
        if let Value::Tensor(view) = value {
            tensors += 1;
            body(name, view)?;
        } else if let (Some(pairs), true) = (made.dict(value), depth < DEEPEST) {
            room(pairs.len() + todo.len())?;
            for (key, value) in pairs.iter().rev() {
                todo.push((joined(&name, key)?, value, depth + 1));
            }
        } else if let (Some(items), true) = (made.sequence(value), depth < DEEPEST) {
            room(items.len() + todo.len())?;
            for (number, value) in items.iter().enumerate().rev() {
                todo.push((joined(&name, &Value::Int(number as i64))?, value, depth + 1));
            }
        } else {
            others += 1;
        }
        room(tensors + others + todo.len())?;
    }
    Ok(others)
}

fn joined(name: &str, key: &Value) -> Result<String, Refusal> {
    let number;
    let key = match key {
        Value::Text(text) => &**text,
        Value::Int(value) => {
            number = value.to_string();
            &number
        }
        _ => "?",
    };
    if name.len() + key.len() >= LONGEST_NAME {
        return Err(format!("it has names of more than {LONGEST_NAME} bytes"));
    }
    Ok(if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") })
}
