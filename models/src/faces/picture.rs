//! Images on the host: summed-area tables, from which any region is resampled.

use engine::{Error, Result};
use rayon::prelude::*;

/// Channels of an image.
const CHANNELS: usize = 3;

/// An RGB image: rows from the top, three bytes for each pixel.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    width: usize,
    height: usize,
    pixels: &'a [u8],
}

/// A rectangle of pixels, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First column, from 0.
    pub left: usize,
    /// First row, from 0.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl<'a> Picture<'a> {
    /// An image from its bytes `[height, width, 3]`.
    ///
    /// # Errors
    /// When there are not 3 bytes for each pixel, or no pixels.
    pub fn new(width: usize, height: usize, pixels: &'a [u8]) -> Result<Self> {
        let count = width.checked_mul(height).and_then(|count| count.checked_mul(CHANNELS));
        if count != Some(pixels.len()) || pixels.is_empty() {
            let expected = kernels::Shape::new(&[height, width, CHANNELS]);
            return Err(Error::Count { what: "bytes of a picture", got: pixels.len(), expected });
        }
        Ok(Picture { width, height, pixels })
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The square with this side and centre (in pixels; the centre of the first pixel is at 0.5), resampled to `size`
    /// x `size` pixels. Each output is the mean of a grid of bilinearly interpolated points that are at most one
    /// pixel apart. Outside of the image its edge is repeated.
    pub fn square(&self, centre: [f32; 2], side: f32, size: usize) -> Vec<[f32; CHANNELS]> {
        let taps = |axis: usize, extent: usize| -> Vec<Taps> {
            let start = centre[axis] - side / 2.0;
            (0..size).map(|number| Taps::new(start, side / size as f32, number, extent)).collect()
        };
        let (columns, rows) = (taps(0, self.width), taps(1, self.height));
        // Horizontally first, in the rows that are needed.
        let first = rows.iter().map(|taps| taps.first).min().unwrap_or(0);
        let last = rows.iter().map(|taps| taps.first + taps.weights.len()).max().unwrap_or(first);
        let across = |row: usize| -> Vec<[f32; CHANNELS]> {
            let line = &self.pixels[row * self.width * CHANNELS..][..self.width * CHANNELS];
            let mean = |taps: &Taps| {
                let mut sum = [0.0; CHANNELS];
                let pixels = line[taps.first * CHANNELS..].chunks_exact(CHANNELS);
                for (&weight, pixel) in taps.weights.iter().zip(pixels) {
                    sum.iter_mut().zip(pixel).for_each(|(s, &p)| *s += weight * f32::from(p));
                }
                sum
            };
            columns.iter().map(mean).collect()
        };
        let lines: Vec<Vec<[f32; CHANNELS]>> = (first..last).into_par_iter().map(across).collect();
        let down = |taps: &Taps| {
            let mut sums = vec![[0.0; CHANNELS]; size];
            for (&weight, line) in taps.weights.iter().zip(&lines[taps.first - first..]) {
                for (sum, pixel) in sums.iter_mut().zip(line) {
                    sum.iter_mut().zip(pixel).for_each(|(s, &p)| *s += weight * p);
                }
            }
            sums
        };
        rows.iter().flat_map(down).collect()
    }
}

/// The pixels of one output along an axis: from `first` on, with these weights.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Taps {
    /// The taps of output `number` on an axis of `extent` pixels; outputs start at `start` and are `step` wide.
    fn new(start: f32, step: f32, number: usize, extent: usize) -> Self {
        // More than 16 points are not needed for the faces for which the crop sizes are made.
        let grid = (step.ceil() as usize).clamp(1, 16);
        let share = 1.0 / grid as f32;
        let last = extent.saturating_sub(1) as i64;
        let points = (0..grid).map(|point| {
            let at = start + (number as f32 + (point as f32 + 0.5) * share) * step - 0.5;
            let floor = at.floor();
            (floor as i64, at - floor)
        });
        let inside = |at: i64| at.clamp(0, last) as usize;
        let points: Vec<(i64, f32)> = points.collect();
        let first = points.iter().map(|&(at, _)| inside(at)).min().unwrap_or(0);
        let end = points.iter().map(|&(at, _)| inside(at.saturating_add(1))).max().unwrap_or(first);
        let mut weights = vec![0.0; end + 1 - first];
        for (at, beyond) in points {
            weights[inside(at) - first] += share * (1.0 - beyond);
            weights[inside(at.saturating_add(1)) - first] += share * beyond;
        }
        Taps { first, weights }
    }
}

/// The summed-area table of an image.
#[derive(Debug, Clone)]
pub struct Sums {
    width: usize,
    height: usize,
    /// `[height + 1, width + 1, 3]`, wrapping. Differences are correct for regions of up to 2^24 pixels.
    sums: Vec<u32>,
}

impl Sums {
    /// Computes the summed-area table of an image.
    pub fn new(picture: &Picture<'_>) -> Self {
        let Picture { width, height, pixels } = *picture;
        let stride = (width + 1) * CHANNELS;
        let mut sums = vec![0u32; (height + 1) * stride];
        for (row, pixels) in pixels.chunks_exact(width * CHANNELS).enumerate() {
            let (before, from_here) = sums.split_at_mut((row + 1) * stride);
            let (above, here) = (&before[row * stride..], &mut from_here[..stride]);
            let mut line = [0u32; CHANNELS];
            let next = here.chunks_exact_mut(CHANNELS).zip(above.chunks_exact(CHANNELS)).skip(1);
            for ((sum, above), pixel) in next.zip(pixels.chunks_exact(CHANNELS)) {
                for channel in 0..CHANNELS {
                    line[channel] = line[channel].wrapping_add(u32::from(pixel[channel]));
                    sum[channel] = above[channel].wrapping_add(line[channel]);
                }
            }
        }
        Sums { width, height, sums }
    }

