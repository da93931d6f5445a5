//! Computational sequences of CMU's multimodal SDK: `.csd` files, which are HDF5 with a fixed layout.
//!
//! `/<root>/data/<id>/features` is `[n, d]` numbers, or `[n, 1]` words of fixed length; `intervals` beside it is `[n, 2]`
//! seconds; `/<root>/metadata/<key>` is a JSON string. An id is that of a video, or `video[k]` in an aligned export. The
//! ids are read when the file is opened, rows when they are used.

pub mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hdf5_reader::error::Error as Hdf5Error;
use hdf5_reader::group::Group;
use hdf5_reader::{Dataset, Datatype, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem, StringSize};

use super::foreign;
use crate::plain::of_serde;
use crate::{Array, Error, Result, fence};

/// Largest expansion of deflate.
const MOST_EXPANSION: u64 = 1032;
/// Largest decoded chunk, and largest read, in bytes.
const LARGEST_CHUNK: usize = 1 << 26;
const LARGEST_READ: usize = 1 << 30;
/// Size of the cache of decoded chunks, in bytes.
const CHUNKS_KEPT: usize = 1 << 24;
/// Longest accepted word, in bytes; the SDK writes 32.
const LONGEST_WORD: usize = 1 << 12;
/// First bytes of HDF5.
const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";
/// Number of bytes that identify the kind of a file.
const HEAD: u64 = 1 << 11;
/// Advice for a damaged file.
const ADVICE: &str = "download the file again, or write it again with the SDK";

/// An opened `.csd` file. Threads may share it.
pub struct Csd {
    path: PathBuf,
    file: Hdf5File,
    root: String,
    data: Group,
    /// The ids of each video's parts, in the order of their numbers: one id, except in an aligned export.
    videos: BTreeMap<String, Vec<String>>,
    hash: Mutex<Option<blake3::Hash>>,
    /// The intervals that were read last: the segments of a video are read one after another.
    last: Mutex<Option<(String, Intervals)>>,
}

/// Start and end of each row, in seconds.
pub type Intervals = Arc<Vec<[f64; 2]>>;

impl std::fmt::Debug for Csd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Csd({}: {})", self.path.display(), self.root)
    }
}

impl Csd {
    /// Opens a file and reads its ids.
    ///
    /// # Errors
    /// Bad data when it is not HDF5 or not a computational sequence; input/output errors.
    pub fn open(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path).map_err(|e| Error::reading(path, e))?.len();
        let most = |limit: usize| {
            usize::try_from(size.saturating_mul(MOST_EXPANSION)).unwrap_or(limit).min(limit)
        };
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(CHUNKS_KEPT)
            .with_max_chunk_bytes(most(LARGEST_CHUNK))
            .with_max_read_bytes(most(LARGEST_READ));
        let file = match guarded(path, "", || Hdf5File::open_with_options(path, options)) {
            Ok(file) => file,
            Err(error) => return Err(not_hdf5(path).unwrap_or(error)),
        };
        let (base, end) = (file.superblock().base_address, file.superblock().eof_address);
        if base.saturating_add(end) > size {
            return Err(Error::bad(
                path,
                format!("is cut short: {size} bytes where its head says {end}; {ADVICE}"),
            ));
        }
        let (root, data, ids) = guarded(path, "", || {
            let top = file.root_group()?;
            for root in top.member_names()?.0 {
                let group = top.group(&root)?;
                if group.member_names()?.0.iter().any(|name| name == "data") {
                    let data = group.group("data")?;
                    let ids = data.member_names()?.0;
                    return Ok(Some((root, data, ids)));
                }
            }
            Ok(None)
        })?
        .ok_or_else(|| {
            Error::bad(
                path,
                "has no group with `data` in it, so it is no computational sequence; give a .csd file of the SDK",
            )
        })?;
        let mut videos: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for id in ids {
            videos.entry(video_of(&id).to_owned()).or_default().push(id);
        }
        for ids in videos.values_mut() {
            ids.sort_by_key(|id| (part_of(id), id.clone()));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            root,
            data,
            videos,
            hash: Mutex::default(),
            last: Mutex::default(),
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the sequence, e.g. `COVAREP`.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The videos, in alphabetical order.
    pub fn videos(&self) -> impl Iterator<Item = &str> {
        self.videos.keys().map(String::as_str)
    }

    /// The ids of a video's parts; empty when the file does not have the video.
    pub fn parts(&self, video: &str) -> &[String] {
        self.videos.get(video).map(Vec::as_slice).unwrap_or_default()
    }

    /// The hash of the file, computed by `of` at the first call. Concurrent calls wait, so `of` must not depend on the
    /// waiting threads.
    ///
    /// # Errors
    /// Those of `of`.
    pub(crate) fn hash(&self, of: &dyn Fn(&Path) -> Result<blake3::Hash>) -> Result<blake3::Hash> {
        let mut known = self.hash.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hash) = *known {
            return Ok(hash);
        }
        Ok(*known.insert(of(&self.path)?))
    }

