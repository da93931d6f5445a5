//! A study's tables inside a document, between two comment lines.

use crate::failure::{Failure, Kind, Result};
use engine::checkpoint::write_whole;
use std::collections::BTreeMap;
use std::path::Path;

/// How the first line of a section begins.
const FIRST: &str = "<!-- study ";

/// The names of the studies that have a section in a document, in its order.
///
/// # Errors
/// When the file cannot be read.
pub fn studies(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
    let words = text.lines().filter_map(|line| line.strip_prefix(FIRST)?.strip_suffix(" -->"));
    let mut names: Vec<String> = Vec::new();
    for name in words.filter_map(|words| words.split(' ').next()) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Replaces the texts between the comment lines of a study's sections and returns the figures that moved. The first section
/// must have its lines in the document.
///
/// # Errors
/// When the file cannot be read or written, or has no such lines.
pub fn write(path: &Path, sections: &[(String, String)]) -> Result<Vec<String>> {
    let mut text =
        std::fs::read_to_string(path).map_err(|error| Failure::io("read", path, &error))?;
    let mut figures = Vec::new();
    for (number, (words, tables)) in sections.iter().enumerate() {
        let (first, last) = (format!("{FIRST}{words} -->"), "<!-- end of study -->");
        let found = text.split_once(&first).and_then(|(before, rest)| {
            let (old, after) = rest.split_once(last)?;
            Some((before, old, after))
        });
        match found {
            Some((before, old, after)) => {
                figures.extend(moved(old, tables));
                text = format!("{before}{first}\n{}\n{last}{after}", tables.trim_end());
            }
            None if number > 0 => {}
            None => {
                let what = format!("{}: has no lines `{first}` and `{last}`", path.display());
                return Err(Failure::new(Kind::BadData, what)
                    .hint("add the two lines where the tables belong"));
            }
        }
    }
    write_whole(path, text.as_bytes())?;
    Ok(figures)
}

/// The cells of tables that differ: `TABLE, ROW, COLUMN: .820 is now .818`.
fn moved(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (cells(old), cells(new));
    let mut moved = Vec::new();
    for (place, value) in &new {
        let (table, row, column) = place;
        match old.get(place) {
            Some(before) if before != value => {
                moved.push(format!("{}, {column}: {before} is now {value}", named(table, row)));
            }
            _ => {}
        }
    }
    let rows = |all: &BTreeMap<(String, String, String), String>| {
        let mut rows: Vec<(String, String)> =
            all.keys().map(|(table, row, _)| (table.clone(), row.clone())).collect();
        rows.dedup();
        rows
    };
    let (before, now) = (rows(&old), rows(&new));
    let gone = before.iter().filter(|row| !now.contains(row));
    moved.extend(gone.map(|(table, row)| format!("{}: is gone", named(table, row))));
    moved
}

/// A row with its table, which may have no title.
fn named(table: &str, row: &str) -> String {
    if table.is_empty() { row.to_owned() } else { format!("{table}, {row}") }
}

/// The cells of the tables in a text: by the line above a table, the first cell of a row and the header of a column.
fn cells(text: &str) -> BTreeMap<(String, String, String), String> {
    let mut found = BTreeMap::new();
    let (mut title, mut header) = (String::new(), Vec::new());
    for line in text.lines() {
        let Some(row) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            if !line.trim().is_empty() {
                title = line.trim_matches('*').to_owned();
            }
            header.clear();
            continue;
        };
        let row: Vec<&str> = row.split(" | ").collect();
        match header.is_empty() {
            true => header = row.iter().map(|&cell| cell.to_owned()).collect(),
            false if row.iter().all(|&cell| cell == "---") => {}
            false => {
                for (column, cell) in header.iter().zip(&row).skip(1) {
                    let place = (title.clone(), row[0].to_owned(), column.clone());
                    found.insert(place, (*cell).to_owned());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "**A**\n\n| system | mean | std |\n| --- | --- | --- |\n| MPUC | .820 | .008 |\n| late | .8 | .1 |\n\nnotes";

    #[test]
    fn figures_that_moved_are_named() {
        let new = OLD.replace(".820", ".818").replace("| late | .8 | .1 |\n", "| new | 1 | 2 |\n");
        assert_eq!(moved(OLD, &new), ["A, MPUC, mean: .820 is now .818", "A, late: is gone"]);
        assert!(moved(OLD, OLD).is_empty());
        let untitled = OLD.replace("**A**", "");
        assert_eq!(moved(&untitled, "")[0], "MPUC: is gone");
    }

    #[test]
    fn only_the_text_between_the_lines_is_replaced() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("README.md");
        let whole = |inside: &str| {
            format!("before\n<!-- study mine -->{inside}<!-- end of study -->\nafter\n")
        };
        std::fs::write(&path, whole("\nold\n"))?;
        let sections = |words: &str| [(words.to_owned(), OLD.to_owned())];
        write(&path, &sections("mine"))?;
        assert_eq!(std::fs::read_to_string(&path)?, whole(&format!("\n{OLD}\n")));
        let failed = write(&path, &sections("other")).map_err(|failure| failure.kind());
        assert_eq!(failed, Err(Kind::BadData));
        // A section besides the first may be left out of the document.
        write(&path, &[sections("mine"), sections("other")].concat())?;
        assert_eq!(std::fs::read_to_string(&path)?, whole(&format!("\n{OLD}\n")));
        Ok(())
    }

    #[test]
    fn the_studies_of_a_document_are_in_its_order() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("README.md");
        let lines =
            ["study h5", "end of study", "study vavl", "study h5 missing mpuc all", "studio"];
        let text: String = lines.map(|words| format!("<!-- {words} -->\n")).concat();
        std::fs::write(&path, text + "`<!-- study NAME -->`\n")?;
        assert_eq!(studies(&path)?, ["h5", "vavl"]);
        Ok(())
    }
}
