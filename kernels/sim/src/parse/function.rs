//! Kernels and device functions as text.

use super::Cursor;
use crate::error::Error;

/// A kernel or a device function: its header, and its body as text.
pub(super) struct Function<'a> {
    pub name: &'a str,
    /// The text between the parentheses before the name.
    pub returns: &'a str,
    /// The text between the parentheses after the name.
    pub parameters: &'a str,
    /// Directives after the parameters.
    pub directives: &'a str,
    pub line: usize,
    /// The text after the opening brace, with the closing one; empty for a declaration.
    pub body: &'a str,
    pub body_line: usize,
}

impl<'a> Function<'a> {
    /// Parses a header and skips the body; the cursor is after `.entry` or `.func`.
    pub fn new(cursor: &mut Cursor<'a>) -> Result<Function<'a>, Error> {
        cursor.skip_space();
        let line = cursor.line;
        let end = cursor.rest.find([';', '{']).unwrap_or(cursor.rest.len());
        let declaration = !cursor.rest[end..].starts_with('{');
        let header = cursor.advance(end);
        cursor.advance(1);
        let returns = header.strip_prefix('(').and_then(|rest| rest.split_once(')'));
        let (returns, header) = returns.unwrap_or(("", header));
        let (name, rest) = header.split_once('(').unwrap_or_else(|| {
            let name = header.split_whitespace().next().unwrap_or("");
            (name, header.trim_start().strip_prefix(name).unwrap_or(""))
        });
        let (parameters, directives) = match header.contains('(') {
            true => rest.split_once(')').unwrap_or((rest, "")),
            false => ("", rest),
        };
        let (name, body_line) = (name.trim(), cursor.line);
        let body = if declaration { "" } else { body(cursor, name)? };
        Ok(Function { name, returns, parameters, directives, line, body, body_line })
    }
}

/// The text up to the closing brace; the cursor is after the opening one.
fn body<'a>(cursor: &mut Cursor<'a>, name: &str) -> Result<&'a str, Error> {
    let mut depth = 1;
    for (at, c) in cursor.rest.bytes().enumerate() {
        depth += match c {
            b'{' => 1,
            b'}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return Ok(cursor.advance(at + 1));
        }
    }
    let what = format!("`{name}` has no closing brace");
    Err(Error::Parse { line: cursor.line, what })
}