    /// A metadata entry, e.g. `dimension names`; `None` when the file does not have it.
    ///
    /// # Errors
    /// Bad data when it is not a JSON string.
    pub fn metadata(&self, key: &str) -> Result<Option<serde_json::Value>> {
        let place = format!("/{}/metadata/{key}", self.root);
        let text = self.guarded(&place, || {
            let found = self.file.group(&self.root)?.group("metadata");
            match found.and_then(|metadata| metadata.dataset(key)) {
                Ok(dataset) => dataset.read_string().map(Some),
                Err(Hdf5Error::GroupNotFound(_) | Hdf5Error::DatasetNotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        let parse = |text: String| {
            serde_json::from_str(&text)
                .map_err(|e| self.bad(&place, format!("is no JSON: {}; {ADVICE}", of_serde(e))))
        };
        text.map(parse).transpose()
    }

    /// The names of the features' columns; `None` when the file does not have them.
    ///
    /// # Errors
    /// As [`Csd::metadata`].
    pub fn dimension_names(&self) -> Result<Option<Vec<String>>> {
        // The SDK wraps some entries in another list.
        fn flatten(value: &serde_json::Value, names: &mut Vec<String>) {
            match value {
                serde_json::Value::String(name) => names.push(name.trim().to_owned()),
                serde_json::Value::Array(values) => {
                    values.iter().for_each(|value| flatten(value, names))
                }
                _ => {}
            }
        }
        let mut names = Vec::new();
        if let Some(value) = self.metadata("dimension names")? {
            flatten(&value, &mut names);
        }
        Ok((!names.is_empty()).then_some(names))
    }

    /// The interval of each row of an id, in seconds.
    ///
    /// # Errors
    /// Bad data when they do not exist or are not `[n, 2]` numbers.
    pub fn intervals(&self, id: &str) -> Result<Intervals> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, intervals)) = last().as_ref().filter(|(known, _)| known == id) {
            return Ok(intervals.clone());
        }
        let place = self.place(id, "intervals");
        let dataset = self.dataset(id, "intervals")?;
        let rows = match *dataset.shape() {
            [rows, 2] => rows,
            // A single row may be written without its first axis.
            [2] => 1,
            _ => return Err(self.shaped(&place, &dataset, "[n, 2]")),
        };
        let values = self.numbers(&place, &dataset, 0..rows, |x| x)?;
        let intervals = Arc::new(values.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect());
        *last() = Some((id.to_owned(), Arc::clone(&intervals)));
        Ok(intervals)
    }

    /// The number of values in a row of an id.
    ///
    /// # Errors
    /// Bad data when the features do not exist or are not `[n, d]`.
    pub fn width(&self, id: &str) -> Result<usize> {
        let dataset = self.dataset(id, "features")?;
        self.feature_shape(id, &dataset).map(|(_, width)| width)
    }

    /// Rows of an id's features, `[rows, d]`; 64-bit numbers are rounded to 32 bits.
    ///
    /// # Errors
    /// Bad data when the features are not numbers, have fewer rows, or are damaged.
    pub fn features(&self, id: &str, rows: Range<usize>) -> Result<Array<f32>> {
        let place = self.place(id, "features");
        let dataset = self.dataset(id, "features")?;
        let (_, width) = self.feature_shape(id, &dataset)?;
        let range = rows.start as u64..rows.end as u64;
        let values = self.numbers(&place, &dataset, range, |x| x as f32)?;
        Array::new([rows.len(), width], values)
    }

    /// Rows of an id's features as words.
    ///
    /// # Errors
    /// Bad data when the features are not words, have fewer rows, or are damaged.
    pub fn words(&self, id: &str, rows: Range<usize>) -> Result<Vec<String>> {
        let place = self.place(id, "features");
        let dataset = self.dataset(id, "features")?;
        let length = match dataset.dtype() {
            Datatype::String { size: StringSize::Fixed(length), .. } => *length as usize,
            other => {
                let what =
                    format!("holds {other:?} where words are needed; name the file of words");
                return Err(self.bad(&place, what));
            }
        };
        let (count, width) = self.feature_shape(id, &dataset)?;
        if width != 1 || length > LONGEST_WORD || rows.end > count {
            let what = format!(
                "has {count} rows of {width} words of {length} bytes where one word a row and rows up to {} are needed; {ADVICE}",
                rows.end
            );
            return Err(self.bad(&place, what));
        }
        let mut words = self.guarded(&place, || dataset.read_strings())?;
        words.truncate(rows.end);
        Ok(words.split_off(rows.start.min(words.len())))
    }

    /// Rows `range` of a dataset, each value converted by a function.
    fn numbers<T>(
        &self,
        place: &str,
        dataset: &Dataset,
        range: Range<u64>,
        make: impl Fn(f64) -> T,
    ) -> Result<Vec<T>> {
        let mut selections =
            vec![SliceInfoElem::Slice { start: range.start, end: range.end, step: 1 }];
        match *dataset.shape() {
            [rows] | [rows, _] if range.start > range.end || range.end > rows => {
                let what = format!("has {rows} rows where {} are needed; {ADVICE}", range.end);
                return Err(self.bad(place, what));
            }
            // A row written without its first axis is the whole dataset.
            [width] if range.end == 1 && width > 1 => {
                selections = vec![SliceInfoElem::Slice { start: 0, end: width, step: 1 }];
            }
            [_] => {}
            [_, width] => selections.push(SliceInfoElem::Slice { start: 0, end: width, step: 1 }),
            _ => return Err(self.shaped(place, dataset, "[n, d]")),
        }
        let selection = SliceInfo { selections };
        match dataset.dtype() {
            Datatype::FloatingPoint { size: 4, .. } => {
                let values = self.guarded(place, || dataset.read_slice::<f32>(&selection))?;
                Ok(values.into_iter().map(|x| make(f64::from(x))).collect())
            }
            Datatype::FloatingPoint { size: 8, .. } => {
                let values = self.guarded(place, || dataset.read_slice::<f64>(&selection))?;
                Ok(values.into_iter().map(make).collect())
            }
            other => {
                let what = format!(
                    "holds {other:?} where 32-bit or 64-bit floating-point numbers are needed; write it so with the SDK"
                );
                Err(self.bad(place, what))
            }
        }
    }

    /// The number of rows, and of values in a row.
    fn feature_shape(&self, id: &str, dataset: &Dataset) -> Result<(usize, usize)> {
        let (rows, width) = match *dataset.shape() {
            [rows] => (rows, 1),
            [rows, width] => (rows, width),
            _ => return Err(self.shaped(&self.place(id, "features"), dataset, "[n, d]")),
        };
        match (usize::try_from(rows), usize::try_from(width)) {
            (Ok(rows), Ok(width)) if rows.checked_mul(width).is_some() => Ok((rows, width)),
            _ => Err(self.shaped(&self.place(id, "features"), dataset, "[n, d]")),
        }
    }

    fn dataset(&self, id: &str, name: &str) -> Result<Dataset> {
        self.guarded(&self.place(id, name), || self.data.group(id)?.dataset(name))
    }

    fn place(&self, id: &str, name: &str) -> String {
        format!("/{}/data/{id}/{name}", self.root)
    }

    fn shaped(&self, place: &str, dataset: &Dataset, wanted: &str) -> Error {
        let shape = dataset.shape();
        self.bad(place, format!("has the shape {shape:?} where {wanted} is needed; {ADVICE}"))
    }

    fn bad(&self, place: &str, what: String) -> Error {
        Error::bad(&self.path, format!("{place} {what}"))
    }

    fn guarded<T>(
        &self,
        place: &str,
        body: impl FnOnce() -> std::result::Result<T, Hdf5Error>,
    ) -> Result<T> {
        guarded(&self.path, place, body)
    }
}

/// The video of an id: the text before `[`.
pub fn video_of(id: &str) -> &str {
    id.split('[').next().unwrap_or(id)
}

/// The number in `video[k]`; 0 without.
fn part_of(id: &str) -> u64 {
    let number = id.split_once('[').map(|(_, rest)| rest.trim_end_matches(']'));
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The error for a file without the signature of HDF5, which may follow 512 or 1,024 other bytes; `None` for one that has it.
fn not_hdf5(path: &Path) -> Option<Error> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut start).ok()?;
    let signed = |at: usize| start.get(at..).is_some_and(|rest| rest.starts_with(SIGNATURE));
    let otherwise = "not an HDF5 file; give a .csd file of the SDK";
    (![0, 512, 1_024].into_iter().any(signed)).then(|| foreign::refuse(path, &start, otherwise))
}

