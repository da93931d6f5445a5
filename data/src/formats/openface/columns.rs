//! Columns of OpenFace's tables: by name, by position without a header, or by the look of the values.

use super::{Coordinates, POINTS};

/// For files without a header: the number of columns before the landmarks, by the total number of columns (RAVDESS,
/// OpenFace 2.x without the face number, generic OpenFace 2.x).
pub(super) const HEADERLESS: [(usize, usize); 3] = [(712, 297), (713, 298), (714, 299)];

/// Ranges of points along one contour of the face: jaw, brows, nose, eyes, lips.
const CONTOURS: [std::ops::Range<usize>; 9] =
    [0..17, 17..22, 22..27, 27..31, 31..36, 36..42, 42..48, 48..60, 60..68];

/// The column of `name` in a file without a header and with `width` columns.
pub(super) fn headerless(width: usize, name: &str) -> Option<usize> {
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
    /// Finds the columns by name; `None` when a point is missing.
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
