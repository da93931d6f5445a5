use super::*;
use proptest::prelude::*;

/// A file as NumPy writes it, with any version, type name, order and shape text.
fn file(version: u8, descr: &str, fortran: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut bytes = MAGIC.to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    bytes
}

fn read_bytes(bytes: &[u8]) -> Result<AnyArray> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    std::fs::write(&path, bytes).unwrap();
    read(&path)
}

#[test]
fn what_is_written_reads_back_and_maps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let array = Array::new([2, 3], vec![1.0f32, -2.0, 3.5, 4.0, 5.0, f32::MAX]).unwrap();
    write(&path, &array).unwrap();
    assert_eq!(std::fs::read(&path).unwrap().len(), 128 + 24);
    assert_eq!(read(&path).unwrap(), AnyArray::F32(array.clone()));
    let mapped = map::<f32>(&path).unwrap();
    assert_eq!((mapped.shape(), &mapped[..]), (&[2usize, 3][..], array.data()));
    assert!(map::<u8>(&path).unwrap_err().to_string().contains("`<f4` where `|u1`"));
    let labels = Array::new([3], vec![1i64, -2, 3]).unwrap();
    write(&path, &labels).unwrap();
    assert_eq!(read(&path).unwrap().into_f32().unwrap().data(), [1.0, -2.0, 3.0]);
}

#[test]
fn parts_make_up_an_array_or_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parts.npy");
    write_parts::<u8, Error>(&path, &[3, 2], |part| {
        part(&[1, 2])?;
        part(&[3, 4, 5, 6])
    })
    .unwrap();
    let whole = Array::new([3, 2], vec![1u8, 2, 3, 4, 5, 6]).unwrap();
    assert_eq!(read(&path).unwrap(), AnyArray::U8(whole.clone()));
    let short = write_parts::<u8, Error>(&path, &[3, 2], |part| part(&[0; 5])).unwrap_err();
    assert!(short.to_string().contains("5 values do not fill [3, 2]"), "{short}");
    let refused = Error::config("enough");
    let stopped = write_parts::<u8, Error>(&path, &[1], |_| Err(refused)).unwrap_err();
    assert_eq!(stopped.to_string(), "enough");
    // What stood there stands there still, alone.
    assert_eq!(read(&path).unwrap(), AnyArray::U8(whole));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn every_version_type_and_alignment_is_read() {
    for version in 1..=3 {
        let array = read_bytes(&file(
            version,
            "<f8",
            "False",
            "(2,)",
            bytemuck::cast_slice(&[0.5f64, -1.0]),
        ));
        assert_eq!(array.unwrap().into_f32().unwrap().data(), [0.5, -1.0]);
    }
    let scalar = read_bytes(&file(1, "|u1", "False", "()", &[7])).unwrap();
    assert_eq!((scalar.shape().len(), scalar.into_f32().unwrap().data()[0]), (0, 7.0));
    assert_eq!(read_bytes(&file(2, "<i4", "False", "(0, 5)", &[])).unwrap().shape(), [0, 5]);
}

#[test]
fn every_number_and_byte_order_is_read() {
    let read = |descr: &str, body: &[u8]| {
        let array = read_bytes(&file(1, descr, "False", "(2,)", body)).unwrap();
        array.into_f32().unwrap().into_parts().1
    };
    let halves = [0.5f32, -2.0].map(|x| f16::from_f32(x).to_le_bytes()).concat();
    assert_eq!(read("<f2", &halves), [0.5, -2.0]);
    assert_eq!(read(">f4", &[0.5f32, -2.0].map(f32::to_be_bytes).concat()), [0.5, -2.0]);
    assert_eq!(read(">f8", &[0.5f64, -2.0].map(f64::to_be_bytes).concat()), [0.5, -2.0]);
    assert_eq!(read("|i1", &[1, 254]), [1.0, -2.0]);
    assert_eq!(read("<i2", &[1i16, -2].map(i16::to_le_bytes).concat()), [1.0, -2.0]);
    assert_eq!(read(">i4", &[1i32, -2].map(i32::to_be_bytes).concat()), [1.0, -2.0]);
    assert_eq!(read(">i8", &[1i64, -2].map(i64::to_be_bytes).concat()), [1.0, -2.0]);
    assert_eq!(read("<u2", &[1u16, 65_535].map(u16::to_le_bytes).concat()), [1.0, 65_535.0]);
    assert_eq!(
        read("<u4", &[1u32, u32::MAX].map(u32::to_le_bytes).concat()),
        [1.0, u32::MAX as f32]
    );
    assert_eq!(
        read("<u8", &[1u64, u64::MAX].map(u64::to_le_bytes).concat()),
        [1.0, u64::MAX as f32]
    );
    assert_eq!(read("|b1", &[1, 0]), [1.0, 0.0]);
    assert_eq!(read("=u1", &[1, 255]), [1.0, 255.0]);
}

#[test]
fn fortran_order_is_read_in_c_order() {
    // numpy.arange(24).reshape(2, 3, 4), saved with order="F".
    let places =
        [0u8, 12, 4, 16, 8, 20, 1, 13, 5, 17, 9, 21, 2, 14, 6, 18, 10, 22, 3, 15, 7, 19, 11, 23];
    let bytes = file(1, "|u1", "True", "(2, 3, 4)", &places);
    let expected: Vec<u8> = (0..24).collect();
    let AnyArray::U8(array) = read_bytes(&bytes).unwrap() else { panic!("another type") };
    assert_eq!((array.shape(), array.data()), (&[2, 3, 4][..], &expected[..]));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(&map::<u8>(&path).unwrap()[..], expected);
    let big = [1.0f64, 2.0, 3.0, 4.0].map(f64::to_be_bytes).concat();
    let both = read_bytes(&file(1, ">f8", "True", "(2, 2)", &big)).unwrap();
    assert_eq!(both.into_f32().unwrap().data(), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(read_bytes(&file(1, "<f4", "True", "(0, 3)", &[])).unwrap().shape(), [0, 3]);
    let huge = "(9999999999999, 9999999999999, 0)";
    // An error or an empty array, but no overflow.
    drop(read_bytes(&file(1, "<f4", "True", huge, &[])));
}

#[test]
fn what_cannot_be_read_says_why() {
    let message = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
    let complex = message(&file(1, "<c8", "False", "(2, 1)", &[0; 16]));
    assert!(complex.contains("a.npy: has the shape [2, 1] and values of type `<c8`"), "{complex}");
    assert!(message(&file(1, "|O", "False", "(3,)", &[0; 24])).contains("`O` (Python objects)"));
    assert!(message(b"").contains("is empty"));
    assert!(message(b"PK\x03\x04").contains("is a ZIP archive, not a .npy file"));
    assert!(message(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    assert!(message(&file(1, "<f4", "False", "(2,)", &[0; 4])).contains("cut short"));
    assert!(
        message(&file(1, "<f4", "False", "(9999999999999, 9999999999999)", &[])).contains("shape")
    );
    assert!(message(&file(1, "<f4", "False", "(-1,)", &[])).contains("`shape`"));
    assert!(message(b"\x93NUMPY\x02\x00\xff\xff\xff\xff").contains("at most 65536 are accepted"));
    assert!(message(b"RIFF").contains("not a .npy"));
}

proptest! {
    #[test]
    fn damage_never_panics(cut in 0usize..60, at in 0usize..100, byte: u8) {
        let mut bytes = file(1, "<f4", "True", "(2, 4)", &[1; 32]);
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Some(value) = bytes.get_mut(at) { *value = byte; }
        let _ = read_bytes(&bytes);
    }
}
