//! Hashes of file contents, cached so that large files are not read again at every start.
//!
//! The cache keeps a note with the hash of a large file, or of all files of a folder. The note's name is a hash of the
//! files' names, sizes and modification times, and on Unix also of their inodes and change times (ctime), which programs
//! cannot set: replacing a file by one of the same size and modification time gives another name. A file that was
//! modified within the last 3 seconds gets no note, because a second change might leave its modification time as it is;
//! git treats such files in its index the same way.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use blake3::{Hash, Hasher};

use crate::formats::{check_regular, write_aside};
use crate::{Error, Result};

/// Smallest total size for which a note is written, in bytes.
const LARGE: u64 = 1 << 22;
/// Age below which a modification time is not trusted: some file systems store it with a resolution of 2 seconds.
const RACY: Duration = Duration::from_secs(3);

/// The hash of a file's content, or of the names and contents of a folder's files; `notes` is the folder of the notes.
///
/// # Errors
/// Input/output errors of reading the file. Failure to write a note is ignored.
pub(crate) fn hash(notes: &Path, path: &Path) -> Result<Hash> {
    let about = |path: &Path| fs::metadata(path).map_err(|e| Error::reading(path, e));
    let of_path = about(path)?;
    let files: Vec<(PathBuf, Metadata)> = match of_path.is_dir() {
        true => {
            listed(path)?.into_iter().map(|p| Ok((p.clone(), about(&p)?))).collect::<Result<_>>()?
        }
        false => vec![(path.to_owned(), of_path.clone())],
    };
    let known = note(notes, path, &files);
    if let Some(hash) = known.as_deref().and_then(read) {
        return Ok(hash);
    }
    let hash = match of_path.is_dir() {
        true => of_folder(&files)?,
        false => of_file(path)?,
    };
    if let Some(known) = known {
        // A missing note costs time at the next start, nothing else.
        let _ = write_aside(&known, |file| {
            use std::io::Write;
            file.write_all(hash.to_hex().as_bytes())
        });
    }
    Ok(hash)
}

/// The hash of a file's content, read now.
///
/// # Errors
/// Bad data for a folder, device or pipe; input/output errors.
pub(crate) fn of_file(path: &Path) -> Result<Hash> {
    check_regular(path)?;
    let mut hasher = Hasher::new();
    hasher.update_mmap(path).map_err(|e| Error::reading(path, e))?;
    Ok(hasher.finalize())
}

fn of_folder(files: &[(PathBuf, Metadata)]) -> Result<Hash> {
    let mut hasher = Hasher::new();
    for (path, _) in files {
        hasher.update(blake3::hash(file_name(path)).as_bytes());
        hasher.update(of_file(path)?.as_bytes());
    }
    Ok(hasher.finalize())
}

/// The files of a folder, sorted by name.
fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::reading(folder, e);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn file_name(path: &Path) -> &[u8] {
    path.file_name().unwrap_or_default().as_encoded_bytes()
}

/// The path of the note for these files; `None` when they are small or a modification time is not trusted.
fn note(notes: &Path, path: &Path, files: &[(PathBuf, Metadata)]) -> Option<PathBuf> {
    if files.iter().map(|(_, about)| about.len()).sum::<u64>() < LARGE {
        return None;
    }
    let now = SystemTime::now();
    let mut key = Hasher::new();
    key.update(std::path::absolute(path).ok()?.as_os_str().as_encoded_bytes());
    for (file, about) in files {
        let changed = about.modified().ok()?;
        if now.duration_since(changed).ok()? < RACY {
            return None;
        }
        let since = changed.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        key.update(blake3::hash(file_name(file)).as_bytes());
        key.update(&about.len().to_le_bytes());
        key.update(&since.as_nanos().to_le_bytes());
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            key.update(&about.ino().to_le_bytes());
            key.update(&about.ctime().to_le_bytes());
            key.update(&about.ctime_nsec().to_le_bytes());
        }
    }
    Some(notes.join(format!("{}.content", &key.finalize().to_hex().as_str()[..40])))
}

fn read(note: &Path) -> Option<Hash> {
    Hash::from_hex(fs::read(note).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_end_is_not_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let message = hash(folder.path(), Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(message.contains("/dev/zero: is a folder, a device or a pipe"), "{message}");
    }
    use std::fs::File;

    fn write(path: &Path, byte: u8, size: usize, age: u64) {
        fs::write(path, vec![byte; size]).unwrap();
        let changed = SystemTime::now() - Duration::from_secs(age);
        File::options().append(true).open(path).unwrap().set_modified(changed).unwrap();
    }

    fn notes(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn only_large_files_at_rest_are_noted_and_a_change_shows() {
        let folder = tempfile::tempdir().unwrap();
        let kept = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let size = LARGE as usize;
        for (count, byte, size, age) in [
            (0, 1, size - 1, 60),
            (0, 2, size, 0),
            (1, 3, size, 60),
            (2, 4, size, 50),
            (3, 4, size + 1, 50),
        ] {
            write(&path, byte, size, age);
            for _ in 0..2 {
                assert_eq!(hash(kept.path(), &path).unwrap(), blake3::hash(&vec![byte; size]));
            }
            assert_eq!(notes(kept.path()), count, "byte {byte}");
        }
        let told = Hash::from_bytes([7; 32]);
        for note in fs::read_dir(kept.path()).unwrap() {
            fs::write(note.unwrap().path(), told.to_hex().as_bytes()).unwrap();
        }
        assert_eq!(hash(kept.path(), &path).unwrap(), told, "the note is believed");
        for note in fs::read_dir(kept.path()).unwrap() {
            fs::write(note.unwrap().path(), "nonsense").unwrap();
        }
        assert_eq!(hash(kept.path(), &path).unwrap(), blake3::hash(&vec![4; size + 1]));
        // A file exchanged for another of the same size and time.
        #[cfg(unix)]
        {
            let other = folder.path().join("b");
            write(&other, 5, size + 1, 0);
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            File::options().append(true).open(&other).unwrap().set_modified(time).unwrap();
            fs::rename(&other, &path).unwrap();
            assert_eq!(hash(kept.path(), &path).unwrap(), blake3::hash(&vec![5; size + 1]));
        }
    }

    #[test]
    fn a_folder_is_its_files_and_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let kept = tempfile::tempdir().unwrap();
        let of = || hash(kept.path(), folder.path()).unwrap();
        let mut seen = vec![of()];
        write(&folder.path().join("a"), 1, 10, 60);
        seen.push(of());
        write(&folder.path().join("b"), 1, LARGE as usize, 60);
        seen.push(of());
        assert_eq!(notes(kept.path()), 1);
        fs::rename(folder.path().join("a"), folder.path().join("c")).unwrap();
        seen.push(of());
        write(&folder.path().join("c"), 2, 10, 60);
        seen.push(of());
        assert_eq!(of(), seen[4]);
        seen.sort_by_key(|hash| *hash.as_bytes());
        seen.dedup();
        assert_eq!(seen.len(), 5);
    }
}
