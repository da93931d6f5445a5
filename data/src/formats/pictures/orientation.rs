//! The orientation of a picture in its EXIF or XMP metadata, and the upright picture.

use memchr::memmem;

use super::bmp::Rgb;

/// Tag of the orientation in the first directory of EXIF, which is TIFF 6.0.
const ORIENTATION: u16 = 0x0112;
/// Length of a directory's entry, in bytes.
const ENTRY: usize = 12;

/// The orientation of a picture with these metadata, 1 to 8: that of EXIF, or of XMP when EXIF has none, as Pillow reads it.
/// 1 (upright) without one, or for an invalid value.
pub(super) fn orientation(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> u8 {
    let value = exif.and_then(of_exif).or_else(|| xmp.and_then(of_xmp));
    value.and_then(|value| u8::try_from(value).ok()).filter(|v| (1..=8).contains(v)).unwrap_or(1)
}

/// The digit after the first `tiff:Orientation="` or `tiff:Orientation>` of XMP, which is XML.
fn of_xmp(xmp: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"tiff:Orientation";
    memmem::find_iter(xmp, NAME).find_map(|at| {
        let rest = &xmp[at + NAME.len()..];
        let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
        value.first().filter(|digit| digit.is_ascii_digit()).map(|digit| usize::from(digit - b'0'))
    })
}

/// The number of EXIF's orientation, valid or not; `None` without one.
fn of_exif(exif: &[u8]) -> Option<usize> {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = tiff.get(at..at.checked_add(length)?)?;
        let add = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
        Some(if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    };
    let directory = number(4, 4)?;
    let entries = number(directory, 2)?;
    let entry = |index: usize| directory + 2 + index * ENTRY;
    let at = (0..entries).map(entry).find(|&at| number(at, 2) == Some(usize::from(ORIENTATION)))?;
    // A byte, a short or a long.
    let length = match number(at + 2, 2)? {
        1 => 1,
        3 => 2,
        4 => 4,
        _ => return None,
    };
    number(at + 8, length)
}

/// The picture as it is to be shown: turned and mirrored as Pillow's `exif_transpose` does.
pub(super) fn upright((width, height, rgb): Rgb, orientation: u8) -> Rgb {
    if !(2..=8).contains(&orientation) {
        return (width, height, rgb);
    }
    let lying = orientation >= 5;
    let (across, down) = if lying { (height, width) } else { (width, height) };
    let mut turned = Vec::with_capacity(rgb.len());
    for row in 0..down {
        for column in 0..across {
            let (from_row, from_column) = match orientation {
                2 => (row, width - 1 - column),
                3 => (height - 1 - row, width - 1 - column),
                4 => (height - 1 - row, column),
                5 => (column, row),
                6 => (height - 1 - column, row),
                7 => (height - 1 - column, width - 1 - row),
                _ => (column, width - 1 - row),
            };
            let at = 3 * (from_row * width + from_column);
            turned.extend_from_slice(&rgb[at..at + 3]);
        }
    }
    (across, down, turned)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// EXIF data with this orientation as a short.
    pub(in super::super) fn exif(orientation: u8, little: bool) -> Vec<u8> {
        let order = |bytes: &[u8]| -> Vec<u8> {
            let mut bytes = bytes.to_vec();
            if little {
                bytes.reverse();
            }
            bytes
        };
        let mut exif = if little { b"II".to_vec() } else { b"MM".to_vec() };
        exif.extend(order(&[0, 42]));
        exif.extend(order(&[0, 0, 0, 8]));
        exif.extend(order(&[0, 2]));
        for (tag, value) in [([0x01, 0x0f], 7), ([0x01, 0x12], orientation)] {
            exif.extend(order(&tag));
            exif.extend(order(&[0, 3]));
            exif.extend(order(&[0, 0, 0, 1]));
            exif.extend(order(&[0, value]));
            exif.extend([0, 0]);
        }
        exif.extend([0; 4]);
        exif
    }

    #[test]
    fn the_orientation_is_read_in_either_byte_order() {
        for orientation_ in 1..=8 {
            for little in [false, true] {
                let plain = exif(orientation_, little);
                assert_eq!(orientation(Some(&plain), None), orientation_);
                let headed = [b"Exif\0\0", &plain[..]].concat();
                assert_eq!(orientation(Some(&headed), None), orientation_);
            }
        }
        for invalid in [0, 9] {
            assert_eq!(orientation(Some(&exif(invalid, true)), None), 1);
        }
    }

    /// What Pillow 13.0.0's `getexif` makes of these texts.
    #[test]
    fn xmp_is_read_where_exif_has_no_orientation() {
        for (xmp, expected) in [
            (r#"<rdf:Description tiff:Orientation="6" />"#, 6),
            ("<tiff:Orientation>8</tiff:Orientation>", 8),
            (r#"<tiff:OrientationX/> tiff:Orientation="3""#, 3),
            (r#"tiff:Orientation="9""#, 1),
            (r#"tiff:Orientation=""#, 1),
            ("tiff:Orientation='6'", 1),
        ] {
            assert_eq!(orientation(None, Some(xmp.as_bytes())), expected, "{xmp}");
            assert_eq!(orientation(Some(b"II*\0\x08\0\0\0\0\0"), Some(xmp.as_bytes())), expected);
        }
        // An orientation of EXIF is used even when it is invalid.
        for value in [0, 1, 5] {
            let xmp = Some(&br#"tiff:Orientation="6""#[..]);
            assert_eq!(orientation(Some(&exif(value, true)), xmp), value.max(1));
        }
    }

    /// What Pillow 13.0.0's `ImageOps.exif_transpose` makes of the rows `1 2 3` and `4 5 6`.
    #[test]
    fn pictures_are_turned_as_pillow_turns_them() {
        let rgb: Vec<u8> = (1..=6).flat_map(|value| [value; 3]).collect();
        for (orientation, across, values) in [
            (1, 3, [1, 2, 3, 4, 5, 6]),
            (2, 3, [3, 2, 1, 6, 5, 4]),
            (3, 3, [6, 5, 4, 3, 2, 1]),
            (4, 3, [4, 5, 6, 1, 2, 3]),
            (5, 2, [1, 4, 2, 5, 3, 6]),
            (6, 2, [4, 1, 5, 2, 6, 3]),
            (7, 2, [6, 3, 5, 2, 4, 1]),
            (8, 2, [3, 6, 2, 5, 1, 4]),
        ] {
            let (width, height, turned) = upright((3, 2, rgb.clone()), orientation);
            let values: Vec<u8> = values.iter().flat_map(|&value| [value; 3]).collect();
            assert_eq!((width, height, turned), (across, 6 / across, values), "{orientation}");
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(cut in 0usize..60, at in 0usize..60, byte: u8) {
            let mut bytes = exif(6, true);
            bytes.truncate(cut);
            if let Some(value) = bytes.get_mut(at) { *value = byte; }
            let _ = orientation(Some(&bytes), Some(&bytes));
        }
    }
}
