//! Face frames for a video network: `.npy` files of `u8` frames, resized once; a few frames of a window at load time.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::formats::npy;
use crate::{Array, Error, Result};

/// Mean of red, green and blue over Kinetics-400, of values in [0, 1] (torchvision's video networks).
pub const KINETICS_MEAN: [f32; 3] = [0.43216, 0.394666, 0.37645];
/// Deviation of red, green and blue over Kinetics-400, of values in [0, 1].
pub const KINETICS_DEVIATION: [f32; 3] = [0.22803, 0.22145, 0.216989];
/// Longest clip that is believed, in frames; bounds memory against a file of tiny frames.
const MOST_FRAMES: usize = 20_000;

/// Settings of the video feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipSettings {
    /// Height of the frames given, pixels.
    pub height: usize,
    /// Width of the frames given, pixels.
    pub width: usize,
    /// Frames per second of the files; `.npy` does not say.
    pub frames_per_second: f64,
}

impl Default for ClipSettings {
    fn default() -> Self {
        Self { height: 112, width: 112, frames_per_second: 30_000.0 / 1_001.0 }
    }
}

impl ClipSettings {
    pub(super) fn check(&self) -> Result<()> {
        let believed = 1..=1024;
        if believed.contains(&self.height)
            && believed.contains(&self.width)
            && self.frames_per_second > 0.0
        {
            return Ok(());
        }
        Err(Error::config(
            "clip settings: height and width must lie between 1 and 1024 and frames_per_second above 0",
        ))
    }

    /// Reads `u8` frames `[T, H, W, 3]`, `[T, H, W, 1]` or `[T, H, W]` (grey is repeated) and resizes them:
    /// `[T, height, width, 3]`.
    ///
    /// # Errors
    /// Bad data when the file holds no such frames.
    pub fn read(&self, path: &Path) -> Result<Array<u8>> {
        let frames = npy::map::<u8>(path)?;
        let (length, from, channels) = match *frames.shape() {
            [t, h, w, c @ (1 | 3)] => (t, [h, w], c),
            [t, h, w] => (t, [h, w], 1),
            _ => (0, [0, 0], 0),
        };
        if length == 0 || length > MOST_FRAMES || from.contains(&0) {
            return Err(Error::bad(
                path,
                format!(
                    "shape {:?} where 1 to {MOST_FRAMES} frames [T, H, W, 3] are needed; save the frames again",
                    frames.shape()
                ),
            ));
        }
        let rows = Taps::new(from[0], self.height);
        let columns = Taps::new(from[1], self.width);
        let mut values = Vec::with_capacity(length * self.height * self.width * 3);
        for frame in frames.chunks_exact(from[0] * from[1] * channels) {
            resize(frame, from[1], channels, &rows, &columns, &mut values);
        }
        Array::new([length, self.height, self.width, 3], values)
    }
}

/// For each output place along an axis: the two input places and the weight of the second, in 1/256.
struct Taps(Vec<(usize, usize, u32)>);

impl Taps {
    /// Half-pixel centres, as PyTorch's `align_corners=False`.
    fn new(from: usize, to: usize) -> Self {
        let step = from as f64 / to as f64;
        Self(
            (0..to)
                .map(|i| {
                    let at = ((i as f64 + 0.5) * step - 0.5).clamp(0.0, (from - 1) as f64);
                    let low = at as usize;
                    (low, (low + 1).min(from - 1), ((at - low as f64) * 256.0).round() as u32)
                })
                .collect(),
        )
    }
}

/// Appends one frame, bilinearly resized, as RGB.
fn resize(
    frame: &[u8],
    width: usize,
    channels: usize,
    rows: &Taps,
    columns: &Taps,
    out: &mut Vec<u8>,
) {
    for &(top, bottom, down) in &rows.0 {
        for &(left, right, across) in &columns.0 {
            let pixel = |row: usize, column: usize, channel: usize| {
                u32::from(frame[(row * width + column) * channels + channel.min(channels - 1)])
            };
            out.extend([0, 1, 2].map(|channel| {
                let mix = |row| {
                    pixel(row, left, channel) * (256 - across) + pixel(row, right, channel) * across
                };
                let sum = mix(top) * (256 - down) + mix(bottom) * down;
                ((sum + (1 << 15)) >> 16) as u8
            }));
        }
    }
}

/// `count` frames spread evenly over the `length` frames from `start`: `int(linspace(start, start + length - 1, count))`.
pub fn frame_indices(start: usize, length: usize, count: usize) -> Vec<usize> {
    let last = length.saturating_sub(1);
    let step = last as f64 / count.saturating_sub(1).max(1) as f64;
    (0..count)
        .map(|i| {
            if i > 0 && i + 1 == count {
                start + last
            } else {
                (i as f64 * step + start as f64) as usize
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spread_as_numpy_does() {
        assert_eq!(frame_indices(0, 90, 8), [0, 12, 25, 38, 50, 63, 76, 89]);
        assert_eq!(frame_indices(5, 3, 8), [5, 5, 5, 5, 6, 6, 6, 7]);
        assert_eq!((frame_indices(4, 9, 1), frame_indices(4, 1, 2)), (vec![4], vec![4, 4]));
    }

    #[test]
    fn frames_are_resized_and_grey_becomes_rgb() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames.npy");
        let settings = |height, width| ClipSettings { height, width, ..ClipSettings::default() };
        npy::write(&path, &Array::new([1, 2, 2], vec![0u8, 100, 100, 200]).unwrap()).unwrap();
        let up = settings(1, 4).read(&path).unwrap();
        assert_eq!(
            (up.shape(), up.data()),
            (&[1usize, 1, 4, 3][..], &[50u8, 50, 50, 75, 75, 75, 125, 125, 125, 150, 150, 150][..])
        );
        let same = Array::new([2, 2, 1, 3], (0..12).collect::<Vec<u8>>()).unwrap();
        npy::write(&path, &same).unwrap();
        assert_eq!(settings(2, 1).read(&path).unwrap(), same);
        npy::write(&path, &Array::new([4], vec![0u8; 4]).unwrap()).unwrap();
        assert!(settings(2, 2).read(&path).unwrap_err().to_string().contains("[T, H, W, 3]"));
    }
}
