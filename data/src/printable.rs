//! Text from files and file names, safe to print: escape sequences in it would otherwise reach the terminal.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::path::Path;

/// Whether a character changes how a terminal shows other text: control characters (C0, DEL, C1), and marks that change
/// the direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with unsafe characters escaped as in Rust, e.g. `\u{1b}`; line ends and tabs stay when `lines`.
pub fn printable(text: &str, lines: bool) -> Cow<'_, str> {
    let escaped = |c: char| is_unsafe(c) && !(lines && matches!(c, '\n' | '\t'));
    if !text.chars().any(escaped) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !escaped(c) => safe.push(c),
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(safe)
}

/// A path for messages: on one line, without escape sequences. Bytes that are not UTF-8 become U+FFFD.
pub struct Shown<'a>(pub &'a Path);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0.to_string_lossy(), false))
    }
}

/// Text for messages as it is displayed, on one line, without escape sequences.
pub(crate) struct OneLine<T>(pub(crate) T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        write!(text, "{}", self.0)?;
        f.write_str(&printable(&text, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_others_stay() {
        assert_eq!(printable("caf\u{e9} \u{1f600}", false), "caf\u{e9} \u{1f600}");
        assert_eq!(
            printable("a\x1b[2Jb\u{9b}1m\x07\x7f", false),
            "a\\u{1b}[2Jb\\u{9b}1m\\u{7}\\u{7f}"
        );
        assert_eq!(printable("a\nb\tc\r", true), "a\nb\tc\\r");
        assert_eq!(printable("a\nb", false), "a\\nb");
        assert_eq!(printable("a\u{202e}gpj.exe", true), "a\\u{202e}gpj.exe");
    }

    #[test]
    fn errors_are_on_one_line_and_paths_need_not_be_utf8() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(OsStr::from_bytes(b"a\x1b]0;x\x07\n\xe9.wav"));
        assert_eq!(Shown(path).to_string(), "a\\u{1b}]0;x\\u{7}\\n\u{fffd}.wav");
        let error = crate::Error::bad(path, "holds `\x1b[31m`");
        assert_eq!(error.to_string(), "a\\u{1b}]0;x\\u{7}\\n\u{fffd}.wav: holds `\\u{1b}[31m`");
    }
}
