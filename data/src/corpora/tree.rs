//! The files in a folder tree and in its ZIP archives.

use std::path::Path;

use walkdir::WalkDir;

use crate::features::Source;
use crate::formats::archive::Archive;
use crate::formats::companions::{self, is_companion};
use crate::{Error, Result};

/// The files of a tree.
#[derive(Debug, Default)]
pub struct Files {
    /// All files in the order of their names, then the members of all archives.
    pub sources: Vec<Source>,
    /// The number of [companions], which are left out.
    pub companions: usize,
    /// The number of files whose names are not UTF-8; [`name`] has no answer for them.
    not_utf8: usize,
    /// The number of members of archives that are left out: their names lead out of the archive or cannot be read.
    unusable: usize,
}

impl Files {
    /// Notices about files that a corpus does not use because of their names.
    pub fn notices(&self) -> Vec<String> {
        let not_utf8 = match self.not_utf8 {
            0 => None,
            1 => Some("1 file has a name that is not UTF-8 and is not used".to_owned()),
            count => Some(format!("{count} files have names that are not UTF-8 and are not used")),
        };
        let unusable = match self.unusable {
            0 => None,
            1 => Some("1 member of an archive has a name that leads out of the archive (`..`) or cannot be read, and is not used".to_owned()),
            count => Some(format!(
                "{count} members of archives have names that lead out of the archive (`..`) or cannot be read, and are not used"
            )),
        };
        companions::notice(self.companions).into_iter().chain(not_utf8).chain(unusable).collect()
    }

    fn add(&mut self, source: Source, inside: &Path) {
        if is_companion(inside) {
            self.companions += 1;
            return;
        }
        self.not_utf8 += usize::from(inside.to_str().is_none());
        self.sources.push(source);
    }
}

/// Refuses a `root` that is neither a folder nor a ZIP archive; `give` says what to give instead.
///
/// # Errors
/// Missing data when it does not exist, bad data for any other file.
pub(super) fn check_root(root: &Path, give: &str) -> Result<()> {
    match is_archive(root) && root.is_file() {
        true => Ok(()),
        false => check_folder(root, give),
    }
}

/// As [`check_root`] for a corpus that is not read from archives.
///
/// # Errors
/// Missing data when it does not exist, bad data for any file.
pub(super) fn check_folder(root: &Path, give: &str) -> Result<()> {
    match (root.is_dir(), root.exists()) {
        (true, _) => Ok(()),
        (_, true) => Err(Error::bad(root, format!("is not a folder; {give}"))),
        _ => Err(Error::missing(root, format!("does not exist; {give}"))),
    }
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zip"))
}

/// All files below `root`, and the members of all `.zip` archives among them; `root` may be an archive itself. Only the directories of archives are read.
/// [Companions](companions) are left out and counted.
///
/// # Errors
/// Input/output errors; bad data for a damaged archive.
pub fn files(root: &Path) -> Result<Files> {
    let (mut files, mut archives) = (Files::default(), Vec::new());
    for entry in WalkDir::new(root).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|e| {
            let at = e.path().unwrap_or(root).to_owned();
            Error::reading(&at, e.into())
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        let path = entry.into_path();
        let inside = path.strip_prefix(root).unwrap_or(&path).to_owned();
        match is_archive(&path) {
            true if !is_companion(&inside) => archives.push(path),
            _ => files.add(Source::File(path), &inside),
        }
    }
    for path in archives {
        let members = Archive::open(&path)?.members();
        files.unusable += members.unusable;
        for member in members.files {
            let inside = member.name().to_owned();
            files.add(Source::Member(member), &inside);
        }
    }
    Ok(files)
}

/// A file name without its extension, and the extension in lower case; `None` when the name is not UTF-8.
pub(super) fn name(source: &Source) -> Option<(&str, String)> {
    let path = source.path();
    let ending = path.extension().unwrap_or_default().to_str()?.to_ascii_lowercase();
    Some((path.file_stem()?.to_str()?, ending))
}

/// Whether a file in the folder tree, or in the archive `root`, satisfies `fits`, which gets the name without its extension
/// and the extension in lower case. Archives in the tree are not opened, and companions not asked.
pub(super) fn any_file(root: &Path, fits: impl Fn(&str, &str) -> bool) -> bool {
    if root.is_file() {
        let members = is_archive(root).then(|| files(root).ok()).flatten().unwrap_or_default();
        let mut names = members.sources.iter().filter_map(name);
        return names.any(|(stem, ending)| fits(stem, &ending));
    }
    let files = WalkDir::new(root).follow_links(true).into_iter().flatten();
    root.is_dir()
        && files.filter(|entry| entry.file_type().is_file()).any(|entry| {
            let path = entry.into_path();
            if is_companion(path.strip_prefix(root).unwrap_or(&path)) {
                return false;
            }
            name(&Source::File(path)).is_some_and(|(stem, ending)| fits(stem, &ending))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::archive::tests::write;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn companions_are_left_out_of_trees_and_archives_and_counted() {
        // The folder itself may have any name.
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("__MACOSX");
        std::fs::create_dir_all(root.join("a")).unwrap();
        for name in ["a/x.wav", "a/._x.wav", ".DS_Store", "._b.zip"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        std::fs::write(root.join(OsStr::from_bytes(b"caf\xe9.wav")), "").unwrap();
        let members: [(&str, &[u8]); 3] =
            [("b/y.wav", b"1"), ("__MACOSX/b/._y.wav", b"2"), ("b/.DS_Store", b"3")];
        write(&root.join("b.zip"), &members);
        let files = files(&root).unwrap();
        let names: Vec<_> = files.sources.iter().filter_map(name).map(|(stem, _)| stem).collect();
        assert_eq!((names, files.sources.len()), (vec!["x", "y"], 3));
        assert_eq!(
            files.notices(),
            [
                "5 files of macOS or a storage device (`._*`, .DS_Store, __MACOSX) are ignored",
                "1 file has a name that is not UTF-8 and is not used"
            ]
        );
        assert!(!any_file(&root, |stem, _| stem.starts_with("._")));
    }
}
