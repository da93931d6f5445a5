//! Facial landmarks from the CSV files that OpenFace writes (2.1 as RAVDESS ships it, generic 2.x, and older).
//!
//! Columns are found by their trimmed header name, never by position; positions are used only for a file without a
//! header row. A frame without a face holds the last good one, so that the clip keeps its length and its timing.

use std::path::Path;

use memchr::{memchr, memchr_iter};
use serde::{Deserialize, Serialize};

use crate::{Array, Error, Result};

/// Points of the landmark scheme (iBUG 68).
pub const POINTS: usize = 68;
/// Frames with less tracking confidence count as "no face" where the file has no `success` column.
const LEAST_CONFIDENCE: f32 = 0.5;
/// Leading columns before the landmarks in files without a header, by the number of columns in all
/// (RAVDESS's own layout, OpenFace 2.x without the face number, generic OpenFace 2.x).
const HEADERLESS: [(usize, usize); 3] = [(712, 297), (713, 298), (714, 299)];

/// Which coordinates to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// `x_*`, `y_*`: pixels in the image.
    #[default]
    Image,
    /// `X_*`, `Y_*`, `Z_*`: millimetres in front of the camera.
    Space,
}

impl Coordinates {
    /// Numbers a point: 2 in the image, 3 in space.
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
    /// Frames per second from the median step of the timestamps, when the file has them.
    pub rate: Option<f64>,
    /// How many frames had no face and hold another frame's points.
    pub held: usize,
}

/// Reads an OpenFace CSV.
///
/// # Errors
/// Bad data with line and column when it is no OpenFace CSV, a row is cut short or holds something that is no number,
/// or no frame shows a face.
pub fn read(path: &Path, coordinates: Coordinates) -> Result<Track> {
    let bytes = std::fs::read(path).map_err(|e| Error::reading(path, e))?;
    parse(path, &bytes, coordinates)
}

/// Where the wanted numbers stand in a row.
struct Layout {
    /// Columns in all.
    width: usize,
    /// `(column, place in the row buffer)`, by column. Places: points first, then the four of [`Slot`].
    wanted: Vec<(usize, usize)>,
    has_success: bool,
    has_confidence: bool,
    has_timestamp: bool,
}

