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
fn png(color: png::ColorType, depth: png::BitDepth, pixel: impl Fn(bool) -> Vec<u8>) -> Vec<u8> {
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
            COLORS[usize::from(red)].iter().flat_map(|&color| wide(color).to_be_bytes()).collect()
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

/// A JPEG with EXIF data.
fn with_exif(exif: &[u8]) -> Vec<u8> {
    with_metadata(&[b"Exif\0\0", exif].concat())
}

/// A JPEG with an APP1 segment.
fn with_metadata(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
    [&JPEG[..2], &[0xff, 0xe1], &length[..], content, &JPEG[2..]].concat()
}

#[test]
fn pictures_are_upright_by_their_exif_or_xmp_orientation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    let picture = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let picture = read(&path).unwrap();
        let red = |row: usize, column: usize| {
            let at = 3 * (row * picture.shape()[1] + column);
            picture.data()[at] > 100
        };
        let [height, width] = [picture.shape()[0], picture.shape()[1]];
        ([height, width], [red(0, 0), red(0, width - 1), red(height - 1, 0)])
    };
    // Red is left, then at each side in turn: top left, top right, bottom left.
    let left = ([16, 24], [true, false, true]);
    let right = ([16, 24], [false, true, false]);
    let top = ([24, 16], [true, true, false]);
    let bottom = ([24, 16], [false, false, true]);
    assert_eq!(picture(JPEG), left);
    for (orientation, expected) in
        [(1, left), (2, right), (3, right), (4, left), (5, top), (6, top), (7, bottom), (8, bottom)]
    {
        let exif = orientation::tests::exif(orientation, orientation % 2 == 0);
        assert_eq!(picture(&with_exif(&exif)), expected, "JPEG {orientation}");
        let mut bytes = Vec::new();
        let mut info = png::Info::with_size(24, 16);
        info.color_type = png::ColorType::Rgb;
        info.exif_metadata = Some(exif.into());
        let encoder = png::Encoder::with_info(&mut bytes, info).unwrap();
        let pixels: Vec<u8> = (0..24 * 16)
            .flat_map(|i| if i % 24 < 12 { [200, 40, 40] } else { [30, 60, 220] })
            .collect();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        assert_eq!(picture(&bytes), expected, "PNG {orientation}");
        let xmp = format!("<x:xmpmeta><a tiff:Orientation=\"{orientation}\"/></x:xmpmeta>");
        let segment = [b"http://ns.adobe.com/xap/1.0/\0", xmp.as_bytes()].concat();
        assert_eq!(picture(&with_metadata(&segment)), expected, "XMP {orientation}");
        let mut info = png::Info::with_size(24, 16);
        info.color_type = png::ColorType::Rgb;
        info.utf8_text.push(png::text_metadata::ITXtChunk::new("XML:com.adobe.xmp", xmp));
        let mut bytes = Vec::new();
        let encoder = png::Encoder::with_info(&mut bytes, info).unwrap();
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
        assert_eq!(picture(&bytes), expected, "XMP in PNG {orientation}");
    }
}

#[test]
fn cut_pictures_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f1.jpg");
    let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let mut wide = Vec::new();
    let mut encoder = png::Encoder::new(&mut wide, 24, 16);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = (0..24 * 16 * 3).map(noise).collect();
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    let mut bmp = b"BM".to_vec();
    bmp.extend([0; 8]);
    for number in [54u32, 40, 24, 16, 1 | 24 << 16, 0, 0, 0, 0, 0, 0] {
        bmp.extend(number.to_le_bytes());
    }
    bmp.extend(&pixels);
    for (name, bytes, what) in [
        ("JPEG", JPEG, "it is cut short"),
        ("PNG", &wide, "it is cut short"),
        ("BMP", &bmp, "it is cut short"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert!(read(&path).is_ok(), "{name}");
        for share in [60, 90] {
            std::fs::write(&path, &bytes[..bytes.len() * share / 100]).unwrap();
            let message = read(&path).unwrap_err().to_string();
            assert!(message.contains("f1.jpg: is not a readable picture"), "{name}: {message}");
            assert!(message.contains(what) && message.contains("copy"), "{name}: {message}");
        }
    }
}

#[test]
fn companions_of_macos_are_no_pictures_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["f1.jpg", "._f1.jpg", "._f2.png", ".DS_Store"] {
        std::fs::write(folder.path().join(name), JPEG).unwrap();
    }
    let listing = list(folder.path()).unwrap();
    assert_eq!((listing.files.len(), listing.companions), (1, 2));
    std::fs::remove_file(folder.path().join("f1.jpg")).unwrap();
    assert!(list(folder.path()).unwrap_err().to_string().contains("has no pictures"));
}
