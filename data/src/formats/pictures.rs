//! Pictures (JPEG, PNG, BMP), and folders of pictures that are the frames of a clip.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::bmp::{self, Rgb};
use super::is_of_faces;
use crate::{Array, Error, Result, fence};

/// File extensions of pictures.
const ENDINGS: [&str; 4] = ["jpg", "jpeg", "png", "bmp"];
/// Largest number of pixels along an axis, and largest size of a file and of its pixels, in bytes.
const MOST_ACROSS: usize = 8192;
const MOST_BYTES: usize = 1 << 28;

/// Whether the extension of `path` is that of a picture.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// The pictures in a folder, sorted by the numbers in their names: `image_9.jpg` before `image_10.jpg`. Sheets that
/// `mpuc faces` wrote are ignored.
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
            format!("has no pictures ({}); put the frames of the clip there", ENDINGS.join(", "));
        return Err(Error::bad(folder, what));
    }
    found.sort_by_cached_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (by_numbers(&name), name)
    });
    Ok(found)
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

/// Reads a picture as RGB `[H, W, 3]`. Gray is repeated, 16 bits are rounded to 8, an alpha channel is dropped.
///
/// # Errors
/// Bad data when the file is no such picture, is damaged, or is larger than 8192 pixels along an axis; input/output
/// errors.
pub fn read(path: &Path) -> Result<Array<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::reading(path, e))?;
    file.take(MOST_BYTES as u64).read_to_end(&mut bytes).map_err(|e| Error::reading(path, e))?;
    // The format is identified by the first bytes: the extension may be wrong.
    let decoded = fence::run(|| match bytes[..] {
        [0xff, 0xd8, 0xff, ..] => jpeg(&bytes),
        [b'B', b'M', ..] => bmp::decode(&bytes, MOST_ACROSS),
        _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => png(&bytes),
        _ => Err("it is neither JPEG, PNG nor BMP".to_owned()),
    });
    let (width, height, rgb) = decoded.flatten().map_err(|what| damaged(path, &what))?;
    Array::new([height, width, 3], rgb)
}

fn jpeg(bytes: &[u8]) -> Result<Rgb, String> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(MOST_ACROSS)
        .set_max_height(MOST_ACROSS);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let channels = if gray { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(channels));
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    Ok((width, height, to_rgb(pixels, channels.num_components())))
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
    let frame = reader.next_frame(&mut pixels).map_err(|e| e.to_string())?;
    pixels.truncate(frame.buffer_size());
    if frame.bit_depth == png::BitDepth::Sixteen {
        let rounded =
            |two: &[u8]| ((u32::from(two[0]) * 256 + u32::from(two[1]) + 128) / 257) as u8;
        pixels = pixels.chunks_exact(2).map(rounded).collect();
    }
    Ok((width, height, to_rgb(pixels, frame.color_type.samples())))
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
    Error::bad(path, format!("is not a readable picture ({what}); save it again as PNG or JPEG"))
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

    /// 24 x 16 pixels, the left half red and the right half blue, by Pillow 13.0.0:
    /// `save(..., quality=90, optimize=True, subsampling=0)`.
    const JPEG: &[u8] = include_bytes!("two_colors.jpg");

    /// The same picture without loss, in another layout of the pixels.
    fn png(
        color: png::ColorType,
        depth: png::BitDepth,
        pixel: impl Fn(bool) -> Vec<u8>,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 24, 16);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.set_palette(&[200, 40, 40, 30, 60, 220][..]);
        let pixels: Vec<u8> = (0..24 * 16).flat_map(|i| pixel(i % 24 < 12)).collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        bytes
    }

    #[test]
    fn pictures_are_read_whatever_their_names_say_and_damage_is_told() {
        use png::{BitDepth, ColorType};
        const COLORS: [[u8; 3]; 2] = [[30, 60, 220], [200, 40, 40]];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bmp");
        let files = [
            JPEG.to_vec(),
            png(ColorType::Rgb, BitDepth::Eight, |red| COLORS[usize::from(red)].to_vec()),
            png(ColorType::Rgba, BitDepth::Eight, |red| {
                let [r, g, b] = COLORS[usize::from(red)];
                vec![r, g, b, u8::from(red)]
            }),
            png(ColorType::Indexed, BitDepth::Eight, |red| vec![u8::from(!red)]),
            // 257 times the 8 bits, and half a step less than what is rounded up.
            png(ColorType::Rgb, BitDepth::Sixteen, |red| {
                let wide = |color| u16::from(color) * 257 + if red { 128 } else { 0 };
                COLORS[usize::from(red)]
                    .iter()
                    .flat_map(|&color| wide(color).to_be_bytes())
                    .collect()
            }),
        ];
        for (i, file) in files.iter().enumerate() {
            std::fs::write(&path, file).unwrap();
            let picture = read(&path).unwrap();
            assert_eq!(picture.shape(), [16, 24, 3]);
            for (at, pixel) in picture.data().chunks(3).enumerate() {
                let expected = COLORS[usize::from(at % 24 < 12)];
                let off = pixel.iter().zip(expected).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                let most = if i == 0 { 3 } else { 0 };
                assert!(off <= most, "file {i}, pixel {at}: {pixel:?}, not {expected:?}");
            }
            std::fs::write(&path, &file[..file.len() / 3]).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains("a.bmp: is not a readable picture"), "{message}");
        }
        std::fs::write(&path, "text").unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("neither JPEG, PNG nor BMP"), "{message}");
        let gray = png(ColorType::GrayscaleAlpha, BitDepth::Eight, |left| vec![u8::from(left), 9]);
        std::fs::write(&path, gray).unwrap();
        assert_eq!(read(&path).unwrap().data()[33..39], [1, 1, 1, 0, 0, 0]);
        // A header that promises 2 billion pixels a row.
        let mut huge = b"BM".to_vec();
        huge.extend([0; 12]);
        huge.extend([40, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f, 1, 0, 24, 0]);
        huge.extend([0; 24]);
        std::fs::write(&path, huge).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("2147483647 x 2147483647 pixels"));
    }
}
