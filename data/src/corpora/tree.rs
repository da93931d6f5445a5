//! The files in a folder tree and in its ZIP archives.

use std::path::Path;

use walkdir::WalkDir;

use crate::features::Source;
use crate::formats::archive::Archive;
use crate::{Error, Result};

/// All files below `root` in the order of their names, then the members of all `.zip` archives among them. Only the
/// directories of archives are read.
///
/// # Errors
/// Input/output errors; bad data for a damaged archive.
pub fn files(root: &Path) -> Result<Vec<Source>> {
    let (mut files, mut archives) = (Vec::new(), Vec::new());
    for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|e| {
            let at = e.path().unwrap_or(root).to_owned();
            Error::reading(&at, e.into())
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        let path = entry.into_path();
        match path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zip")) {
            true => archives.push(path),
            false => files.push(Source::File(path)),
        }
    }
    for path in archives {
        files.extend(Archive::open(&path)?.members().into_iter().map(Source::Member));
    }
    Ok(files)
}

/// A file name without its extension, and the extension in lower case; `None` when the name is not UTF-8.
pub(super) fn name(source: &Source) -> Option<(&str, String)> {
    let path = source.path();
    let ending = path.extension().unwrap_or_default().to_str()?.to_ascii_lowercase();
    Some((path.file_stem()?.to_str()?, ending))
}

/// Whether a file in the folder tree satisfies `fits`, which gets the name without its extension and the extension in lower
/// case. Archives are not opened.
pub(super) fn any_file(root: &Path, fits: impl Fn(&str, &str) -> bool) -> bool {
    let files = WalkDir::new(root).follow_links(true).into_iter().flatten();
    root.is_dir()
        && files.filter(|entry| entry.file_type().is_file()).any(|entry| {
            let source = Source::File(entry.into_path());
            name(&source).is_some_and(|(stem, ending)| fits(stem, &ending))
        })
}
