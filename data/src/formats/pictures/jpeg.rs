//! JPEG pictures.

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::bmp::Rgb;
use super::orientation::{orientation, upright};
use super::{CUT, to_rgb};

/// Markers of the start of a scan and of the end of the picture.
const SCAN: u8 = 0xda;
const END: u8 = 0xd9;

/// Decodes a picture of at most `most` pixels along each axis, upright.
///
/// # Errors
/// A message without the file's name when the bytes are not such a picture or end before the picture does.
pub(super) fn decode(bytes: &[u8], most: usize) -> Result<Rgb, String> {
    // The decoder makes grey rows of what is absent.
    if !has_end(bytes) {
        return Err(CUT.to_owned());
    }
    let options =
        DecoderOptions::default().set_strict_mode(false).set_max_width(most).set_max_height(most);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| e.to_string())?;
    let gray = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let channels = if gray { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(channels));
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    let (exif, xmp) = (decoder.exif().map(Vec::as_slice), decoder.xmp().map(Vec::as_slice));
    let turn = orientation(exif, xmp);
    Ok(upright((width, height, to_rgb(pixels, channels.num_components())), turn))
}

/// Whether the marker of the end follows the last scan. Segments before it are skipped by their lengths: a thumbnail has an
/// end of its own.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // To the next marker: in a scan 0xff is followed by 0 or by a restart marker.
        let Some(next) = bytes.get(at..).and_then(|rest| memchr::memchr(0xff, rest)) else {
            return false;
        };
        at += next + 1;
        match bytes.get(at) {
            None => return false,
            Some(&END) => return true,
            Some(0 | 0x01 | 0xd0..=0xd8) => at += 1,
            Some(0xff) => {}
            Some(&marker) => {
                let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { return false };
                let length = usize::from(u16::from_be_bytes([high, low]));
                at += 1 + if marker == SCAN { length.min(64) } else { length };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JPEG: &[u8] = include_bytes!("two_colors.jpg");

    #[test]
    fn a_picture_that_is_cut_anywhere_is_refused() {
        assert!(decode(JPEG, 99).is_ok());
        for length in 0..JPEG.len() {
            assert!(decode(&JPEG[..length], 99).is_err(), "{length} of {} bytes", JPEG.len());
        }
        // What follows the end belongs to the camera.
        assert!(decode(&[JPEG, &[0; 99]].concat(), 99).is_ok());
        // A download that was given its length beforehand.
        let mut zeros = JPEG.to_vec();
        zeros[JPEG.len() * 9 / 10..].fill(0);
        assert_eq!(decode(&zeros, 99), Err(CUT.to_owned()));
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_that_of_the_picture() {
        let thumbnail = [b"Exif\0\0".as_slice(), JPEG].concat();
        let segment = |content: &[u8]| {
            let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
            [&[0xff, 0xe1], &length[..], content].concat()
        };
        let whole = [&JPEG[..2], &segment(&thumbnail), &JPEG[2..]].concat();
        assert!(decode(&whole, 99).is_ok());
        assert_eq!(decode(&whole[..whole.len() - 60], 99), Err(CUT.to_owned()));
    }
}
