//! Facial landmarks in the CSV files of OpenFace (2.1 as in RAVDESS, generic 2.x, and older).
//!
//! Columns are found by their names in the header; positions are used only for a file without a header. A frame without a
//! face repeats the points of the previous face, so that the clip keeps its length and timing.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use memchr::{memchr, memchr_iter};
use serde::{Deserialize, Serialize};

use super::write_aside;
use crate::{Array, Error, Result};

/// Number of landmarks (iBUG 68).
pub const POINTS: usize = 68;
/// Smallest tracking confidence of a frame with a face, for files without the column `success`.
pub(crate) const LEAST_CONFIDENCE: f32 = 0.5;
/// For files without a header: the number of columns before the landmarks, by the total number of columns (RAVDESS,
/// OpenFace 2.x without the face number, generic OpenFace 2.x).
const HEADERLESS: [(usize, usize); 3] = [(712, 297), (713, 298), (714, 299)];

/// Ranges of points along one contour of the face: jaw, brows, nose, eyes, lips.
const CONTOURS: [std::ops::Range<usize>; 9] =
    [0..17, 17..22, 22..27, 27..31, 31..36, 36..42, 42..48, 48..60, 60..68];

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
    /// Frames per second, from the median difference of the timestamps; `None` when the file has none.
    pub rate: Option<f64>,
    /// The number of frames without a face, which repeat the points of another frame.
    pub held: usize,
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

/// One frame to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Time from the start, in seconds.
    pub time: f64,
    /// Tracking confidence, 0 to 1.
    pub confidence: f32,
    /// Whether the frame shows a face; without one the points are not reliable.
    pub success: bool,
    /// Image coordinates of the points, in pixels.
    pub points: [[f32; 2]; POINTS],
}

/// Writes frames in OpenFace's format, with the columns `frame` (from 1), `timestamp`, `confidence`, `success`, `x_0` to
/// `x_67` and `y_0` to `y_67`.
///
/// # Errors
/// Input/output errors; `path` never has partial content.
pub fn write(path: &Path, rows: &[Row]) -> Result<()> {
    write_aside(path, |file| {
        write!(file, "frame, timestamp, confidence, success")?;
        for axis in ["x", "y"] {
            for point in 0..POINTS {
                write!(file, ", {axis}_{point}")?;
            }
        }
        writeln!(file)?;
        for (number, row) in (1..).zip(rows) {
            let success = u8::from(row.success);
            write!(file, "{number}, {:.3}, {:.3}, {success}", row.time, row.confidence)?;
            for axis in 0..2 {
                for point in &row.points {
                    write!(file, ", {:.2}", point[axis])?;
                }
            }
            writeln!(file)?;
        }
        Ok(())
    })
}

/// The positions of the wanted values in a row.
struct Layout {
    /// The number of columns.
    width: usize,
    /// `(column, place in the row buffer)`, by column. Places: points first, then the four of [`Slot`].
    wanted: Vec<(usize, usize)>,
    has_success: bool,
    has_confidence: bool,
    has_timestamp: bool,
}

/// Values besides the points, after them in the row buffer.
#[derive(Clone, Copy)]
enum Slot {
    Confidence,
    Success,
    Timestamp,
    FaceId,
}

impl Layout {
    fn new(path: &Path, first: &[u8], coordinates: Coordinates) -> Result<(Self, bool)> {
        let line = std::str::from_utf8(first).map_err(|_| {
            Error::bad_at(
                path,
                1,
                0,
                "the first line is no text; give a CSV file as OpenFace writes it",
            )
        })?;
        let names: Vec<&str> =
            line.trim_start_matches('\u{feff}').split(',').map(str::trim).collect();
        let has_header = names.iter().any(|name| name.parse::<f32>().is_err());
        // The first of several columns with one name is used.
        let columns: HashMap<&str, usize> =
            names.iter().enumerate().rev().map(|(column, &name)| (name, column)).collect();
        let find = |name: &str| -> Option<usize> {
            match has_header {
                true => columns.get(name).copied(),
                false => headerless(names.len(), name),
            }
        };
        let mut wanted = Vec::with_capacity(coordinates.count() * POINTS + 4);
        for (axis, prefix) in coordinates.prefixes().iter().enumerate() {
            for point in 0..POINTS {
                let name = format!("{prefix}{point}");
                let column =
                    find(&name).ok_or_else(|| no_column(path, &name, &names, has_header))?;
                wanted.push((column, point * coordinates.count() + axis));
            }
        }
        let extra = coordinates.count() * POINTS;
        let mut add = |name: &str, slot: Slot| {
            let column = find(name);
            wanted.extend(column.map(|column| (column, extra + slot as usize)));
            column.is_some()
        };
        let has_confidence = add("confidence", Slot::Confidence);
        let has_success = add("success", Slot::Success);
        let has_timestamp = add("timestamp", Slot::Timestamp);
        add("face_id", Slot::FaceId);
        wanted.sort_unstable();
        let layout =
            Self { width: names.len(), wanted, has_success, has_confidence, has_timestamp };
        Ok((layout, has_header))
    }

