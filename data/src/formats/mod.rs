//! Readers (and a few writers) of file formats.
//!
//! All readers accept hostile input: a truncated or corrupt file gives an error that names it, and memory is bounded by a
//! small multiple of the file's size, whatever its header claims.

pub mod archive;
pub mod companions;
pub mod csd;
pub(crate) mod foreign;
pub mod glove;
pub mod npy;
pub mod openface;
pub mod pictures;
pub mod video;
pub mod wav;
pub mod weights;

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// Extension of the record that `mpuc faces` writes beside its results.
pub const FACES_RECORD: &str = "faces.json";

/// Whether the file at `path` was written by `mpuc faces`.
pub fn is_of_faces(path: &Path) -> bool {
    path.with_extension(FACES_RECORD).is_file()
}

/// Refuses what is not a file with an end: opening a pipe waits for its other end, and a device may give bytes for ever.
pub(crate) fn check_regular(path: &Path) -> Result<()> {
    match std::fs::metadata(path).map_err(|e| Error::reading(path, e))?.is_file() {
        true => Ok(()),
        false => Err(Error::bad(path, "is a folder, a device or a pipe; give the path of a file")),
    }
}

/// Memory-maps the file at `path` for reading.
pub(crate) fn map_file(path: &Path) -> Result<Mmap> {
    check_regular(path)?;
    let failed = |e| Error::reading(path, e);
    let file = File::open(path).map_err(failed)?;
    // SAFETY: the map is read-only and private to this process. Its bytes are only ever read as plain numbers or
    // checked text, so a writer that changes them meanwhile can give wrong values but no undefined layout; a file
    // that shrinks under the map raises SIGBUS, which the program reports as an input/output error.
    unsafe { Mmap::map(&file) }.map_err(failed)
}

/// Writes a file under a temporary name and renames it, so that `path` never has partial content.
pub(crate) fn write_aside(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut File>) -> std::io::Result<()>,
) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut aside = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666)) // less the process's umask, as for any other file
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(|e| Error::writing(path, e))?;
    let mut file = BufWriter::new(aside.as_file_mut());
    fill(&mut file).and_then(|()| file.flush()).map_err(|e| Error::writing(path, e))?;
    drop(file);
    aside.persist(path).map_err(|e| Error::writing(path, e.error))?;
    Ok(())
}
