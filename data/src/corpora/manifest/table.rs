//! The table of a manifest: its header, and its rows with their lines in the file.
//!
//! Separators are `,`, `;`, `|` or tabs. Blank rows are skipped and counted; empty columns at the right, which spreadsheets
//! write, are dropped.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, StringRecord, Trim};

use crate::formats::foreign;
use crate::{Error, Result};

/// The largest manifest, in bytes.
const MOST_BYTES: u64 = 256 << 20;

/// Separators of cells; of those that are equally frequent in the header the first is used.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// A row and its line in the file, from 1.
pub(super) type Row = (usize, StringRecord);

/// The cells of a manifest.
pub(super) struct Table {
    /// The line of the header.
    pub line: usize,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows below it; each has at least as many cells as the header.
    pub rows: Vec<Row>,
    /// The number of rows with separators and nothing else.
    pub blank: usize,
}

impl Table {
    /// Reads the table of the manifest at `path`.
    ///
    /// # Errors
    /// Bad data with the line when the file is not UTF-8, has no header, or has a row with too few or too many cells;
    /// input/output errors.
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::reading(path, e))?;
        let mut bytes = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::reading(path, e))?;
        if bytes.len() as u64 > MOST_BYTES {
            let what = format!("is longer than {} MB; give a CSV file", MOST_BYTES >> 20);
            return Err(Error::bad(path, what));
        }
        if let Some(error) = foreign::refuse_stand_in(path, &bytes) {
            return Err(error);
        }
        let otherwise = "not a manifest; give the CSV file, or the folder of a corpus (of archives only those with RAVDESS's or CREMA-D's names are read)";
        if let Some(error) = foreign::refuse_binary(path, &bytes, otherwise) {
            return Err(error);
        }
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(Error::bad_at(path, 1, 0, "is UTF-16 text; save the file as UTF-8"));
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let separator = separator(bytes);
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .from_reader(skip_excels_line(bytes));
        let mut lines = Lines::new(bytes);
        let skipped = bytes.len() - skip_excels_line(bytes).len();
        let (mut header, mut rows, mut blank) = (None, Vec::new(), 0);
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|e| broken(path, &e))? {
            let start = record.position().map_or(0, |position| position.byte() as usize);
            let line = lines.of(skipped + start);
            if record.iter().all(<[u8]>::is_empty) {
                blank += usize::from(header.is_some());
                continue;
            }
            let cells = StringRecord::from_byte_record(record.clone()).map_err(|e| {
                let column = e.utf8_error().field() + 1;
                Error::bad_at(path, line, column, "is not UTF-8 text; save the file as UTF-8")
            })?;
            match &header {
                None => header = Some((line, names(&cells))),
                Some((_, names)) => {
                    check_width(path, line, &cells, names.len(), separator)?;
                    rows.push((line, cells));
                }
            }
        }
        let (line, header) = header.ok_or_else(|| {
            Error::bad_at(path, 1, 0, "is empty; write a header and one row for each sample")
        })?;
        Ok(Self { line, header, rows, blank })
    }
}

/// The names of a header without empty ones at its right.
fn names(cells: &StringRecord) -> Vec<String> {
    let mut names: Vec<String> = cells.iter().map(str::to_owned).collect();
    while names.last().is_some_and(String::is_empty) {
        names.pop();
    }
    names
}

/// Refuses a row with fewer cells than the header, or with more that are not empty.
fn check_width(
    path: &Path,
    line: usize,
    cells: &StringRecord,
    width: usize,
    separator: u8,
) -> Result<()> {
    if cells.len() >= width && cells.iter().skip(width).all(str::is_empty) {
        return Ok(());
    }
    let advice = match cells.iter().any(|cell| cell.contains('\n')) {
        true => "close the quote that begins in this row".to_owned(),
        false => format!("add or remove {}", shown(separator)),
    };
    let what = format!("{} cells where the header has {width}; {advice}", cells.len());
    Err(Error::bad_at(path, line, 0, what))
}

fn broken(path: &Path, error: &csv::Error) -> Error {
    let line = error.position().map_or(1, |position| position.line() as usize);
    Error::bad_at(path, line, 0, format!("{error}; write a plain CSV file"))
}

/// The separator in words.
fn shown(separator: u8) -> String {
    match separator {
        b',' => "commas".to_owned(),
        b'\t' => "tabs".to_owned(),
        other => format!("`{}`", char::from(other)),
    }
}

/// The most frequent separator outside quotes in the first line that is not blank.
fn separator(bytes: &[u8]) -> u8 {
    let text = skip_excels_line(bytes).trim_ascii_start();
    let end = text.iter().position(|byte| b"\r\n".contains(byte)).unwrap_or(text.len());
    let (mut quoted, mut counts) = (false, [0usize; SEPARATORS.len()]);
    for byte in &text[..end] {
        quoted ^= *byte == b'"';
        if let Some(place) = SEPARATORS.iter().position(|separator| separator == byte) {
            counts[place] += usize::from(!quoted);
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().position(|count| *count == most).map_or(b',', |place| SEPARATORS[place])
}

/// The bytes after a first line such as `sep=;`, which Excel reads and writes.
fn skip_excels_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    match bytes[..line].trim_ascii_end() {
        [b's', b'e', b'p', b'=', _] => &bytes[line..],
        _ => bytes,
    }
}

/// Line numbers of ascending offsets.
struct Lines<'a> {
    bytes: &'a [u8],
    end: u8,
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let end = if bytes.contains(&b'\n') { b'\n' } else { b'\r' };
        Self { bytes, end, at: 0, line: 1 }
    }

    /// The line of the first byte from `start` on that ends no line: blank lines before a row belong to its record.
    fn of(&mut self, start: usize) -> usize {
        while let Some(byte) = self.bytes.get(self.at) {
            if self.at >= start && !b"\r\n".contains(byte) {
                break;
            }
            self.line += usize::from(*byte == self.end);
            self.at += 1;
        }
        self.line
    }
}