    /// Writes the wanted values of one line to `row`.
    fn read_row(&self, path: &Path, number: usize, line: &[u8], row: &mut [f32]) -> Result<()> {
        let mut commas = memchr_iter(b',', line);
        // The number of complete columns, and the start of the next column (None after the last).
        let (mut column, mut start) = (0, Some(0));
        for &(wanted, place) in &self.wanted {
            if let Some(skipped) = (wanted - column).checked_sub(1) {
                start = start.and(commas.nth(skipped)).map(|comma| comma + 1);
            }
            let Some(from) = start else { break };
            let end = commas.next();
            let field = &line[from..end.unwrap_or(line.len())];
            row[place] = number_in(field).ok_or_else(|| {
                let text = String::from_utf8_lossy(&field[..field.len().min(20)]).trim().to_owned();
                Error::bad_at(
                    path,
                    number,
                    wanted + 1,
                    format!("`{text}` is no number; run OpenFace on the clip again"),
                )
            })?;
            (column, start) = (wanted + 1, end.map(|end| end + 1));
        }
        let column = match start {
            Some(_) => column + commas.count() + 1,
            None => memchr_iter(b',', line).count() + 1,
        };
        if column != self.width {
            return Err(Error::bad_at(
                path,
                number,
                0,
                format!(
                    "{column} columns where the first line has {}: the file is cut short or mixed up; run OpenFace on the clip again",
                    self.width
                ),
            ));
        }
        Ok(())
    }
}

/// The column of `name` in a file without a header and with `width` columns.
fn headerless(width: usize, name: &str) -> Option<usize> {
    let (_, points) = *HEADERLESS.iter().find(|(columns, _)| *columns == width)?;
    let leading: &[&str] = match width {
        712 => &["frame", "timestamp", "confidence"],
        713 => &["frame", "timestamp", "confidence", "success"],
        _ => &["frame", "face_id", "timestamp", "confidence", "success"],
    };
    if let Some(column) = leading.iter().position(|&leading| leading == name) {
        return Some(column);
    }
    let block =
        ["x_", "y_", "X_", "Y_", "Z_"].iter().position(|prefix| name.starts_with(prefix))?;
    let point: usize = name.get(2..)?.parse().ok()?;
    Some(points + block * POINTS + point)
}

/// The columns of OpenFace's values in a table that is not a CSV.
pub(crate) struct Columns {
    /// The columns of the coordinates, point by point.
    pub(crate) points: Vec<usize>,
    pub(crate) success: Option<usize>,
    pub(crate) confidence: Option<usize>,
}

impl Columns {
    /// Finds the columns by OpenFace's names; `None` when a coordinate of a point has none.
    pub(crate) fn named(names: &[String], coordinates: Coordinates) -> Option<Self> {
        Self::by(coordinates, |name| names.iter().position(|found| found == name))
    }

    /// Finds the columns by the values, because exports differ in the number of leading columns. Candidates are the known
    /// layouts in which the eyes' outer corners are left and right (x_36, x_45) and the chin is below the nose (y_8, y_27).
    /// Of these the one with the shortest distances along the contours is used: a layout that is one column off also looks
    /// like a face, but has jumps between contours.
    pub(crate) fn plausible(
        width: usize,
        rows: &[&[f32]],
        coordinates: Coordinates,
    ) -> Option<Self> {
        let mean = |column: usize| {
            let seen = rows.iter().filter_map(|row| row.get(column)).filter(|x| x.is_finite());
            seen.map(|&x| f64::from(x)).sum::<f64>() / rows.len() as f64
        };
        let roughness = |first: usize| {
            let (x, y) = (|point| mean(first + point), |point| mean(first + POINTS + point));
            let face = width >= first + 5 * POINTS && x(45) > x(36) && y(8) > y(27);
            let steps = CONTOURS.iter().flat_map(|contour| contour.clone().skip(1));
            let lengths = steps.map(|p| (x(p) - x(p - 1)).abs() + (y(p) - y(p - 1)).abs());
            face.then(|| lengths.sum::<f64>() / (x(45) - x(36)))
        };
        let places =
            HEADERLESS.iter().filter_map(|(leading, at)| Some((roughness(*at)?, *leading)));
        let (_, leading) = places.min_by(|a, b| a.0.total_cmp(&b.0))?;
        Self::by(coordinates, |name| headerless(leading, name))
    }

    fn by(coordinates: Coordinates, find: impl Fn(&str) -> Option<usize>) -> Option<Self> {
        let prefixes = coordinates.prefixes();
        let names =
            (0..POINTS).flat_map(|point| prefixes.iter().map(move |p| format!("{p}{point}")));
        let points = names.map(|name| find(&name)).collect::<Option<_>>()?;
        Some(Self { points, success: find("success"), confidence: find("confidence") })
    }
}

