//! Pictures (JPEG, PNG, BMP), and folders of them that are the frames of a clip.

use std::path::{Path, PathBuf};

use image::{ImageError, ImageReader, Limits};

use super::is_of_faces;
use crate::{Array, Error, Result, fence};

/// What the names of pictures end in.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "bmp"];
/// Most pixels along an axis, and most bytes that decoding may take.
const MOST_ACROSS: u32 = 8192;
const MOST_BYTES: u64 = 1 << 28;

/// Whether a file is named as a picture.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The pictures in a folder in the order of the numbers in their names: `image_9.jpg` before `image_10.jpg`. Sheets that
/// `mpuc faces` left there are none of them.
///
/// # Errors
/// Bad data when there is none; input/output errors.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Error::reading(folder, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if is_picture(&path) && !is_of_faces(&path) {
            found.push(path);
        }
    }
    if found.is_empty() {
        let what =
            format!("holds no picture ({}); put the clip's frames there", ENDINGS.join(", "));
        return Err(Error::bad(folder, what));
    }
    found.sort_by_cached_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (by_numbers(&name), name)
    });
    Ok(found)
}

/// A name's letters, and its numbers as numbers.
fn by_numbers(name: &str) -> Vec<(String, u64)> {
    let mut parts = vec![(String::new(), 0u64)];
    let mut digits = false;
    for c in name.chars() {
        match (c.to_digit(10), parts.last_mut()) {
            (Some(digit), Some((_, number))) => {
                *number = number.saturating_mul(10).saturating_add(u64::from(digit));
                digits = true;
            }
            (None, Some((letters, _))) if !digits => letters.push(c),
            _ => {
                parts.push((c.to_string(), 0));
                digits = false;
            }
        }
    }
    parts
}

/// Reads a picture as red, green and blue `[H, W, 3]`; what is transparent is taken as if it were not.
///
/// # Errors
/// Bad data when it is none, is damaged or too large; input/output errors.
pub fn read(path: &Path) -> Result<Array<u8>> {
    let failed = |e| Error::reading(path, e);
    let mut reader =
        ImageReader::open(path).and_then(|reader| reader.with_guessed_format()).map_err(failed)?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_ACROSS);
    limits.max_image_height = Some(MOST_ACROSS);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let picture = fence::run(|| reader.decode()).map_err(|what| damaged(path, &what))?;
    let picture = picture.map_err(|error| match error {
        ImageError::IoError(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => failed(e),
        error => damaged(path, &error.to_string()),
    })?;
    let rgb = picture.into_rgb8();
    let (width, height) = rgb.dimensions();
    Array::new([height as usize, width as usize, 3], rgb.into_raw())
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::bad(
        path,
        format!("is no picture that can be read ({what}); save it again as PNG or JPEG"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_by_their_numbers() {
        let mut names = ["b1.png", "a10.png", "a9_2.png", "a9_10.png", "a009_1.png", "a.png"];
        names.sort_by_cached_key(|name| by_numbers(name));
        assert_eq!(names, ["a009_1.png", "a9_2.png", "a9_10.png", "a10.png", "a.png", "b1.png"]);
    }

    #[test]
    fn pictures_are_read_whatever_their_names_say_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        let picture = image::RgbImage::from_fn(24, 16, |x, _| {
            image::Rgb(if x < 12 { [200, 40, 40] } else { [30, 60, 220] })
        });
        for format in [image::ImageFormat::Jpeg, image::ImageFormat::Png, image::ImageFormat::Bmp] {
            picture.save_with_format(&path, format).unwrap();
            let read = read(&path).unwrap();
            assert_eq!(read.shape(), [16, 24, 3]);
            let off = |(a, b): (&u8, &u8)| a.abs_diff(*b);
            let worst = read.data().iter().zip(picture.as_raw()).map(off).max().unwrap();
            assert!(
                worst <= if format == image::ImageFormat::Jpeg { 60 } else { 0 },
                "{format:?} {worst}"
            );
            assert!(read.data()[..3].iter().zip([200, 40, 40]).all(|(a, b)| a.abs_diff(b) < 6));
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 3]).unwrap();
            // A JPEG that is cut short may be read as far as it goes; it must not panic.
            let cut = super::read(&path);
            assert!(format == image::ImageFormat::Jpeg || cut.is_err(), "{format:?}");
        }
        std::fs::write(&path, "text").unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("a.jpg: is no picture"), "{message}");
        // A header that promises 4 billion pixels a row.
        let mut huge = b"BM".to_vec();
        huge.extend([0; 12]);
        huge.extend([40, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 1, 0, 24, 0]);
        huge.extend([0; 24]);
        std::fs::write(&path, huge).unwrap();
        assert!(read(&path).is_err());
    }
}
