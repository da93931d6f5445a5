//! Output: results go to standard output, everything else to standard error. Escape sequences, which names of files and
//! texts in them may have, are printed as `\u{1b}`.

use crate::failure::{Failure, Kind, Result};
use data::printable::printable;
use serde::{Serialize, Serializer};
use std::fmt::Display;
use std::io::Write;
use std::path::Path;

/// Writes one JSON object and a line end to standard output.
///
/// # Errors
/// When standard output is closed, or its disk is full.
pub fn json(value: &impl Serialize) -> Result<()> {
    text_lines(serde_json::to_string(value).map_err(no_json)?)
}

/// The error of a report that cannot be serialised as JSON.
pub fn no_json(error: serde_json::Error) -> Failure {
    Failure::new(Kind::Bug, format!("the report cannot be written as JSON: {error}"))
}

/// Serialises a path as text; bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// Those of the serialiser.
pub fn path<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Writes text and a line end to standard output.
///
/// # Errors
/// As [`json`].
pub fn text_lines(text: impl Display) -> Result<()> {
    let text = text.to_string();
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", printable(&text, true))?;
    output.flush()?;
    Ok(())
}

/// Writes a line to standard error; ignores errors, since they could not be reported.
pub fn note(text: impl Display) {
    let text = text.to_string();
    let _ = writeln!(std::io::stderr().lock(), "{}", printable(&text, true));
}

/// A plain text table; the first column is aligned left, the others right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|i| {
            let cells = rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count());
            cells.chain([header[i].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| match i {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

/// A Markdown table.
pub fn markdown(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |", cells.join(" | "));
    let mut lines = vec![line(header.to_vec()), line(vec!["---"; header.len()])];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_has_a_line_below_its_header() {
        let rows = vec![vec!["a".into(), "1".into()]];
        assert_eq!(markdown(&["op", "n"], &rows), "| op | n |\n| --- | --- |\n| a | 1 |");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "12345".into()]];
        assert_eq!(table(&["op", "n"], &rows), "op        n\na         1\nlong  12345");
    }
}
