//! Facial landmarks in the CSV files of OpenFace (2.1 as in RAVDESS, generic 2.x, and older).
//!
//! Columns are found by their names in the header; positions are used only for a file without a header. A frame without a
//! face, or without a row, repeats the points of the previous face, so that the clip keeps its length and timing. Of several
//! faces the most confident is followed. Separators are `,`, `;`, `|` or tabs; cells may be in quotes, and numbers may have
//! a decimal comma.

mod columns;
mod dialect;
mod frames;
mod layout;
mod timing;
mod write;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::formats::foreign;
use crate::{Array, Error, Result};
pub(crate) use columns::Columns;
use layout::Layout;
pub use write::{Row, write};

/// Number of landmarks (iBUG 68).
pub const POINTS: usize = 68;
/// Smallest tracking confidence of a frame with a face, for files without the column `success`.
pub(crate) const LEAST_CONFIDENCE: f32 = 0.5;

/// The coordinates to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// `x_*`, `y_*`: image coordinates in pixels.
    #[default]
    Image,
    /// `X_*`, `Y_*`, `Z_*`: camera coordinates in millimetres.
    Space,
}

impl Coordinates {
    /// The number of coordinates of a point: 2 or 3.
    pub fn count(self) -> usize {
        match self {
            Self::Image => 2,
            Self::Space => 3,
        }
    }

    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Image => &["x_", "y_"],
            Self::Space => &["X_", "Y_", "Z_"],
        }
    }
}

/// The landmarks of one clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// `[T, 68, 2]` pixels or `[T, 68, 3]` millimetres.
    pub frames: Array<f32>,
    /// Frames per second, by a line through all timestamps; `None` when the file has none.
    pub rate: Option<f64>,
    /// The number of frames without the followed face, which repeat the points of another frame.
    pub held: usize,
    /// Remarks for the user: other faces, a late start, absent frames.
    pub notes: Vec<String>,
}

/// Reads an OpenFace CSV.
///
/// # Errors
/// Bad data with line and column when it is not an OpenFace CSV, a row is truncated, a value is not a number, or no frame
/// shows a face.
pub fn read(path: &Path, coordinates: Coordinates) -> Result<Track> {
    let bytes = std::fs::read(path).map_err(|e| Error::reading(path, e))?;
    parse(path, &bytes, coordinates)
}

/// Reads landmarks from the bytes of an OpenFace CSV; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, bytes: &[u8], coordinates: Coordinates) -> Result<Track> {
    if let Some(error) = foreign::refuse_stand_in(path, bytes) {
        return Err(error);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Excel may name the separator in a line before the header.
    let of_excel = |(_, line): &(usize, &[u8])| line.len() == 5 && line.starts_with(b"sep=");
    let mut lines = dialect::lines(bytes).skip_while(of_excel).peekable();
    let &(number, first) =
        lines.peek().ok_or_else(|| Error::bad(path, "is empty; run OpenFace on the clip again"))?;
    let (layout, has_header) = Layout::new(path, number, first, coordinates)?;
    if has_header {
        lines.next();
    }
    let size = layout.size;
    let (mut points, mut faces) = (Vec::<f32>::new(), Vec::new());
    let mut row = layout.buffer();
    for (number, line) in lines {
        layout.read_row(path, number, line, &mut row)?;
        faces.push(layout.face(&row));
        points.extend(row[..size].iter().map(|&x| x as f32));
    }
    let points_of = |row: usize| &points[row * size..][..size];
    let (frames, numbered) = frames::group(&faces);
    let timing = timing::Timing::new(path, &frames, numbered)?;
    let centre = |row: usize| centre(points_of(row), coordinates.count());
    let followed = frames::follow(&faces, &frames, centre);
    let (mut values, mut held, mut leading) = (Vec::new(), 0usize, 0usize);
    let mut hold = |values: &mut Vec<f32>| {
        held += 1;
        match values.len().checked_sub(size) {
            Some(last) => values.extend_from_within(last..),
            None => leading += 1,
        }
    };
    let mut length = 0;
    for (&place, row) in timing.places.iter().zip(&followed.rows) {
        (length..place).for_each(|_| hold(&mut values));
        match row.filter(|&row| faces[row].confidence > 0.0) {
            Some(row) => values.extend_from_slice(points_of(row)),
            None => hold(&mut values),
        }
        length = place + 1;
    }
    if values.is_empty() {
        let why = if faces.is_empty() { "no frames" } else { "no frame with a face" };
        let what =
            format!("{why} ({} rows); leave the sample out or track the clip again", faces.len());
        return Err(Error::bad(path, what));
    }
    let first = values[..size].to_vec();
    values.splice(0..0, first.iter().copied().cycle().take(leading * size));
    Ok(Track {
        frames: Array::new([length, POINTS, coordinates.count()], values)?,
        rate: timing.rate,
        held,
        notes: [followed.notes, timing.notes].concat(),
    })
}

/// The middle of a face's points, and its width and height on average.
fn centre(points: &[f32], axes: usize) -> ([f64; 2], f64) {
    let along = |axis: usize| points.iter().skip(axis).step_by(axes).map(|&x| f64::from(x));
    let middle = |axis| along(axis).sum::<f64>() / POINTS as f64;
    let extent = |axis| along(axis).fold(f64::MIN, f64::max) - along(axis).fold(f64::MAX, f64::min);
    ([middle(0), middle(1)], (extent(0) + extent(1)) / 2.0)
}

#[cfg(test)]
mod tests;
