//! The contact sheet: an image of several frames of a video, with crop square and points, for visual inspection.

use crate::failure::{Failure, Kind, Result};
use data::formats::openface::Row;
use models::faces::{Picture, Square};
use std::path::Path;

/// Columns and rows of tiles; the side of a tile in pixels.
const ACROSS: usize = 6;
const DOWN: usize = 4;
const TILE: usize = 224;
/// The side of a small crop in a tile's corner.
const CORNER: usize = 56;
/// Side of a tile's view, relative to the crop.
const AROUND: f32 = 1.6;

const SEEN: [u8; 3] = [60, 220, 60];
const NOT_SEEN: [u8; 3] = [230, 40, 40];
const POINT: [u8; 3] = [255, 230, 0];

/// The content of a tile: a frame with its crop square, its points and the crop.
pub struct Tile<'a> {
    pub picture: &'a Picture<'a>,
    pub square: &'a Square,
    pub row: &'a Row,
    pub crop: &'a [u8],
}

/// A contact sheet of frames at equal distances, drawn in order.
pub struct Sheet {
    numbers: Vec<usize>,
    rows: usize,
    pixels: Vec<u8>,
}

impl Sheet {
    /// An empty sheet for a video of `frames` frames.
    pub fn new(frames: usize) -> Self {
        let tiles = frames.min(ACROSS * DOWN);
        let numbers = (0..tiles).map(|tile| tile * frames / tiles.max(1)).collect();
        let rows = tiles.div_ceil(ACROSS).max(1);
        Sheet { numbers, rows, pixels: vec![0; rows * TILE * ACROSS * TILE * 3] }
    }

    /// Draws a frame if it is on the sheet.
    pub fn take(&mut self, number: usize, tile: &Tile<'_>) {
        let Some(place) = self.numbers.iter().position(|&wanted| wanted == number) else { return };
        let Tile { picture, square, row, crop } = tile;
        let side = square.side * AROUND;
        let mut canvas = Canvas { pixels: bytes(picture.square(square.centre, side, TILE)) };
        let scale = TILE as f32 / side;
        let at = |[x, y]: [f32; 2]| {
            [x - square.centre[0], y - square.centre[1]]
                .map(|far| (far * scale + TILE as f32 / 2.0).floor() as i64)
        };
        let half = square.side / 2.0;
        let corner = |sign: f32| at([0, 1].map(|axis| square.centre[axis] + sign * half));
        let colour = if row.success { SEEN } else { NOT_SEEN };
        canvas.frame(corner(-1.0), corner(1.0), colour);
        if row.success {
            row.points.iter().for_each(|point| canvas.dot(at(*point), POINT));
        } else {
            canvas.frame([0; 2], [TILE as i64 - 1; 2], colour);
        }
        canvas.corner(crop);
        let (left, top) = (place % ACROSS * TILE, place / ACROSS * TILE);
        for (row, line) in canvas.pixels.chunks_exact(TILE * 3).enumerate() {
            let start = ((top + row) * ACROSS * TILE + left) * 3;
            if let Some(target) = self.pixels.get_mut(start..start + TILE * 3) {
                target.copy_from_slice(line);
            }
        }
    }

    /// Writes the sheet as PNG.
    ///
    /// # Errors
    /// Exit code 74 when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut file = Vec::new();
        let size = [ACROSS * TILE, self.rows * TILE].map(|side| side as u32);
        let mut encoder = png::Encoder::new(&mut file, size[0], size[1]);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let written =
            encoder.write_header().and_then(|mut writer| writer.write_image_data(&self.pixels));
        written.map_err(|error| {
            Failure::new(Kind::Bug, format!("{}: cannot be made: {error}", path.display()))
        })?;
        Ok(engine::checkpoint::write_whole(path, &file)?)
    }
}

/// The pixels of a tile. Drawing outside of it has no effect.
struct Canvas {
    pixels: Vec<u8>,
}

impl Canvas {
    fn set(&mut self, [x, y]: [i64; 2], colour: [u8; 3]) {
        let inside = |at: i64| usize::try_from(at).ok().filter(|&at| at < TILE);
        let Some((x, y)) = inside(x).zip(inside(y)) else { return };
        if let Some(pixel) = self.pixels.get_mut((y * TILE + x) * 3..(y * TILE + x) * 3 + 3) {
            pixel.copy_from_slice(&colour);
        }
    }

    fn frame(&mut self, [left, top]: [i64; 2], [right, bottom]: [i64; 2], colour: [u8; 3]) {
        let clamp = |at: i64| at.clamp(-1, TILE as i64);
        for x in clamp(left)..=clamp(right) {
            self.set([x, top], colour);
            self.set([x, bottom], colour);
        }
        for y in clamp(top)..=clamp(bottom) {
            self.set([left, y], colour);
            self.set([right, y], colour);
        }
    }

    /// Draws two by two pixels.
    fn dot(&mut self, [x, y]: [i64; 2], colour: [u8; 3]) {
        for place in [[x, y], [x + 1, y], [x, y + 1], [x + 1, y + 1]] {
            self.set(place, colour);
        }
    }

    /// Draws every second pixel of the crop at the lower right.
    fn corner(&mut self, crop: &[u8]) {
        let side = CORNER * 2;
        for (number, pixel) in crop.chunks_exact(3).enumerate() {
            let (x, y) = (number % side, number / side);
            if let ([red, green, blue], true) = (pixel, x % 2 == 0 && y % 2 == 0) {
                let place = [x, y].map(|at| (TILE - CORNER + at / 2) as i64);
                self.set(place, [*red, *green, *blue]);
            }
        }
    }
}

/// Rounds pixels from 0 to 255 to bytes.
pub fn bytes(pixels: Vec<[f32; 3]>) -> Vec<u8> {
    pixels.into_iter().flatten().map(|value| value.round().clamp(0.0, 255.0) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use models::faces::points::{POINTS, SIDE};

    #[test]
    fn tiles_show_squares_points_and_crops() {
        let grey = vec![100u8; 64 * 48 * 3];
        let picture = Picture::new(64, 48, &grey).unwrap();
        let square = Square { centre: [32.0, 24.0], side: 20.0 };
        let mut sheet = Sheet::new(100);
        let mut row =
            Row { time: 0.0, confidence: 1.0, success: true, points: [[30.0, 20.0]; POINTS] };
        let crop = vec![7; SIDE * SIDE * 3];
        let count = |sheet: &Sheet, colour: [u8; 3]| {
            sheet.pixels.chunks_exact(3).filter(|pixel| **pixel == colour).count()
        };
        sheet.take(1, &Tile { picture: &picture, square: &square, row: &row, crop: &crop });
        assert_eq!(count(&sheet, [100; 3]), 0, "frame 1 is not on the sheet");
        sheet.take(0, &Tile { picture: &picture, square: &square, row: &row, crop: &crop });
        assert_eq!((count(&sheet, POINT), count(&sheet, [7; 3])), (4, CORNER * CORNER));
        // A square of 140 pixels, of whose outline only a corner is hidden.
        assert!((500..=4 * 141).contains(&count(&sheet, SEEN)), "{}", count(&sheet, SEEN));
        row.success = false;
        sheet.take(4, &Tile { picture: &picture, square: &square, row: &row, crop: &crop });
        assert_eq!(count(&sheet, POINT), 4);
        assert!(count(&sheet, NOT_SEEN) > 4 * 140);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        sheet.write(&path).unwrap();
        let decoder =
            png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).unwrap()));
        let reader = decoder.read_info().unwrap();
        assert_eq!((reader.info().width, reader.info().height), (1344, 896));
    }
}
