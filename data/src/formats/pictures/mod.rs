//! Pictures (JPEG, PNG, BMP), and folders of pictures that are the frames of a clip.

mod bmp;
mod jpeg;
mod orientation;

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use super::companions::is_companion;
use super::foreign;
use super::is_of_faces;
use crate::{Array, Error, Result, fence};
use bmp::Rgb;

/// File extensions of pictures.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "bmp"];
/// Largest number of pixels along an axis, and largest size of a file and of its pixels, in bytes.
const MOST_ACROSS: usize = 8192;
const MOST_BYTES: usize = 1 << 28;
/// What is wrong with a file whose end is absent.
const CUT: &str = "it is cut short: the end of the picture is absent";

/// The pictures of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Their paths, sorted by the numbers in their names: `image_9.jpg` before `image_10.jpg`.
    pub files: Vec<PathBuf>,
    /// The number of files with a picture's extension that are companions of other files.
    pub companions: usize,
}

/// Whether the extension of `path` is that of a picture.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The pictures in a folder. Sheets that `mpuc faces` wrote and [companions](super::companions) are left out.
///
/// # Errors
/// Bad data when there is none; input/output errors.
pub fn list(folder: &Path) -> Result<Listing> {
    let failed = |e| Error::reading(folder, e);
    let (mut found, mut companions) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !is_picture(&path) || is_of_faces(&path) {
            continue;
        }
        match is_companion(path.file_name().unwrap_or_default().as_ref()) {
            true => companions += 1,
            false => found.push(path),
        }
    }
    if found.is_empty() {
        let what =
            format!("has no pictures ({}); put the frames of the clip there", ENDINGS.join(", "));
        return Err(Error::bad(folder, what));
    }
    found.sort_by_cached_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (by_numbers(&name), name)
    });
    Ok(Listing { files: found, companions })
}

/// A name split into text and numbers, for sorting.
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

/// Reads a picture as RGB `[H, W, 3]`, upright by its EXIF or XMP orientation. Gray is repeated, 16 bits are rounded to 8, an alpha
/// channel is dropped.
///
/// # Errors
/// Bad data when the file is no such picture, is damaged or cut short, or is larger than 8192 pixels along an axis; input/output
/// errors.
pub fn read(path: &Path) -> Result<Array<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::reading(path, e))?;
    file.take(MOST_BYTES as u64).read_to_end(&mut bytes).map_err(|e| Error::reading(path, e))?;
    // The format is identified by the first bytes: the extension may be wrong.
    let decoded = fence::run(|| match bytes[..] {
        [0xff, 0xd8, 0xff, ..] => jpeg::decode(&bytes, MOST_ACROSS),
        [b'B', b'M', ..] => bmp::decode(&bytes, MOST_ACROSS),
        _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => png(&bytes),
        _ => Err("it is neither JPEG, PNG nor BMP".to_owned()),
    });
    let (width, height, rgb) = decoded.flatten().map_err(|what| {
        foreign::refuse_stand_in(path, &bytes).unwrap_or_else(|| damaged(path, &what))
    })?;
    Array::new([height, width, 3], rgb)
}

fn png(bytes: &[u8]) -> Result<Rgb, String> {
    let limits = png::Limits { bytes: MOST_BYTES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    let header = decoder.read_header_info().map_err(|e| e.to_string())?;
    let (width, height) = (header.width as usize, header.height as usize);
    if width.max(height) > MOST_ACROSS {
        return Err(format!(
            "it has {width} x {height} pixels; at most {MOST_ACROSS} along an axis are read"
        ));
    }
    // Palettes are expanded to colors, and fewer than 8 bits to 8.
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let size = reader.output_buffer_size().filter(|&size| size <= MOST_BYTES);
    let mut pixels = vec![0; size.ok_or("it is too large")?];
    let frame = reader.next_frame(&mut pixels).map_err(|e| match e {
        png::DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            CUT.into()
        }
        e => e.to_string(),
    })?;
    // Metadata may follow the pixels; a file that lacks it has its pixels all the same.
    let _ = reader.finish();
    let info = reader.info();
    let xmp = info.utf8_text.iter().rfind(|text| text.keyword == "XML:com.adobe.xmp");
    let xmp = xmp.and_then(|text| text.get_text().ok());
    let xmp = xmp.as_deref().map(str::as_bytes);
    let turn = orientation::orientation(info.exif_metadata.as_deref(), xmp);
    pixels.truncate(frame.buffer_size());
    if frame.bit_depth == png::BitDepth::Sixteen {
        let rounded =
            |two: &[u8]| ((u32::from(two[0]) * 256 + u32::from(two[1]) + 128) / 257) as u8;
        pixels = pixels.chunks_exact(2).map(rounded).collect();
    }
    let rgb = to_rgb(pixels, frame.color_type.samples());
    Ok(orientation::upright((width, height, rgb), turn))
}

/// Pixels of gray, gray and alpha, RGB, or RGB and alpha (1 to 4 `channels`) as RGB.
fn to_rgb(pixels: Vec<u8>, channels: usize) -> Vec<u8> {
    match channels {
        1 | 2 => pixels.chunks_exact(channels).flat_map(|pixel| [pixel[0]; 3]).collect(),
        3 => pixels,
        _ => {
            pixels.chunks_exact(channels).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
        }
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    let advice = if what == CUT { "copy the file again" } else { "save it again as PNG or JPEG" };
    Error::bad(path, format!("is not a readable picture ({what}); {advice}"))
}

#[cfg(test)]
mod tests;
