//! Uncompressed BMP pictures of 8 (with a palette), 24 and 32 bits per pixel, after Microsoft's description of
//! `BITMAPINFOHEADER`.

use super::CUT;

/// Length of the file header in bytes; the header of the picture follows it.
const FILE_HEADER: usize = 14;

/// An RGB picture: width, height and `3 * width * height` values, the top row first.
pub(super) type Rgb = (usize, usize, Vec<u8>);

/// Decodes a picture of at most `most` pixels along each axis. An alpha channel is dropped.
///
/// # Errors
/// A message without the file's name when the bytes are not such a picture.
pub(super) fn decode(bytes: &[u8], most: usize) -> Result<Rgb, String> {
    let ended = || CUT.to_owned();
    let long = |at: usize| {
        let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).ok_or_else(ended)?;
        Ok::<u32, String>(u32::from_le_bytes(four))
    };
    let start = long(10)? as usize;
    let header = long(FILE_HEADER)? as usize;
    if header < 40 {
        return Err(format!("its header has {header} bytes; at least 40 are read"));
    }
    let width = long(FILE_HEADER + 4)? as usize;
    // A negative height means that the top row comes first.
    let signed = long(FILE_HEADER + 8)?.cast_signed();
    let height = signed.unsigned_abs() as usize;
    if !(1..=most).contains(&width) || !(1..=most).contains(&height) {
        return Err(format!(
            "it has {width} x {height} pixels; 1 to {most} along each axis are read"
        ));
    }
    let bits = (long(FILE_HEADER + 12)? >> 16) as usize;
    let compression = long(FILE_HEADER + 16)?;
    // Bit fields are accepted when they are those of plain 32 bits.
    let masks = || -> Result<bool, String> {
        let masks = [long(FILE_HEADER + 40)?, long(FILE_HEADER + 44)?, long(FILE_HEADER + 48)?];
        Ok(masks == [0xff_0000, 0xff00, 0xff])
    };
    let plain = compression == 0 || (compression == 3 && bits == 32 && masks()?);
    if !plain || ![8, 24, 32].contains(&bits) {
        return Err(format!(
            "it is a BMP of {bits} bits a pixel with compression {compression}; 8, 24 and 32 bits without are read"
        ));
    }
    let palette = match bits {
        8 => {
            let colors = match long(FILE_HEADER + 32)? as usize {
                0 => 256,
                colors => colors.min(256),
            };
            let at = FILE_HEADER + header;
            bytes.get(at..at + 4 * colors).ok_or_else(ended)?
        }
        _ => &[],
    };
    // Rows are padded to multiples of 4 bytes.
    let (pixel, row) = (bits / 8, (width * bits).div_ceil(32) * 4);
    let stored = bytes.get(start..).unwrap_or_default();
    if stored.len() < row * (height - 1) + width * pixel {
        return Err(ended());
    }
    let mut rgb = Vec::with_capacity(3 * width * height);
    for y in 0..height {
        let at = row * if signed < 0 { y } else { height - 1 - y };
        let pixels = &stored[at..at + width * pixel];
        for pixel in pixels.chunks_exact(pixel) {
            let &[blue, green, red, ..] = (match *pixel {
                [color] => {
                    let at = 4 * usize::from(color);
                    let entry = palette.get(at..at + 4);
                    entry.ok_or_else(|| format!("color {color} is not in its palette"))?
                }
                _ => pixel,
            }) else {
                return Err(ended());
            };
            rgb.extend([red, green, blue]);
        }
    }
    Ok((width, height, rgb))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 3 x 2 pixels whose rows are these, the bottom one first.
    fn file(bits: u16, height: i32, compression: u32, after: &[u8], rows: [&[u8]; 2]) -> Vec<u8> {
        let mut file = b"BM".to_vec();
        file.extend([0; 8]);
        file.extend((54 + after.len() as u32).to_le_bytes());
        file.extend(40u32.to_le_bytes());
        file.extend(3u32.to_le_bytes());
        file.extend(height.to_le_bytes());
        file.extend(1u16.to_le_bytes());
        file.extend(bits.to_le_bytes());
        file.extend(compression.to_le_bytes());
        file.extend([0; 12]);
        file.extend((after.len() as u32 / 4).to_le_bytes());
        file.extend([0; 4]);
        file.extend(after);
        for row in rows {
            file.extend(row);
            file.extend(vec![0; row.len().next_multiple_of(4) - row.len()]);
        }
        file
    }

    #[test]
    fn every_layout_gives_the_same_picture() {
        let expected = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12], [4, 5, 6], [1, 2, 3]];
        let (top, bottom) = ([3, 2, 1, 6, 5, 4, 9, 8, 7], [12, 11, 10, 6, 5, 4, 3, 2, 1]);
        let wide = |row: [u8; 9]| -> Vec<u8> {
            row.chunks(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 77]).collect()
        };
        let palette = [3, 2, 1, 0, 6, 5, 4, 0, 9, 8, 7, 0, 12, 11, 10, 0];
        let masks = [0, 0, 0xff, 0, 0, 0xff, 0, 0, 0xff, 0, 0, 0];
        let files = [
            file(24, 2, 0, &[], [&bottom, &top]),
            file(24, -2, 0, &[], [&top, &bottom]),
            file(32, 2, 0, &[], [&wide(bottom), &wide(top)]),
            file(32, 2, 3, &masks, [&wide(bottom), &wide(top)]),
            file(8, 2, 0, &palette, [&[3, 1, 0], &[0, 1, 2]]),
        ];
        for file in &files {
            let (width, height, rgb) = decode(file, 3).unwrap();
            assert_eq!((width, height, &rgb[..]), (3, 2, expected.as_flattened()));
            for cut in 0..file.len() - 4 {
                assert!(decode(&file[..cut], 3).is_err(), "{cut} of {} bytes", file.len());
            }
            assert!(decode(file, 2).unwrap_err().contains("3 x 2 pixels"));
        }
    }

    #[test]
    fn what_is_not_read_is_named() {
        let not_in_palette = file(8, 2, 0, &[0; 8], [&[0, 1, 2], &[0, 0, 0]]);
        assert!(decode(&not_in_palette, 9).unwrap_err().contains("color 2"));
        let runs = decode(&file(8, 2, 1, &[], [&[0; 3], &[0; 3]]), 9).unwrap_err();
        assert!(runs.contains("8 bits a pixel with compression 1"), "{runs}");
        let masks = decode(&file(32, 2, 3, &[1; 12], [&[0; 12], &[0; 12]]), 9).unwrap_err();
        assert!(masks.contains("32 bits a pixel with compression 3"), "{masks}");
    }
}
