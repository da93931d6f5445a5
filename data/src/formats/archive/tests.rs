use super::*;
use proptest::prelude::*;
use std::io::Write;
use zip::write::SimpleFileOptions;

/// Writes an archive of these members, every second one without compression.
pub(crate) fn write(path: &Path, members: &[(&str, &[u8])]) {
    let mut writer = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    for (number, (name, bytes)) in members.iter().enumerate() {
        let method = [CompressionMethod::Deflated, CompressionMethod::Stored][number % 2];
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
}

fn archive(members: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zip");
    write(&path, members);
    (folder, path)
}

/// The error of opening the archive with these bytes and reading all of it.
fn refusal(path: &Path, bytes: &[u8]) -> Option<String> {
    std::fs::write(path, bytes).unwrap();
    let read = |archive: Arc<Archive>| {
        archive.members().files.iter().try_for_each(|member| member.read().map(drop))
    };
    Archive::open(path).and_then(read).err().map(|error| error.to_string())
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    memmem::find(bytes, what).unwrap()
}

#[test]
fn members_come_out_as_they_went_in() {
    let long = vec![7u8; 100_000];
    let (_folder, path) = archive(&[("Actor_01/x.wav", &long), ("y", b"abc")]);
    let members = Archive::open(&path).unwrap().members().files;
    assert_eq!(members.len(), 2);
    assert_eq!((members[0].path(), members[0].size()), (&*path.join("Actor_01/x.wav"), 100_000));
    assert_eq!(members[0].unpacked(), path.parent().unwrap().join("Actor_01/x.wav"));
    assert_eq!((members[0].read().unwrap(), members[1].read().unwrap()), (long, b"abc".to_vec()));
    // The CRC-32 of "abc".
    assert_eq!(members[1].identity(), "member y 3 352441c2");
}

#[test]
fn names_that_lead_out_of_the_archive_are_left_out_and_counted() {
    let (_folder, path) = archive(&[
        ("../x.mp4", b"1"),
        ("a/../../x.mp4", b"2"),
        ("/a/y", b"3"),
        ("..\\z", b"4"),
        ("b/", b""),
    ]);
    let members = Archive::open(&path).unwrap().members();
    let places: Vec<PathBuf> = members.files.iter().map(Member::unpacked).collect();
    assert_eq!((places, members.unusable), (vec![path.with_file_name("a/y")], 3));
}

/// Info-ZIP's `unzip -l` shows the same names; Python's zipfile reads CP437 where no flag says UTF-8.
#[test]
fn names_are_utf8_or_else_cp437_and_backslashes_separate_folders() {
    let written = ["a/__-01.wav", "b______.wav", "c_.wav", "d\\e\\f.wav", "g/h\\i.wav"];
    let (_folder, path) = archive(&written.map(|name| (name, &b"abc"[..])));
    let mut bytes = std::fs::read(&path).unwrap();
    // UTF-8 without the flag, Shift-JIS, CP437: each name is in the member's header and in the directory.
    for (place, name) in
        [(0, &b"a/\xc3\xa9-01.wav"[..]), (1, b"b\x83e\x83X\x83g.wav"), (2, b"c\x82.wav")]
    {
        let old = written[place].as_bytes();
        let found: Vec<usize> = memmem::find_iter(&bytes, old).collect();
        assert_eq!(found.len(), 2);
        found.into_iter().for_each(|at| bytes[at..at + name.len()].copy_from_slice(name));
    }
    std::fs::write(&path, &bytes).unwrap();
    let names = || -> Vec<String> {
        let members = Archive::open(&path).unwrap().members();
        assert_eq!(members.unusable, 0);
        assert!(members.files.iter().all(|member| member.read().unwrap() == b"abc"));
        members.files.iter().map(|member| member.name().to_str().unwrap().to_owned()).collect()
    };
    let expected = ["a/\u{e9}-01.wav", "b\u{e2}e\u{e2}X\u{e2}g.wav", "c\u{e9}.wav"];
    assert_eq!(names(), [&expected[..], &["d/e/f.wav", "g/h\\i.wav"]].concat());
    // A flag for UTF-8 that lies.
    let directory: Vec<usize> = memmem::find_iter(&bytes, b"PK\x01\x02").collect();
    directory.into_iter().for_each(|at| bytes[at + 9] |= 8);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(names()[2], "c\u{e9}.wav");
}

#[test]
fn each_way_to_be_hostile_has_its_message() {
    let text: Vec<u8> = (0..5_000u32).flat_map(|i| (i * i).to_le_bytes()).collect();
    let (_folder, path) = archive(&[("x.csv", &text)]);
    let good = std::fs::read(&path).unwrap();
    assert_eq!(refusal(&path, &good), None);
    let directory = find(&good, b"PK\x01\x02");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        refusal(&path, &bytes).unwrap_or_default()
    };
    let put = |bytes: &mut Vec<u8>, at: usize, value: &[u8]| {
        bytes[at..at + value.len()].copy_from_slice(value);
    };
    for (message, wanted) in [
        (with(&|b| b[200] ^= 1), "the archive is damaged; download it again"),
        (with(&|b| put(b, directory + 16, &[0; 4])), "a.zip/x.csv: does not have its checksum"),
        (with(&|b| put(b, directory + 24, &u32::to_le_bytes(1 << 30))), "claims 1073741824 bytes"),
        (with(&|b| put(b, directory + 24, &[9, 0, 0, 0])), "the archive is damaged"),
        (with(&|b| b[directory + 8] |= 1), "is encrypted; unpack the archive with its password"),
        (with(&|b| b[directory + 10] = 98), "has an unsupported compression"),
        (with(&|b| put(b, directory + 42, &[0xf0; 4])), "a.zip"),
        (with(&|b| b.truncate(b.len() - 30)), "a.zip: not a complete ZIP archive"),
        (with(&|b| b.clear()), "a.zip: is empty"),
        (with(&|b| b[..2].fill(b'x')), "a.zip: not a ZIP archive"),
    ] {
        assert!(message.contains(wanted), "{wanted}: {message}");
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let (_folder, path) = archive(&[("zeros", &vec![0; 1 << 22])]);
    let good = std::fs::read(&path).unwrap();
    assert!(good.len() < 8_192 && refusal(&path, &good).is_none());
    // The directory claims a smaller size than the member has: reading ends at that size.
    let mut bytes = good.clone();
    let size = find(&good, b"PK\x01\x02") + 24;
    bytes[size..size + 4].copy_from_slice(&1_000u32.to_le_bytes());
    let message = refusal(&path, &bytes).unwrap();
    assert!(message.contains("a.zip/zeros: ") && message.contains("is damaged"), "{message}");
}

/// 200 kB that would become 190 MB, and four times that as samples.
#[test]
fn a_small_archive_does_not_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zip");
    let mut writer = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    writer.start_file("a.wav", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::copy(&mut std::io::repeat(0).take(190 << 20), &mut writer).unwrap();
    writer.finish().unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!((180_000..220_000).contains(&bytes.len()), "{}", bytes.len());
    let message = refusal(&path, &bytes).unwrap();
    assert!(message.contains("claims 199229440 bytes, compressed to"), "{message}");
}

#[test]
fn a_directory_of_billions_is_not_believed() {
    let (_folder, path) = archive(&[("x", b"abc")]);
    let good = std::fs::read(&path).unwrap();
    let end = find(&good, b"PK\x05\x06");
    let (start, length) =
        (find(&good, b"PK\x01\x02") as u64, (end - find(&good, b"PK\x01\x02")) as u64);
    let with_count = |count: u64| {
        let mut record = b"PK\x06\x06".to_vec();
        record.extend(44u64.to_le_bytes());
        record.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for number in [count, count, length, start] {
            record.extend(number.to_le_bytes());
        }
        record.extend(b"PK\x06\x07\0\0\0\0");
        record.extend((end as u64).to_le_bytes());
        record.extend([1, 0, 0, 0]);
        let mut last = good[end..].to_vec();
        last[8..12].fill(0xff);
        last[16..20].fill(0xff);
        [&good[..end], &record, &last].concat()
    };
    assert_eq!(refusal(&path, &with_count(1)), None);
    let message = refusal(&path, &with_count(u64::MAX / 2)).unwrap();
    assert!(message.contains("claims more than 1048576 members"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damage_never_panics(cut in 0usize..400, at in 0usize..400, byte: u8) {
        let (_folder, path) = archive(&[("a/b.wav", &[1; 90]), ("c", b"xyz")]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Some(value) = bytes.get_mut(at) { *value = byte; }
        let _ = refusal(&path, &bytes);
    }
}
