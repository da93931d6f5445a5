//! A small antialiased canvas: filled polygons and soft shades, in face units.
//!
//! Only additions, multiplications and divisions in a fixed order, so that the bytes are the same on every machine.

/// Sub-scanlines per row; across a row the coverage is exact.
const SUBROWS: usize = 4;
/// Smallest half-width of a shade, in pixels: thinner shades are drawn with this width and less strength.
const THINNEST: f32 = 0.75;

pub(super) type Colour = [f32; 3];
pub(super) type Place = [f32; 2];

/// A square picture with the transform from face units to pixels.
pub(super) struct Canvas {
    size: usize,
    pixels: Vec<Colour>,
    coverage: Vec<f32>,
    crossings: Vec<f32>,
    scale: f32,
    origin: Place,
}

impl Canvas {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size,
            pixels: vec![[0.0; 3]; size * size],
            coverage: vec![0.0; size],
            crossings: Vec::new(),
            scale: 1.0,
            origin: [0.0; 2],
        }
    }

    /// A canvas around `centre` (face units) with `scale` pixels per face unit.
    pub(super) fn aim(&mut self, centre: Place, scale: f32) {
        let middle = self.size as f32 / 2.0;
        self.scale = scale;
        self.origin = [middle - centre[0] * scale, middle - centre[1] * scale];
    }

    pub(super) fn pixels(&self) -> &[Colour] {
        &self.pixels
    }

    fn place_of(&self, column: usize, row: usize) -> Place {
        let unit = 1.0 / self.scale;
        [(column as f32 + 0.5 - self.origin[0]) * unit, (row as f32 + 0.5 - self.origin[1]) * unit]
    }

    /// Paints every pixel.
    pub(super) fn fill_all(&mut self, colour: impl Fn(Place) -> Colour) {
        for row in 0..self.size {
            for column in 0..self.size {
                self.pixels[row * self.size + column] = colour(self.place_of(column, row));
            }
        }
    }

    /// Fills a polygon (even-odd) with a colour that may vary with position.
    pub(super) fn fill(
        &mut self,
        corners: &[Place],
        opacity: f32,
        colour: impl Fn(Place) -> Colour,
    ) {
        let to_pixel =
            |p: Place| [p[0] * self.scale + self.origin[0], p[1] * self.scale + self.origin[1]];
        let corners: Vec<Place> = corners.iter().map(|&corner| to_pixel(corner)).collect();
        let low = corners.iter().map(|p| p[1]).fold(f32::MAX, f32::min).max(0.0) as usize;
        let high = corners.iter().map(|p| p[1]).fold(0.0, f32::max).min(self.size as f32 - 1.0);
        for row in low..=high as usize {
            let Some((first, last)) = self.cover_row(&corners, row) else { continue };
            for column in first..=last {
                let share = self.coverage[column] * opacity;
                if share > 0.0 {
                    let paint = colour(self.place_of(column, row));
                    let pixel = &mut self.pixels[row * self.size + column];
                    for (old, new) in pixel.iter_mut().zip(paint) {
                        *old += (new - *old) * share;
                    }
                }
            }
        }
    }

    /// Coverage of a row's pixels by a polygon in pixel units; the columns touched, if any.
    fn cover_row(&mut self, corners: &[Place], row: usize) -> Option<(usize, usize)> {
        self.coverage.fill(0.0);
        let (mut first, mut last) = (self.size, 0);
        for subrow in 0..SUBROWS {
            let y = row as f32 + (subrow as f32 + 0.5) / SUBROWS as f32;
            self.crossings.clear();
            let mut from = corners[corners.len() - 1];
            for &to in corners {
                if (from[1] <= y) != (to[1] <= y) {
                    self.crossings
                        .push(from[0] + (y - from[1]) * (to[0] - from[0]) / (to[1] - from[1]));
                }
                from = to;
            }
            self.crossings.sort_unstable_by(f32::total_cmp);
            for pair in self.crossings.chunks_exact(2) {
                let left = pair[0].max(0.0);
                let right = pair[1].min(self.size as f32);
                if right <= left {
                    continue;
                }
                let end = (right.ceil() as usize).min(self.size);
                for column in left as usize..end {
                    let inside = right.min(column as f32 + 1.0) - left.max(column as f32);
                    self.coverage[column] += inside / SUBROWS as f32;
                }
                first = first.min(left as usize);
                last = last.max(end - 1);
            }
        }
        (first <= last).then_some((first, last))
    }

    /// A thick line from `from` to `to` as a filled polygon.
    pub(super) fn stroke(&mut self, line: &[Place], width: f32, opacity: f32, colour: Colour) {
        let mut outline: Vec<Place> = line.iter().map(|p| [p[0], p[1] - width / 2.0]).collect();
        outline.extend(line.iter().rev().map(|p| [p[0], p[1] + width / 2.0]));
        self.fill(&outline, opacity, |_| colour);
    }

    /// Multiplies an ellipse's pixels by `1 + tint`, fading to nothing at its rim. `axis` is the direction of the
    /// first radius and of any length.
    pub(super) fn shade(&mut self, centre: Place, axis: Place, radii: [f32; 2], tint: Colour) {
        let length = (axis[0] * axis[0] + axis[1] * axis[1]).sqrt().max(1e-6);
        let along = [axis[0] / length, axis[1] / length];
        let thinnest = THINNEST / self.scale;
        let drawn = radii.map(|radius| radius.max(thinnest));
        let fainter = radii[0] * radii[1] / (drawn[0] * drawn[1]);
        let reach = drawn[0].max(drawn[1]);
        let bounds = |axis: usize| {
            let low = (centre[axis] - reach) * self.scale + self.origin[axis];
            let high = (centre[axis] + reach) * self.scale + self.origin[axis];
            (low.max(0.0) as usize, high.clamp(0.0, self.size as f32) as usize)
        };
        let ((left, right), (top, bottom)) = (bounds(0), bounds(1));
        for row in top..(bottom + 1).min(self.size) {
            for column in left..(right + 1).min(self.size) {
                let place = self.place_of(column, row);
                let away = [place[0] - centre[0], place[1] - centre[1]];
                let u = (away[0] * along[0] + away[1] * along[1]) / drawn[0];
                let v = (away[1] * along[0] - away[0] * along[1]) / drawn[1];
                let inside = 1.0 - u * u - v * v;
                if inside > 0.0 {
                    let strength = inside * inside * fainter;
                    let pixel = &mut self.pixels[row * self.size + column];
                    for (value, tint) in pixel.iter_mut().zip(tint) {
                        *value *= (1.0 + tint * strength).max(0.0);
                    }
                }
            }
        }
    }

    /// A soft dark or bright crease between two places, `width` face units across.
    pub(super) fn crease(&mut self, from: Place, to: Place, width: f32, strength: f32) {
        if strength.abs() > 1e-3 {
            let axis = [to[0] - from[0], to[1] - from[1]];
            let half = (axis[0] * axis[0] + axis[1] * axis[1]).sqrt() / 2.0;
            let centre = [(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0];
            self.shade(centre, axis, [half * 1.2, width / 2.0], [strength; 3]);
        }
    }
}
