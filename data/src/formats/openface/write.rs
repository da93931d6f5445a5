//! Writing of landmarks in OpenFace's format.

use std::io::Write;
use std::path::Path;

use super::super::write_aside;
use super::POINTS;
use crate::Result;

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
