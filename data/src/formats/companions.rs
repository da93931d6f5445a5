//! Files that macOS and storage devices put beside a user's files: `._NAME` with the attributes of NAME, `.DS_Store`, and
//! folders such as `__MACOSX`. They have the extensions of recordings but none of their content.

use std::path::Path;

/// Folders whose files are all companions: of ZIP archives by macOS, of shared disks, of Synology's thumbnails.
const FOLDERS: [&[u8]; 3] = [b"__MACOSX", b".AppleDouble", b"@eaDir"];

/// Whether a file is a companion, by its name and the names of the folders above it; `path` is relative to the folder or
/// archive that was given.
pub fn is_companion(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let folder = |part: &std::ffi::OsStr| FOLDERS.contains(&part.as_encoded_bytes());
    name.starts_with(b"._") || name == b".DS_Store" || path.iter().any(folder)
}

/// The notice that `count` companions are ignored; `None` when there are none.
pub fn notice(count: usize) -> Option<String> {
    let (files, are) = if count == 1 { ("file", "is") } else { ("files", "are") };
    (count > 0).then(|| {
        format!("{count} {files} of macOS or a storage device (`._*`, .DS_Store, __MACOSX) {are} ignored")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_are_known_by_their_names() {
        for path in ["._a.jpg", "a/._b.csd", ".DS_Store", "__MACOSX/x/a.wav", "a/@eaDir/b.jpg"] {
            assert!(is_companion(Path::new(path)), "{path}");
        }
        for path in ["", "a.jpg", ".hidden.wav", "_.jpg", "MACOSX/a.wav", "a._b.csv"] {
            assert!(!is_companion(Path::new(path)), "{path}");
        }
        assert_eq!(notice(0), None);
        assert!(notice(2).is_some_and(|notice| notice.starts_with("2 files of macOS")));
    }
}