/// Calls the HDF5 reader, and converts its error or panic into an [`Error`]. The reader is hardened against damaged files,
/// but large: a panic is treated as an error of the file.
fn guarded<T>(
    path: &Path,
    place: &str,
    body: impl FnOnce() -> std::result::Result<T, Hdf5Error>,
) -> Result<T> {
    let at = if place.is_empty() { String::new() } else { format!("{place}: ") };
    match fence::run(body) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(explain(path, &at, error)),
        Err(_) => Err(Error::bad(path, format!("{at}the HDF5 reader gave up; {ADVICE}"))),
    }
}

fn explain(path: &Path, at: &str, error: Hdf5Error) -> Error {
    match error {
        // The context of the error repeats the name in `at`.
        Hdf5Error::Context { source, .. } => explain(path, at, *source),
        Hdf5Error::Io(cause) if cause.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::reading(path, cause)
        }
        Hdf5Error::InvalidMagic => {
            Error::bad(path, format!("{at}is no HDF5 file; give a .csd file of the SDK"))
        }
        Hdf5Error::DatasetNotFound(_) | Hdf5Error::GroupNotFound(_) => {
            Error::bad(path, format!("{at}is not there; {ADVICE}"))
        }
        other => {
            let what = other.to_string();
            let unsupported = what.contains("unsupported") || what.contains("Unsupported");
            let advice = if unsupported {
                "write it with h5py's defaults (contiguous, or gzip with or without shuffle)"
            } else {
                ADVICE
            };
            Error::bad(path, format!("{at}{what}; {advice}"))
        }
    }
}

#[cfg(test)]
mod tests;
