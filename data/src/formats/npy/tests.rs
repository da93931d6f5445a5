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
fn what_cannot_be_read_says_why() {
    let message = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
    assert!(message(&file(1, "<f4", "True", "(1,)", &[0; 4])).contains("Fortran"));
    assert!(message(&file(1, ">f4", "False", "(1,)", &[0; 4])).contains("`>f4`"));
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
        let mut bytes = file(1, "<f4", "False", "(2, 4)", &[1; 32]);
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Some(value) = bytes.get_mut(at) { *value = byte; }
        let _ = read_bytes(&bytes);
    }
}