/// Numbers beside the points, in the row buffer after them.
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
        let find = |name: &str| -> Option<usize> {
            match has_header {
                true => names.iter().position(|&found| found == name),
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

    /// Fills `row` with the wanted numbers of one line.
    fn read_row(&self, path: &Path, number: usize, line: &[u8], row: &mut [f32]) -> Result<()> {
        let mut commas = memchr_iter(b',', line);
        // Columns that ended so far, and where the next one starts (None after the last).
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

/// Lines with their numbers from 1, without line ends, blank ones left out.
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

/// Parses the bytes of an OpenFace CSV; `path` is for messages.
fn parse(path: &Path, bytes: &[u8], coordinates: Coordinates) -> Result<Track> {
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
    let (mut frames, mut held, mut leading, mut face) = (0usize, 0usize, 0usize, None);
    for (number, line) in rows {
        layout.read_row(path, number, line, &mut row)?;
        let side = |slot: Slot| row[size + slot as usize];
        // Several faces give several rows a frame; the first face is the one followed.
        if *face.get_or_insert(side(Slot::FaceId)) != side(Slot::FaceId) {
            continue;
        }
        let tracked = if layout.has_success {
            side(Slot::Success) == 1.0
        } else {
            !layout.has_confidence || side(Slot::Confidence) >= LEAST_CONFIDENCE
        };
        if layout.has_timestamp {
            times.push(f64::from(side(Slot::Timestamp)));
        }
        frames += 1;
        if tracked && row[..size].iter().all(|x| x.is_finite()) {
            values.extend_from_slice(&row[..size]);
        } else {
            held += 1;
            match values.len().checked_sub(size) {
                Some(last) => values.extend_from_within(last..),
                None => leading += 1,
            }
        }
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

/// Frames per second from timestamps in seconds, by their median step.
fn median_rate(times: &[f64]) -> Option<f64> {
    let mut steps: Vec<f64> =
        times.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.0).collect();
    steps.sort_unstable_by(f64::total_cmp);
    let median = *steps.get(steps.len() / 2)?;
    (median.is_finite() && median > 1e-4).then(|| 1.0 / median)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A CSV with `leading` columns, then 2-D and 3-D points; point p of frame t is (100 t + p, -p).
    fn csv(leading: &[&str], frames: &[(f32, f32)], padded: bool) -> String {
        let mut names: Vec<String> = leading.iter().map(|s| s.to_string()).collect();
        for prefix in ["x_", "y_", "X_", "Y_", "Z_"] {
            names.extend((0..POINTS).map(|p| format!("{prefix}{p}")));
        }
        let mut text = names.join(if padded { ", " } else { "," }) + "\r\n";
        for (t, &(confidence, success)) in frames.iter().enumerate() {
            let mut row: Vec<String> = leading
                .iter()
                .map(|&name| match name {
                    "timestamp" => format!("{:.3}", t as f32 / 30.0),
                    "confidence" => confidence.to_string(),
                    "success" => success.to_string(),
                    _ => "0".into(),
                })
                .collect();
            row.extend((0..POINTS).map(|p| (100 * t + p).to_string()));
            row.extend((0..POINTS).map(|p| format!("-{p}")));
            row.extend((0..3 * POINTS).map(|i| format!("{i}.5")));
            text += &(row.join(", ") + "\n");
        }
        text
    }

    fn track(text: &str, coordinates: Coordinates) -> Result<Track> {
        parse(Path::new("clip.csv"), text.as_bytes(), coordinates)
    }

    #[test]
    fn columns_are_found_by_name_in_any_layout() {
        for leading in [
            &["frame", "timestamp", "confidence"][..],
            &["frame", "face_id", "timestamp", "confidence", "success"],
            &["gaze_0_x", "success", "timestamp"],
        ] {
            let found = track(&csv(leading, &[(0.9, 1.0); 4], true), Coordinates::Image).unwrap();
            assert_eq!(found.frames.shape(), [4, 68, 2]);
            assert_eq!(found.frames.data()[(2 * 68 + 5) * 2..][..2], [205.0, -5.0]);
            assert!((found.rate.unwrap() - 30.0).abs() < 1.0);
            let space = track(&csv(leading, &[(0.9, 1.0); 2], false), Coordinates::Space).unwrap();
            assert_eq!(space.frames.data()[3..6], [1.5, 69.5, 137.5]);
        }
    }

    #[test]
    fn frames_without_a_face_hold_the_last_good_one() {
        let frames = [(0.9, 0.0), (0.9, 1.0), (0.1, 0.0), (0.1, 1.0)];
        let firsts = |leading: &[&str]| {
            let found = track(&csv(leading, &frames, false), Coordinates::Image).unwrap();
            let firsts: Vec<f32> = found.frames.data().chunks(136).map(|frame| frame[0]).collect();
            (firsts, found.held)
        };
        assert_eq!(firsts(&["success"]), (vec![100.0, 100.0, 100.0, 300.0], 2));
        assert_eq!(firsts(&["confidence"]), (vec![0.0, 100.0, 100.0, 100.0], 2));
        let none = track(&csv(&["success"], &[(1.0, 0.0); 3], false), Coordinates::Image);
        assert!(none.unwrap_err().to_string().contains("no frame with a face (3 rows)"));
    }

    #[test]
    fn positions_serve_only_where_there_is_no_header() {
        for (width, first) in HEADERLESS {
            let row: Vec<String> =
                (0..width).map(|c| if c < 5 { "1".into() } else { c.to_string() }).collect();
            let found = track(&row.join(","), Coordinates::Image).unwrap();
            assert_eq!(found.frames.data()[..2], [first as f32, (first + POINTS) as f32]);
        }
        let message = track("1,2,3\n", Coordinates::Image).unwrap_err().to_string();
        assert!(message.starts_with("clip.csv:1: no header row, and 3 columns"), "{message}");
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let message = track("frame, AU01_r\n0, 1\n", Coordinates::Image).unwrap_err().to_string();
        assert!(
            message.contains("no column `x_0`") && message.contains("frame, AU01_r"),
            "{message}"
        );
        let good = csv(&["frame"], &[(1.0, 1.0); 2], false);
        let cut = &good[..good.len() - 30];
        assert!(
            track(cut, Coordinates::Image).unwrap_err().to_string().starts_with("clip.csv:3: 3")
        );
        let wrong = good.replacen("101,", "1o1,", 1);
        let message = track(&wrong, Coordinates::Image).unwrap_err().to_string();
        assert!(message.starts_with("clip.csv:3:3: `1o1` is no number"), "{message}");
    }

    proptest! {
        #[test]
        fn damage_never_panics(cut in 0usize..4000, at in 0usize..4000, byte: u8) {
            let mut bytes = csv(&["timestamp", "confidence"], &[(1.0, 1.0); 2], false).into_bytes();
            bytes.truncate(bytes.len().saturating_sub(cut));
            if let Some(value) = bytes.get_mut(at) { *value = byte; }
            let _ = parse(Path::new("clip.csv"), &bytes, Coordinates::Space);
        }
    }
}
