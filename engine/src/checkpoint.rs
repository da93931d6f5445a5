//! Checkpoints: the whole state of a training run in one safetensors file.
//!
//! The file is written under a temporary name, synced and renamed, so a crash never leaves a partial file. A checksum
//! covers every byte of the file. The previous checkpoint can be kept, in case the disk damages the last one. Equal
//! states give equal bytes.

use crate::{DType, Error, Result, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The key of this crate's entry in the file's metadata.
const KEY: &str = "mpuc";
/// The format version; raised when older programs cannot read the file. Version 1 had a checksum for each tensor and none
/// for the state.
const VERSION: u32 = 2;
/// What precedes the checksum in the file's header, where the entry's quotes are escaped.
const BEFORE_CHECKSUM: &[u8] = br#"\"checksum\":\""#;
/// The checksum while it is computed.
const NO_CHECKSUM: &str = "00000000000000000000000000000000";

/// The state of a run: tensors by name and JSON values by key.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    state: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize, serde::Deserialize)]
struct Metadata {
    version: u32,
    /// Of the whole file, with [`NO_CHECKSUM`] in this place. It must precede the state: see [`seal`].
    #[serde(default)]
    checksum: String,
    state: serde_json::Map<String, serde_json::Value>,
    /// By tensor, in files of version 1.
    #[serde(default, skip_serializing)]
    checksums: BTreeMap<String, String>,
}

impl Checkpoint {
    /// An empty checkpoint.
    pub fn new() -> Self {
        Checkpoint::default()
    }

    /// Adds or replaces a tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.insert(name.into(), tensor.detached());
    }

    /// Finds a tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Adds a value, such as the counters of a schedule or a configuration.
    ///
    /// # Errors
    /// When the value cannot be serialised as JSON.
    pub fn set<T: Serialize>(&mut self, key: &str, value: &T) -> Result<()> {
        let value = serde_json::to_value(value).map_err(|error| Error::State {
            key: key.into(),
            what: format!("cannot be serialised as JSON: {error}"),
        })?;
        self.state.insert(key.into(), value);
        Ok(())
    }

    /// Reads a value that [`set`](Self::set) added.
    ///
    /// # Errors
    /// When the value is missing or has another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let refused = |what: String| Error::State { key: key.into(), what };
        let value = self.state.get(key).cloned();
        // A missing key reads as null, so that an optional value may be missing.
        let absent = value.is_none();
        serde_json::from_value(value.unwrap_or_default()).map_err(|error| match absent {
            true => refused("absent; was the file made by an older version?".into()),
            false => refused(error.to_string()),
        })
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// When the state cannot be serialised as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let metadata = Metadata {
            version: VERSION,
            checksum: NO_CHECKSUM.into(),
            state: self.state.clone(),
            checksums: BTreeMap::new(),
        };
        let fail = |what: String| Error::Corrupt { path: PathBuf::from("checkpoint"), what };
        // One key, because the order of several keys would be random.
        let text = serde_json::to_string(&metadata).map_err(|error| fail(error.to_string()))?;
        let views: Vec<(&String, TensorView<'_>)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                let view = TensorView::new(
                    dtype_of(tensor.dtype()),
                    tensor.shape().to_vec(),
                    tensor.bytes()?,
                );
                view.map(|view| (name, view)).map_err(|error| fail(error.to_string()))
            })
            .collect::<Result<_>>()?;
        let mut bytes =
            safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), text)])))
                .map_err(|error| fail(error.to_string()))?;
        let (place, checksum) =
            seal(&mut bytes).ok_or_else(|| fail("has no place for a checksum".into()))?;
        bytes[place].copy_from_slice(checksum.as_bytes());
        Ok(bytes)
    }

    /// Writes the file atomically: a crash at any moment leaves the complete old or the complete new file.
    ///
    /// # Errors
    /// When the operating system reports an error; the old file is then unchanged and the new one removed.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, &self.to_bytes()?)
    }

    /// Writes the file atomically and keeps the old one at [`previous`]. A crash leaves at least one complete file at one
    /// of the two paths, never two names of one file: [`load_or_previous`](Self::load_or_previous) finds it.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_keeping_previous(&self, path: &Path) -> Result<()> {
        let aside = write_aside(path, &self.to_bytes()?)?;
        let kept = match fs::rename(path, previous(path)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let _ = fs::remove_file(&aside);
                Err(io(path, "cannot rename", error))
            }
            _ => Ok(()),
        };
        kept.and_then(|()| put(&aside, path))
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When the file cannot be read, is truncated, or any byte of it is not as it was written.
    pub fn load(path: &Path) -> Result<Self> {
        let mut bytes = fs::read(path).map_err(|e| io(path, "cannot read", e))?;
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
        let broken = |error| corrupt(format!("not a complete safetensors file ({error})"));
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let text = header.metadata().as_ref().and_then(|m| m.get(KEY)).cloned().unwrap_or_default();
        let metadata: Metadata = serde_json::from_str(&text)
            .map_err(|error| corrupt(format!("not an mpuc checkpoint: {error}")))?;
        match metadata.version {
            1 => {}
            VERSION => {
                let checksum = seal(&mut bytes).map(|(_, checksum)| checksum);
                if checksum.as_ref() != Some(&metadata.checksum) {
                    return Err(corrupt("is damaged: its checksum does not match".into()));
                }
            }
            version => {
                return Err(corrupt(format!(
                    "got format version {version}, expected {VERSION}; use the program that wrote the file"
                )));
            }
        }
        let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            if metadata.version == 1
                && metadata.checksums.get(&name) != Some(&checksum(view.data()))
            {
                return Err(corrupt(format!("tensor {name} is damaged")));
            }
            let tensor = from_view(&view).ok_or_else(|| {
                corrupt(format!("tensor {name} has the unsupported type {:?}", view.dtype()))
            })?;
            tensors.insert(name, tensor);
        }
        if let Some(name) = metadata.checksums.keys().find(|name| !tensors.contains_key(*name)) {
            return Err(corrupt(format!("tensor {name} is missing")));
        }
        Ok(Checkpoint { tensors, state: metadata.state })
    }

    /// Reads the file or, if that fails, the one at [`previous`]; then also returns why the file itself was not used.
    ///
    /// # Errors
    /// The error of the first file when neither can be read.
    pub fn load_or_previous(path: &Path) -> Result<(Self, Option<Error>)> {
        match Checkpoint::load(path) {
            Ok(checkpoint) => Ok((checkpoint, None)),
            Err(error) => match Checkpoint::load(&previous(path)) {
                Ok(checkpoint) => Ok((checkpoint, Some(error))),
                Err(_) => Err(error),
            },
        }
    }

    /// Whether there is a checkpoint to [load](Self::load_or_previous), damaged or not.
    pub fn exists(path: &Path) -> bool {
        path.exists() || previous(path).exists()
    }
}

