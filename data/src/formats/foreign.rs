//! Files that are not what their name says: pointers of Git LFS, web pages, empty files, and files of another format.

use std::path::Path;

use crate::Error;

/// Formats by their first bytes: where the bytes are, the bytes, and the name.
const KINDS: [(usize, &[u8], &str); 29] = [
    (8, b"WAVE", "a WAV recording"),
    (0, b"riff\x2e\x91", "a Wave64 recording"),
    (0, b"fLaC", "a FLAC recording"),
    (0, b"OggS", "an Ogg recording"),
    (0, b"ID3", "an MP3 recording"),
    (0, b"\xff\xfb", "an MP3 recording"),
    (0, b"\xff\xf3", "an MP3 recording"),
    (0, b"\xff\xf1", "an AAC recording"),
    (0, b"FORM", "an AIFF recording"),
    (0, b".snd", "an AU recording"),
    (8, b"AVI ", "an AVI video"),
    (4, b"ftyp", "an MP4 or M4A file"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"GIF8", "a GIF picture"),
    (8, b"WEBP", "a WebP picture"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x93NUMPY", "a .npy array"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ", "an xz file"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"%PDF", "a PDF document"),
    (
        0,
        b"\x00\x05\x16\x07",
        "a companion file (`._NAME`) that macOS writes and that may be removed",
    ),
    (0, b"\x80\x02", "a pickle of Python"),
];
/// First bytes of a pointer of Git LFS.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// Beginnings of web pages and of the answers of file servers, in lower case.
const PAGES: [&str; 6] = ["<!doctype html", "<html", "<head", "<body", "<?xml", "<!--"];
/// Number of bytes of a page that are searched for its title.
const SEARCHED: usize = 2_048;
/// Longest title that is quoted, in characters.
const LONGEST_TITLE: usize = 60;

/// The error for a file with the wrong first bytes.
///
/// `otherwise` says what was expected and what to do, and begins with "not a": it follows the name of the file's format, or
/// stands alone when the format is unknown.
pub(crate) fn refuse(path: &Path, bytes: &[u8], otherwise: &str) -> Error {
    Error::bad(path, explain(bytes, otherwise))
}

/// The error for a pointer of Git LFS or a web page, which readers of text would accept; `None` for any other file.
pub(crate) fn refuse_stand_in(path: &Path, bytes: &[u8]) -> Option<Error> {
    stand_in(bytes).map(|what| Error::bad(path, what))
}

fn explain(bytes: &[u8], otherwise: &str) -> String {
    if bytes.is_empty() {
        return "is empty (0 bytes); copy or download it again".into();
    }
    if let Some(what) = stand_in(bytes) {
        return what;
    }
    match kind(bytes) {
        Some(name) => format!("is {name}, {otherwise}"),
        None => otherwise.to_owned(),
    }
}

/// The format by the first bytes, with its article.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    let begins = |(at, magic, _): &&(usize, &[u8], &str)| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic))
    };
    KINDS.iter().find(begins).map(|(_, _, name)| *name)
}

/// The error for a file of a binary format where a text is expected; `None` for a text, which may begin like any of them.
pub(crate) fn refuse_binary(path: &Path, bytes: &[u8], otherwise: &str) -> Option<Error> {
    // Below the tab there is no character of a text.
    let binary = bytes[..bytes.len().min(SEARCHED)].iter().any(|&byte| byte < b'\t');
    let name = kind(bytes).filter(|_| binary)?;
    Some(Error::bad(path, format!("is {name}, {otherwise}")))
}

/// What a pointer or a web page is, and what to do.
fn stand_in(bytes: &[u8]) -> Option<String> {
    if bytes.starts_with(POINTER) {
        return Some("is a Git LFS pointer: run `git lfs pull` in its repository".into());
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let text = String::from_utf8_lossy(&text[..text.len().min(SEARCHED)]);
    if !PAGES.iter().any(|start| begins(&text, start)) {
        return None;
    }
    let title = title(&text).map(|title| format!(" (\"{title}\")")).unwrap_or_default();
    Some(format!(
        "is a web page{title}, not the file itself: the download was refused or needs a login; download it again"
    ))
}

/// Whether `text` begins with `start`, which is lower case, in any case.
fn begins(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// The title of a web page, without control characters.
fn title(page: &str) -> Option<String> {
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find('<')?;
    let title: String = page[start..end].chars().filter(|letter| !letter.is_control()).collect();
    let title: String = title.trim().chars().take(LONGEST_TITLE).collect();
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: &[u8]) -> String {
        refuse(Path::new("a.wav"), bytes, "not a WAV file; convert it").to_string()
    }

    #[test]
    fn a_git_lfs_pointer_says_which_command_gets_the_file() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 72862\n";
        assert_eq!(
            message(pointer),
            "a.wav: is a Git LFS pointer: run `git lfs pull` in its repository"
        );
    }

    #[test]
    fn a_web_page_is_named_with_its_title_and_without_its_escapes() {
        let page = b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><head><title>Quota \x1b[31mexceeded</title></head>";
        let message = message(page);
        assert!(message.contains("is a web page (\"Quota [31mexceeded\")"), "{message}");
        for page in [
            "<HTML><body>no",
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
            "<html",
        ] {
            assert!(super::explain(page.as_bytes(), "").contains("is a web page, not"), "{page}");
        }
    }

    #[test]
    fn an_empty_file_and_other_formats_are_named() {
        assert!(message(b"").contains("is empty (0 bytes)"));
        for (bytes, name) in [
            (&b"fLaC\0\0\0\x22"[..], "is a FLAC recording, not a WAV file; convert it"),
            (b"\0\0\0\x18ftypM4A ", "is an MP4 or M4A file, not"),
            (b"\xff\xfb\x90", "is an MP3 recording, not"),
            (b"PK\x03\x04", "is a ZIP archive, not"),
            (b"riff\x2e\x91\xcf\x11", "is a Wave64 recording, not"),
            (b"hello", "a.wav: not a WAV file; convert it"),
        ] {
            assert!(message(bytes).contains(name), "{}", message(bytes));
        }
    }
}
