//! What all targets share: the readers take files.

use std::io::Write;
use std::path::Path;

/// Calls the body with a file of these bytes, in memory where the system has a place for that.
pub fn with_file(bytes: &[u8], ending: &str, body: impl FnOnce(&Path)) {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let file = tempfile::Builder::new().suffix(ending).tempfile_in(folder);
    let mut file = file.expect("a folder for temporary files");
    file.write_all(bytes).expect("room for a small file");
    body(file.path());
}