fn no_column(path: &Path, name: &str, names: &[&str], has_header: bool) -> Error {
    if !has_header {
        return Error::bad_at(
            path,
            1,
            0,
            format!(
                "no header row, and {} columns fit no known layout (712, 713 or 714); keep the header OpenFace writes",
                names.len()
            ),
        );
    }
    let shown: Vec<String> =
        names.iter().take(6).map(|name| name.chars().take(20).collect()).collect();
    Error::bad_at(
        path,
        1,
        0,
        format!(
            "no column `{name}` among its {} (the first: {}); run OpenFace's FeatureExtraction with -2Dfp -3Dfp",
            names.len(),
            shown.join(", ")
        ),
    )
}

fn number_in(field: &[u8]) -> Option<f32> {
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

/// The lines that are not blank, without line ends, with their numbers from 1.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = Some(bytes);
    let mut number = 0;
    std::iter::from_fn(move || {
        let now = rest?;
        number += 1;
        let (line, after) = match memchr(b'\n', now) {
            Some(end) => (&now[..end], Some(&now[end + 1..])),
            None => (now, None),
        };
        rest = after;
        Some((number, line.trim_ascii_end()))
    })
    .filter(|(_, line)| !line.is_empty())
}

/// One frame's rows.
#[derive(Default)]
struct Frame {
    /// The numbers of the faces in the frame.
    faces: Vec<f32>,
    time: f32,
    /// The row of the followed face; the first row when the frame does not have it.
    row: Vec<f32>,
}

impl Frame {
    /// Whether the frame does not have the followed face. A single face is the followed one: the tracker lost it and gave it
    /// another number.
    fn lost(&self, followed: &mut Option<f32>) -> bool {
        match (&self.faces[..], &followed) {
            ([first, ..], None) | ([first], Some(_)) => {
                *followed = Some(*first);
                false
            }
            (faces, Some(face)) => !faces.contains(face),
            ([], None) => true,
        }
    }
}

/// Reads landmarks from the bytes of an OpenFace CSV; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, bytes: &[u8], coordinates: Coordinates) -> Result<Track> {
    let mut rows = lines(bytes).peekable();
    let &(_, first) =
        rows.peek().ok_or_else(|| Error::bad(path, "is empty; run OpenFace on the clip again"))?;
    let (layout, has_header) = Layout::new(path, first, coordinates)?;
    if has_header {
        rows.next();
    }
    let size = coordinates.count() * POINTS;
    let mut row = vec![0.0f32; size + 4];
    let (mut values, mut times) = (Vec::new(), Vec::new());
    let (mut frames, mut held, mut leading) = (0usize, 0usize, 0usize);
    let mut take = |frame: &Frame, lost: bool| {
        let side = |slot: Slot| frame.row[size + slot as usize];
        let tracked = if layout.has_success {
            side(Slot::Success) == 1.0
        } else {
            !layout.has_confidence || side(Slot::Confidence) >= LEAST_CONFIDENCE
        };
        if layout.has_timestamp {
            times.push(f64::from(side(Slot::Timestamp)));
        }
        frames += 1;
        if tracked && !lost && frame.row[..size].iter().all(|x| x.is_finite()) {
            values.extend_from_slice(&frame.row[..size]);
        } else {
            held += 1;
            match values.len().checked_sub(size) {
                Some(last) => values.extend_from_within(last..),
                None => leading += 1,
            }
        }
    };
    // A frame with several faces has several rows; the first face of the file is followed.
    let (mut followed, mut frame) = (None, Frame::default());
    for (number, line) in rows {
        layout.read_row(path, number, line, &mut row)?;
        let side = |slot: Slot| row[size + slot as usize];
        let (face, time) = (side(Slot::FaceId), side(Slot::Timestamp));
        let same_frame = !layout.has_timestamp || frame.time == time;
        if !frame.faces.is_empty() && same_frame && !frame.faces.contains(&face) {
            frame.faces.push(face);
            if followed == Some(face) {
                frame.row.clone_from(&row);
            }
            continue;
        }
        if !frame.faces.is_empty() {
            take(&frame, frame.lost(&mut followed));
        }
        frame = Frame { faces: vec![face], time, row: row.clone() };
    }
    if !frame.faces.is_empty() {
        take(&frame, frame.lost(&mut followed));
    }
    if frames == held {
        let why = if frames == 0 { "no frames" } else { "no frame with a face" };
        return Err(Error::bad(
            path,
            format!("{why} ({frames} rows); leave the sample out or track the clip again"),
        ));
    }
    if leading > 0 {
        let good = values[..size].to_vec();
        values.splice(0..0, good.iter().copied().cycle().take(leading * size));
    }
    Ok(Track {
        frames: Array::new([frames, POINTS, coordinates.count()], values)?,
        rate: median_rate(&times),
        held,
    })
}

/// Frames per second from timestamps in seconds, by their median difference.
fn median_rate(times: &[f64]) -> Option<f64> {
    let mut steps: Vec<f64> =
        times.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.0).collect();
    steps.sort_unstable_by(f64::total_cmp);
    let median = *steps.get(steps.len() / 2)?;
    (median.is_finite() && median > 1e-4).then(|| 1.0 / median)
}

#[cfg(test)]
mod tests;
