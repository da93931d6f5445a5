//! Face frames for a video network: `.npy` files of `u8` frames, or videos, resized once; a few frames of a window at
//! load time.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::resize::Resize;
use crate::formats::{map_file, npy, video};
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
    /// Frames per second of `.npy` files, which do not say; videos do.
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

    /// Reads a clip as `[T, height, width, 3]`, and its frames a second: a video, of whose frames the middle is taken
    /// in the proportions of the clip, or a `.npy` of `u8` frames `[T, H, W, 3]`, `[T, H, W, 1]` or `[T, H, W]` (grey
    /// is repeated), which are taken whole.
    ///
    /// # Errors
    /// Bad data when the file holds no such frames.
    pub fn read(&self, path: &Path) -> Result<(Array<u8>, f64)> {
        let bytes = map_file(path)?;
        if video::is_video(&bytes) {
            return self.read_video(path, &bytes);
        }
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
        let mut resize = Resize::new(from, [0, 0], from, [self.height, self.width], channels);
        let mut values = Vec::with_capacity(length * self.height * self.width * 3);
        for frame in frames.chunks_exact(from[0] * from[1] * channels) {
            resize.append(frame, &mut values);
        }
        Ok((Array::new([length, self.height, self.width, 3], values)?, self.frames_per_second))
    }

    /// Reads a video whose file holds `bytes`, as [`ClipSettings::read`]; `path` is for messages.
    ///
    /// # Errors
    /// See [`video::decode`].
    pub fn read_video(&self, path: &Path, bytes: &[u8]) -> Result<(Array<u8>, f64)> {
        let mut values = Vec::new();
        let mut resize: Option<([usize; 2], Resize)> = None;
        let info = video::decode(path, bytes, &mut |frame| {
            let rgb = frame.rgb()?;
            let size = [rgb.shape()[0], rgb.shape()[1]];
            if resize.as_ref().is_none_or(|(known, _)| *known != size) {
                let (start, kept) = middle(size, [self.height, self.width]);
                resize = Some((size, Resize::new(size, start, kept, [self.height, self.width], 3)));
            }
            if values.len() >= MOST_FRAMES * self.height * self.width * 3 {
                return Err(Error::bad(
                    path,
                    format!("more than {MOST_FRAMES} frames; cut the video into clips"),
                ));
            }
            if let Some((_, resize)) = &mut resize {
                resize.append(rgb.data(), &mut values);
            }
            Ok(())
        })?;
        let shape = [info.frames, self.height, self.width, 3];
        Ok((Array::new(shape, values)?, info.frames_per_second))
    }
}

/// The largest part in the middle of a frame with the proportions of `to`: its first row and column, and its size.
fn middle([height, width]: [usize; 2], to: [usize; 2]) -> ([usize; 2], [usize; 2]) {
    let kept = [
        (width * to[0]).div_ceil(to[1]).clamp(1, height),
        (height * to[1]).div_ceil(to[0]).clamp(1, width),
    ];
    ([(height - kept[0]) / 2, (width - kept[1]) / 2], kept)
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
        let (up, rate) = settings(1, 4).read(&path).unwrap();
        assert!((rate - 29.97).abs() < 0.01);
        assert_eq!(
            (up.shape(), up.data()),
            (&[1usize, 1, 4, 3][..], &[50u8, 50, 50, 75, 75, 75, 125, 125, 125, 150, 150, 150][..])
        );
        let same = Array::new([2, 2, 1, 3], (0..12).collect::<Vec<u8>>()).unwrap();
        npy::write(&path, &same).unwrap();
        assert_eq!(settings(2, 1).read(&path).unwrap().0, same);
        npy::write(&path, &Array::new([4], vec![0u8; 4]).unwrap()).unwrap();
        assert!(settings(2, 2).read(&path).unwrap_err().to_string().contains("[T, H, W, 3]"));
    }
}
