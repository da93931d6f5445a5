//! Checkpoints: the whole state of a training run in one safetensors file.
//!
//! The file is written under a temporary name, synced and renamed, so a crash never leaves a partial file. The
//! previous checkpoint can be kept, in case the disk damages the last one. Equal states give equal bytes.

use crate::{DType, Error, Result, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The key of this crate's entry in the file's metadata.
const KEY: &str = "mpuc";
/// The format version; raised when older programs cannot read the file.
const VERSION: u32 = 1;

/// The state of a run: tensors by name and JSON values by key.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    state: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize, serde::Deserialize)]
struct Metadata {
    version: u32,
    state: serde_json::Map<String, serde_json::Value>,
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
        let checksum =
            |(name, tensor): (&String, &Tensor)| Ok((name.clone(), checksum(tensor.bytes()?)));
        let checksums = self.tensors.iter().map(checksum).collect::<Result<_>>()?;
        let metadata = Metadata { version: VERSION, state: self.state.clone(), checksums };
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
        safetensors::serialize(views, Some(HashMap::from([(KEY.to_string(), text)])))
            .map_err(|error| fail(error.to_string()))
    }

    /// Writes the file atomically: a crash at any moment leaves the complete old or the complete new file.
    ///
    /// # Errors
    /// When the operating system reports an error; the old file is then unchanged and the new one removed.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_whole(path, &self.to_bytes()?)
    }

    /// Writes the file atomically and keeps the old one at [`previous`].
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_keeping_previous(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes()?;
        if path.exists() {
            // A hard link, so that `path` exists at every moment.
            let previous = previous(path);
            let aside = aside(&previous);
            let _ = fs::remove_file(&aside);
            if fs::hard_link(path, &aside).is_ok() {
                fs::rename(&aside, &previous).map_err(|e| io(&previous, "cannot rename", e))?;
            }
        }
        write_whole(path, &bytes)
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When the file cannot be read or is truncated, or a tensor's checksum does not match.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| io(path, "cannot read", e))?;
        let corrupt = |what: String| Error::Corrupt { path: path.into(), what };
        let broken = |error| {
            corrupt(format!(
                "not a complete safetensors file ({error}); use the previous checkpoint"
            ))
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let text = header.metadata().as_ref().and_then(|m| m.get(KEY)).cloned().unwrap_or_default();
        let metadata: Metadata = serde_json::from_str(&text)
            .map_err(|error| corrupt(format!("not an mpuc checkpoint: {error}")))?;
        if metadata.version != VERSION {
            return Err(corrupt(format!(
                "got format version {}, expected {VERSION}; use the program that wrote the file",
                metadata.version
            )));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            if metadata.checksums.get(&name) != Some(&checksum(view.data())) {
                return Err(corrupt(format!(
                    "tensor {name} is damaged; use the previous checkpoint"
                )));
            }
            let tensor = from_view(&view).ok_or_else(|| {
                corrupt(format!("tensor {name} has the unsupported type {:?}", view.dtype()))
            })?;
            tensors.insert(name, tensor);
        }
        if let Some(name) = metadata.checksums.keys().find(|name| !tensors.contains_key(*name)) {
            return Err(corrupt(format!("tensor {name} is missing; use the previous checkpoint")));
        }
        Ok(Checkpoint { tensors, state: metadata.state })
    }

    /// Reads the file or, if it is damaged, the one at [`previous`]; also returns the path that was read.
    ///
    /// # Errors
    /// The error of the first file when neither can be read.
    pub fn load_or_previous(path: &Path) -> Result<(Self, PathBuf)> {
        match Checkpoint::load(path) {
            Ok(checkpoint) => Ok((checkpoint, path.into())),
            Err(error) => {
                let previous = previous(path);
                Checkpoint::load(&previous)
                    .map(|checkpoint| (checkpoint, previous))
                    .map_err(|_| error)
            }
        }
    }
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
    let aside = aside(path);
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let written = written.map_err(|e| io(&aside, "cannot write (is the disk full?)", e));
    let renamed =
        written.and_then(|()| fs::rename(&aside, path).map_err(|e| io(path, "cannot rename", e)));
    if renamed.is_err() {
        let _ = fs::remove_file(&aside);
        return renamed;
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
    fn damage_is_noticed() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        example()?.save(&path)?;
        let whole = fs::read(&path).unwrap();
        let random = crate::Philox::new(1, "damage");
        for trial in 0..2000 {
            let mut bytes = whole.clone();
            if trial % 4 == 0 {
                bytes.truncate(random.below(trial, whole.len()));
            } else {
                bytes[random.below(trial, whole.len())] ^= 1 << (trial % 8);
            }
            fs::write(&path, &bytes).unwrap();
            match Checkpoint::load(&path) {
                Err(_) => {}
                // A flipped bit in the JSON may give another valid state, but must not change a tensor.
                Ok(loaded) => {
                    for (name, tensor) in example()?.tensors() {
                        let unharmed = loaded
                            .tensor(name)
                            .is_some_and(|t| t.host_bytes() == tensor.host_bytes());
                        assert!(unharmed, "trial {trial}: {name}");
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn falls_back_to_the_one_before() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        example()?.save_keeping_previous(&path)?;
        example()?.save_keeping_previous(&path)?;
        fs::write(&path, b"torn").unwrap();
        let (_, from) = Checkpoint::load_or_previous(&path)?;
        assert_eq!(from, previous(&path));
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