    /// The image's width and height.
    pub fn extents(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    /// Resamples a region to `output` `[height, width, 3]` of (RGB - 127.5) / 128. Each output is the mean of the
    /// pixels that its part of the region overlaps (PyTorch's adaptive average pooling, `area` interpolation).
    ///
    /// # Panics
    /// When the region is empty or not inside the image.
    pub fn resample(&self, region: Region, width: usize, height: usize, output: &mut [f32]) {
        assert!(
            region.left + region.width <= self.width && region.top + region.height <= self.height
        );
        assert!(region.width > 0 && region.height > 0 && output.len() == width * height * CHANNELS);
        let stride = (self.width + 1) * CHANNELS;
        let ends = |start: usize, extent: usize, count: usize, number: usize| {
            let (first, last) = (number * extent / count, ((number + 1) * extent).div_ceil(count));
            (start + first, start + last)
        };
        let columns: Vec<(usize, usize)> =
            (0..width).map(|x| ends(region.left, region.width, width, x)).collect();
        let row = |(y, output): (usize, &mut [f32])| {
            let (top, bottom) = ends(region.top, region.height, height, y);
            let (above, below) = (&self.sums[top * stride..], &self.sums[bottom * stride..]);
            let pixels = output.chunks_exact_mut(CHANNELS);
            for (output, &(left, right)) in pixels.zip(&columns) {
                let share = 1.0 / ((right - left) * (bottom - top)) as f32;
                let (left, right) = (left * CHANNELS, right * CHANNELS);
                for (channel, output) in output.iter_mut().enumerate() {
                    let sum = below[right + channel]
                        .wrapping_sub(below[left + channel])
                        .wrapping_sub(above[right + channel])
                        .wrapping_add(above[left + channel]);
                    *output = (sum as f32 * share - 127.5) * 0.007_812_5;
                }
            }
        };
        if width * height < 4096 {
            output.chunks_exact_mut(width * CHANNELS).enumerate().for_each(row);
        } else {
            output.par_chunks_exact_mut(width * CHANNELS).enumerate().for_each(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: usize, height: usize) -> Vec<u8> {
        let pixel = |n: usize| {
            let (x, y) = (n % width, n / width);
            [(7 * x + 3 * y) % 256, (x * y) % 256, 255 - (x + y) % 200].map(|v| v as u8)
        };
        (0..width * height).flat_map(pixel).collect()
    }

    #[test]
    fn resampling_is_the_mean_of_the_pixels_touched() {
        let (width, height) = (13, 9);
        let pixels = gradient(width, height);
        let sums = Sums::new(&Picture::new(width, height, &pixels).unwrap());
        let region = Region { left: 2, top: 1, width: 10, height: 7 };
        for (w, h) in [(4, 3), (10, 7), (1, 1), (23, 15)] {
            let mut output = vec![f32::NAN; w * h * 3];
            sums.resample(region, w, h, &mut output);
            for (number, &got) in output.iter().enumerate() {
                let (x, y, channel) = (number / 3 % w, number / 3 / w, number % 3);
                let columns = x * region.width / w..((x + 1) * region.width).div_ceil(w);
                let rows = y * region.height / h..((y + 1) * region.height).div_ceil(h);
                let (mut sum, mut count) = (0.0, 0.0);
                for row in rows {
                    for column in columns.clone() {
                        let at = (row + region.top) * width + column + region.left;
                        sum += f64::from(pixels[at * 3 + channel]);
                        count += 1.0;
                    }
                }
                let expected = (sum / count - 127.5) / 128.0;
                assert!((f64::from(got) - expected).abs() < 1e-6, "{got} {expected}");
            }
        }
    }

    #[test]
    fn squares_keep_a_slope_and_go_on_at_the_edge() {
        // Red is the column, green the row, blue constant.
        let (width, height) = (40, 30);
        let pixels: Vec<u8> = (0..width * height)
            .flat_map(|n| [(n % width * 4) as u8, (n / width * 4) as u8, 9])
            .collect();
        let picture = Picture::new(width, height, &pixels).unwrap();
        for (side, size) in [(10.0f32, 10), (20.0, 7), (8.0, 31)] {
            let crop = picture.square([20.0, 15.0], side, size);
            let at = |axis: f32, n: usize| {
                4.0 * (axis - side / 2.0 + (n as f32 + 0.5) * side / size as f32 - 0.5)
            };
            for (number, pixel) in crop.iter().enumerate() {
                let expected = [at(20.0, number % size), at(15.0, number / size), 9.0];
                for (got, expected) in pixel.iter().zip(expected) {
                    assert!((got - expected).abs() < 1e-3, "{pixel:?} {expected}");
                }
            }
        }
        let outside = picture.square([-50.0, 100.0], 10.0, 4);
        assert!(outside.iter().all(|pixel| *pixel == [0.0, 116.0, 9.0]), "{outside:?}");
    }

    #[test]
    fn a_picture_has_all_its_bytes() {
        assert!(Picture::new(2, 2, &[0; 11]).is_err());
        assert!(Picture::new(0, 2, &[]).is_err());
        assert!(Picture::new(usize::MAX, 2, &[0; 12]).is_err());
    }
}
