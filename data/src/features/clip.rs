//! Face clips for a video network: videos, folders of pictures or `.npy` files of `u8` frames, resized once when they are
//! decoded. The loader picks a few frames of each window.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::resize::Resize;
use crate::formats::{map_file, npy, pictures, video};
use crate::{Array, Error, Result};

/// Mean of red, green and blue over Kinetics-400, of values in [0, 1] (torchvision's video networks).
pub const KINETICS_MEAN: [f32; 3] = [0.43216, 0.394666, 0.37645];
/// Standard deviation of red, green and blue over Kinetics-400, of values in [0, 1].
pub const KINETICS_STD: [f32; 3] = [0.22803, 0.22145, 0.216989];
/// Longest clip that is accepted, in frames; bounds the memory that a file of tiny frames can ask for.
const MOST_FRAMES: usize = 20_000;

/// Settings of the video feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipSettings {
    /// Height of the decoded frames, in pixels.
    pub height: usize,
    /// Width of the decoded frames, in pixels.
    pub width: usize,
    /// Frames per second of `.npy` files and of folders of pictures; a video has its own.
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

    /// Reads a clip `[T, height, width, 3]` and its frames per second.
    ///
    /// Frames of a video or a folder of pictures are cropped around their centre to the aspect ratio `width / height`. A
    /// `.npy` of `u8` frames `[T, H, W, 3]`, `[T, H, W, 1]` or `[T, H, W]` (grey is repeated) is not cropped.
    ///
    /// # Errors
    /// Bad data when the file has no such frames.
    pub fn read(&self, path: &Path) -> Result<(Array<u8>, f64)> {
        if path.is_dir() {
            return self.read_folder(path);
        }
        let bytes = map_file(path)?;
        // A file with the extension of a video that is none is named by the video's reader.
        if video::is_video(&bytes) || video::has_ending(path) {
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

    /// Reads a video from the `bytes` of its file, as [`ClipSettings::read`] does; `path` is for messages.
    ///
    /// # Errors
    /// See [`video::decode`].
    pub fn read_video(&self, path: &Path, bytes: &[u8]) -> Result<(Array<u8>, f64)> {
        let mut frames = Frames::new(self, path);
        let info = video::decode(path, bytes, &mut |frame| frames.push(&frame.rgb()?))?;
        Ok((frames.finish()?, info.frames_per_second))
    }

    /// Reads a folder of pictures, one frame each.
    fn read_folder(&self, path: &Path) -> Result<(Array<u8>, f64)> {
        let mut frames = Frames::new(self, path);
        for picture in pictures::list(path)?.files {
            frames.push(&pictures::read(&picture)?)?;
        }
        Ok((frames.finish()?, self.frames_per_second))
    }
}

/// Crops frames around their centre and resizes them; frames may differ in size.
struct Frames<'a> {
    settings: &'a ClipSettings,
    path: &'a Path,
    /// For frames of this size.
    resize: Option<([usize; 2], Resize)>,
    values: Vec<u8>,
}

impl<'a> Frames<'a> {
    fn new(settings: &'a ClipSettings, path: &'a Path) -> Self {
        Self { settings, path, resize: None, values: Vec::new() }
    }

    fn frame_size(&self) -> usize {
        self.settings.height * self.settings.width * 3
    }

    /// Takes a frame `[H, W, 3]`.
    fn push(&mut self, rgb: &Array<u8>) -> Result<()> {
        if self.values.len() >= MOST_FRAMES * self.frame_size() {
            let what = format!("more than {MOST_FRAMES} frames; cut it into clips");
            return Err(Error::bad(self.path, what));
        }
        let size = [rgb.shape()[0], rgb.shape()[1]];
        let to = [self.settings.height, self.settings.width];
        let resize = match self.resize.take() {
            Some((known, resize)) if known == size => resize,
            _ => {
                let (start, kept) = middle(size, to);
                Resize::new(size, start, kept, to, 3)
            }
        };
        let (_, resize) = self.resize.insert((size, resize));
        resize.append(rgb.data(), &mut self.values);
        Ok(())
    }

    /// All frames, `[T, height, width, 3]`.
    fn finish(self) -> Result<Array<u8>> {
        let ClipSettings { height, width, .. } = *self.settings;
        Array::new([self.values.len() / self.frame_size(), height, width, 3], self.values)
    }
}

/// The largest centred part of a frame with the aspect ratio of `to`: its first row and column, and its size.
fn middle([height, width]: [usize; 2], to: [usize; 2]) -> ([usize; 2], [usize; 2]) {
    let kept = [
        (width * to[0]).div_ceil(to[1]).clamp(1, height),
        (height * to[1]).div_ceil(to[0]).clamp(1, width),
    ];
    ([(height - kept[0]) / 2, (width - kept[1]) / 2], kept)
}

/// Indices of `count` frames spread evenly over `length` frames from `start`: `int(linspace(start, start + length - 1,
/// count))` of NumPy.
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
    fn pictures_of_a_folder_are_frames_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let settings = ClipSettings { height: 2, width: 2, frames_per_second: 2.0 };
        let message = || settings.read(folder.path()).unwrap_err().to_string();
        assert!(message().contains("no picture"), "{}", message());
        // The second is as high as it is wide only in its middle, which is taken.
        for (name, width, height) in [("image_10.png", 2, 2), ("image_9.png", 6, 2)] {
            let gray = |i: u32| if width == 2 { 10 } else { (i % width) as u8 * 10 };
            let gray: Vec<u8> = (0..width * height).map(gray).collect();
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            let mut encoder = png::Encoder::new(file, width, height);
            encoder.set_depth(png::BitDepth::Eight);
            encoder.write_header().unwrap().write_image_data(&gray).unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "none").unwrap();
        let (frames, rate) = settings.read(folder.path()).unwrap();
        assert_eq!((frames.shape(), rate), (&[2usize, 2, 2, 3][..], 2.0));
        assert_eq!(frames.data()[..12], [20, 20, 20, 30, 30, 30, 20, 20, 20, 30, 30, 30]);
        assert_eq!(frames.data()[12..], [10; 12]);
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