/// Clears the place of the checksum in a file's bytes, and computes the checksum; `None` where there is no such place.
fn seal(bytes: &mut [u8]) -> Option<(Range<usize>, String)> {
    let start = bytes.windows(BEFORE_CHECKSUM.len()).position(|bytes| bytes == BEFORE_CHECKSUM)?;
    let start = start + BEFORE_CHECKSUM.len();
    let place = start..start + NO_CHECKSUM.len();
    bytes.get_mut(place.clone())?.copy_from_slice(NO_CHECKSUM.as_bytes());
    let checksum = blake3::hash(bytes).to_hex()[..NO_CHECKSUM.len()].to_string();
    Some((place, checksum))
}

/// The path of the checkpoint before `path`: `NAME-previous.EXTENSION`.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push("-previous");
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn aside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    path.with_file_name(name)
}

fn io(path: &Path, what: &'static str, source: std::io::Error) -> Error {
    Error::Io { path: path.into(), what, source }
}

/// Writes a file atomically: writes and syncs a temporary file, renames it, and syncs the folder.
///
/// # Errors
/// When the operating system reports an error; an existing file is then unchanged.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    put(&write_aside(path, bytes)?, path)
}

/// Writes and syncs a temporary file beside `path`; returns its path.
fn write_aside(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let aside = aside(path);
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    match written {
        Ok(()) => Ok(aside),
        Err(error) => {
            let _ = fs::remove_file(&aside);
            Err(io(&aside, "cannot write", error))
        }
    }
}

/// Renames the temporary file to `path` and syncs the folder.
fn put(aside: &Path, path: &Path) -> Result<()> {
    if let Err(error) = fs::rename(aside, path) {
        let _ = fs::remove_file(aside);
        return Err(io(path, "cannot rename", error));
    }
    // Only Unix can sync a folder.
    if cfg!(unix) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| io(folder, "cannot sync", e))?;
    }
    Ok(())
}

/// Of a tensor in a file of version 1.
fn checksum(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_string()
}

