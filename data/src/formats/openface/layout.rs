//! Where a file has the wanted values: the columns of the points and of frame, time, face and confidence.

use std::collections::HashMap;
use std::path::Path;

use super::columns::headerless;
use super::dialect::Dialect;
use super::{Coordinates, LEAST_CONFIDENCE, POINTS};
use crate::{Error, Result};

/// Longest part of a cell or a name in a message, in characters.
const SHOWN: usize = 20;
const AGAIN: &str = "run OpenFace on the clip again";

/// Values besides the points, after them in the row buffer.
const SIDES: [&str; 5] = ["frame", "face_id", "timestamp", "confidence", "success"];

/// The columns of the wanted values.
pub(super) struct Layout {
    dialect: Dialect,
    /// The number of columns.
    width: usize,
    /// `(column, place in the row buffer)`, by column. Places: points first, then [`SIDES`].
    wanted: Vec<(usize, usize)>,
    /// Whether the file has each of [`SIDES`].
    has: [bool; 5],
    /// The number of coordinates of all points.
    pub size: usize,
}

/// One row of a file: a face in a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Face {
    /// The number of the frame, as the file counts; NaN without one.
    pub frame: f64,
    /// Seconds from the start; NaN without them.
    pub time: f64,
    /// The number of the face; 0 in a file that does not number faces.
    pub id: i64,
    /// The confidence, 0 to 1; 0 for a row that does not show the face.
    pub confidence: f64,
}

impl Layout {
    /// The layout of a file by its first line that is not blank, in line `number`, and whether this is a header.
    pub fn new(
        path: &Path,
        number: usize,
        first: &[u8],
        coordinates: Coordinates,
    ) -> Result<(Self, bool)> {
        let line = std::str::from_utf8(first).map_err(|_| no_text(path, number, first))?;
        let dialect = Dialect::of(line.as_bytes());
        let mut names = dialect.cells(line);
        if names.len() > 1 && names.last() == Some(&"") {
            names.pop();
        }
        let has_header = names.iter().any(|name| dialect.number(name.as_bytes()).is_none());
        // The first of several columns with one name is used.
        let columns: HashMap<&str, usize> =
            names.iter().enumerate().rev().map(|(column, &name)| (name, column)).collect();
        let find = |name: &str| -> Option<usize> {
            match has_header {
                true => columns.get(name).copied(),
                false => headerless(names.len(), name),
            }
        };
        let size = coordinates.count() * POINTS;
        let mut wanted = Vec::with_capacity(size + SIDES.len());
        for (axis, prefix) in coordinates.prefixes().iter().enumerate() {
            for point in 0..POINTS {
                let name = format!("{prefix}{point}");
                let column = find(&name)
                    .ok_or_else(|| no_column(path, number, &name, &names, has_header))?;
                wanted.push((column, point * coordinates.count() + axis));
            }
        }
        let sides = SIDES.map(find);
        let places = sides.iter().enumerate();
        wanted.extend(places.filter_map(|(side, column)| Some(((*column)?, size + side))));
        wanted.sort_unstable();
        let has = sides.map(|column| column.is_some());
        Ok((Self { dialect, width: names.len(), wanted, has, size }, has_header))
    }

    /// A row buffer for [`Layout::read_row`].
    pub fn buffer(&self) -> Vec<f64> {
        vec![0.0; self.size + SIDES.len()]
    }

    /// Writes the wanted values of a line to `row`.
    ///
    /// # Errors
    /// Bad data with line and column when a value is no number or the line has another number of columns.
    pub fn read_row(&self, path: &Path, number: usize, line: &[u8], row: &mut [f64]) -> Result<()> {
        let mut ends = self.dialect.ends(line);
        // The number of complete columns, and the start of the next column (None after the last).
        let (mut column, mut start) = (0, Some(0));
        for &(wanted, place) in &self.wanted {
            if let Some(skipped) = (wanted - column).checked_sub(1) {
                start = start.and(ends.nth(skipped)).map(|end| end + 1);
            }
            let Some(from) = start else { break };
            let end = ends.next();
            let cell = &line[from..end.unwrap_or(line.len())];
            row[place] = self.dialect.number(cell).ok_or_else(|| {
                let text: String =
                    String::from_utf8_lossy(cell).trim().chars().take(SHOWN).collect();
                Error::bad_at(path, number, wanted + 1, format!("`{text}` is no number; {AGAIN}"))
            })?;
            (column, start) = (wanted + 1, end.map(|end| end + 1));
        }
        let found = match start {
            Some(_) => column + ends.count() + 1,
            None => self.dialect.ends(line).count() + 1,
        };
        let separator = self.dialect.separator;
        let trailing = found == self.width + 1 && line.trim_ascii_end().ends_with(&[separator]);
        if found == self.width || trailing {
            return Ok(());
        }
        let what = format!(
            "{found} columns where the first line has {}: the file is cut short or mixed up; {AGAIN}",
            self.width
        );
        Err(Error::bad_at(path, number, 0, what))
    }

    /// Frame, time, face and confidence of a row.
    pub fn face(&self, row: &[f64]) -> Face {
        let [has_frame, has_face, has_time, has_confidence, has_success] = self.has;
        let (points, sides) = row.split_at(self.size);
        let [frame, face, time, confidence, success] = std::array::from_fn(|side| sides[side]);
        let tracked = match (has_success, has_confidence) {
            (true, _) => success == 1.0,
            (false, true) => confidence >= f64::from(LEAST_CONFIDENCE),
            (false, false) => true,
        };
        let shown = tracked && points.iter().all(|&x| (x as f32).is_finite());
        // A face that is shown has more confidence than one that is not, whatever the file says.
        let confidence = if has_confidence && confidence.is_finite() { confidence } else { 1.0 };
        Face {
            frame: if has_frame { frame } else { f64::NAN },
            time: if has_time { time } else { f64::NAN },
            id: if has_face && face.is_finite() { face as i64 } else { 0 },
            confidence: if shown { confidence.clamp(1e-3, 1.0) } else { 0.0 },
        }
    }
}

fn no_text(path: &Path, number: usize, first: &[u8]) -> Error {
    let what = match first {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16 text; save the file as UTF-8",
        _ => "the first line is no text; give a CSV file as OpenFace writes it",
    };
    Error::bad_at(path, number, 0, what)
}

fn no_column(path: &Path, number: usize, name: &str, names: &[&str], has_header: bool) -> Error {
    let what = if has_header {
        let short = |name: &&str| -> String { name.chars().take(SHOWN).collect() };
        let shown: Vec<String> = names.iter().take(6).map(short).collect();
        let one = match names.len() {
            1 => "; columns are separated by `,`, `;`, `|` or a tab",
            _ => "",
        };
        format!(
            "no column `{name}` among its {} (the first: {}){one}; run OpenFace's FeatureExtraction with -2Dfp -3Dfp",
            names.len(),
            shown.join(", ")
        )
    } else {
        format!(
            "no header row, and {} columns fit no known layout (712, 713 or 714); keep the header OpenFace writes",
            names.len()
        )
    };
    Error::bad_at(path, number, 0, what)
}