fn dtype_of(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::Bf16 => Dtype::BF16,
        DType::U32 => Dtype::U32,
    }
}

fn from_view(view: &TensorView<'_>) -> Option<Tensor> {
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::BF16 => DType::Bf16,
        Dtype::U32 => DType::U32,
        _ => return None,
    };
    if view.shape().len() > kernels::MAX_RANK {
        return None;
    }
    let mut tensor = Tensor::uninitialised(view.shape(), dtype);
    tensor.bytes_mut().copy_from_slice(view.data());
    Some(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::new();
        for i in 0..20 {
            let values: Vec<f32> = (0..50).map(|v| (v * i) as f32).collect();
            checkpoint.insert(format!("layer{i}.weight"), Tensor::from_slice(&values, &[5, 10])?);
        }
        checkpoint.insert("classes", Tensor::from_slice(&[1u32, 2], &[2])?);
        checkpoint.set("epoch", &3u64)?;
        Ok(checkpoint)
    }

    #[test]
    fn comes_back_whole_and_in_the_same_bytes() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last é.safetensors");
        let checkpoint = example()?;
        checkpoint.save_keeping_previous(&path)?;
        let loaded = Checkpoint::load(&path)?;
        assert_eq!(loaded.get::<u64>("epoch")?, 3);
        assert!(loaded.get::<u64>("step").is_err());
        assert_eq!(loaded.to_bytes()?, checkpoint.to_bytes()?);
        assert_eq!(fs::read(&path).unwrap(), checkpoint.to_bytes()?);
        checkpoint.save_keeping_previous(&path)?;
        assert_eq!(fs::read(previous(&path)).unwrap(), checkpoint.to_bytes()?);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        Ok(())
    }

    #[test]
    fn a_flip_of_any_bit_is_noticed() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let mut small = Checkpoint::new();
        small.insert("weight", Tensor::from_slice(&[1.0f32, -2.0, 3.0], &[3])?);
        small.set("state", &serde_json::json!({ "epoch": 3, "loss": 0.5, "names": ["a", "é"] }))?;
        let whole = small.to_bytes()?;
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            assert!(Checkpoint::load(&path).is_err(), "bit {bit}");
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(Checkpoint::load(&path).is_err(), "cut to {length} bytes");
        }
        Ok(())
    }

    #[test]
    fn files_of_version_1_are_read() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let values = Tensor::from_slice(&[1.0f32, 2.0], &[2])?;
        let text = |checksum: &str| {
            let checksums = serde_json::json!({ "weight": checksum });
            serde_json::json!({ "version": 1, "state": { "epoch": 3 }, "checksums": checksums })
                .to_string()
        };
        let write = |checksum: &str| {
            let view = TensorView::new(Dtype::F32, vec![2], values.host_bytes()).unwrap();
            let metadata = HashMap::from([(KEY.to_string(), text(checksum))]);
            let bytes = safetensors::serialize([("weight", view)], Some(metadata)).unwrap();
            fs::write(&path, bytes).unwrap();
        };
        write(&checksum(values.host_bytes()));
        let loaded = Checkpoint::load(&path)?;
        assert_eq!(loaded.get::<u64>("epoch")?, 3);
        assert_eq!(loaded.tensor("weight").unwrap().host_bytes(), values.host_bytes());
        write("0123456789abcdef");
        assert!(Checkpoint::load(&path).is_err());
        Ok(())
    }

    #[test]
    fn falls_back_to_the_one_before() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        example()?.save_keeping_previous(&path)?;
        example()?.save_keeping_previous(&path)?;
        assert!(Checkpoint::load_or_previous(&path)?.1.is_none());
        fs::write(&path, b"torn").unwrap();
        let (_, why) = Checkpoint::load_or_previous(&path)?;
        assert!(why.unwrap().to_string().contains("last.safetensors"));
        // What a crash between two renames leaves.
        fs::remove_file(&path).unwrap();
        assert!(Checkpoint::exists(&path));
        assert!(Checkpoint::load_or_previous(&path)?.1.is_some());
        example()?.save_keeping_previous(&path)?;
        assert!(Checkpoint::load_or_previous(&path)?.1.is_none());
        Ok(())
    }

    #[test]
    fn an_unwritable_folder_is_an_error_that_names_it() -> Result<()> {
        let error =
            example()?.save(Path::new("/nonexistent/last.safetensors")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/last.safetensors"), "{error}");
        Ok(())
    }
}
