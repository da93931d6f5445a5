use super::*;
use proptest::prelude::*;

const WIDTH: usize = 5;
const VIDEOS: [(&str, usize); 4] = [("abc-1", 9), ("_x y", 4), ("long[0]", 3), ("long[1]", 6)];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/csd").join(name)
}

/// The formula of `tests/fixtures/make/csd.py`.
fn value(id: &str, row: usize, column: usize) -> f32 {
    ((id.len() * 31 + row * 7 + column * 3) % 97) as f32 / 8.0 - 5.0
}

/// A file with one byte changed, or cut short.
fn damaged(bytes: &[u8]) -> Result<()> {
    let mut file = tempfile::NamedTempFile::with_suffix(".csd").unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    read_all(file.path())
}

fn read_all(path: &Path) -> Result<()> {
    let csd = Csd::open(path)?;
    csd.dimension_names()?;
    for video in csd.videos() {
        for id in csd.parts(video) {
            let rows = csd.intervals(id)?.len();
            match csd.root() {
                "words" => drop(csd.words(id, 0..rows)?),
                _ => drop(csd.features(id, 0..rows)?),
            }
        }
    }
    Ok(())
}

#[test]
fn every_form_that_h5py_writes_is_read() {
    for (name, root, videos) in [
        ("contiguous.csd", "COVAREP", 1),
        ("chunked.csd", "FACET 4.2", 4),
        ("gzip.csd", "OpenFace_2", 1),
        ("gzip_new.csd", "glove_vectors", 2),
    ] {
        let csd = Csd::open(&fixture(name)).unwrap();
        assert_eq!(csd.root(), root);
        let mut ids: Vec<&str> =
            csd.videos().flat_map(|video| csd.parts(video)).map(String::as_str).collect();
        ids.sort_unstable();
        let mut known: Vec<&str> = VIDEOS[..videos].iter().map(|(id, _)| *id).collect();
        known.sort_unstable();
        assert_eq!(ids, known, "{name}");
        for (id, rows) in &VIDEOS[..videos] {
            let intervals = csd.intervals(id).unwrap();
            let start = |t: usize| t as f64 * 0.25;
            assert_eq!(
                *intervals,
                (0..*rows).map(|t| [start(t), start(t) + 0.25]).collect::<Vec<_>>()
            );
            for range in [0..*rows, 1..*rows, 2..3, 1..1] {
                let part = csd.features(id, range.clone()).unwrap();
                let expected: Vec<f32> =
                    range.clone().flat_map(|t| (0..WIDTH).map(move |c| value(id, t, c))).collect();
                assert_eq!(part.data(), expected, "{name} {id} {range:?}");
                assert_eq!(part.shape(), [range.len(), WIDTH]);
            }
            assert!(csd.features(id, 0..rows + 1).is_err());
        }
    }
    assert_eq!(Csd::open(&fixture("chunked.csd")).unwrap().parts("long"), ["long[0]", "long[1]"]);
}

#[test]
fn words_and_metadata_are_read() {
    let csd = Csd::open(&fixture("words.csd")).unwrap();
    assert_eq!(csd.words("_x y", 1..3).unwrap(), ["_1\u{e9}", "_2\u{e9}"]);
    assert!(csd.words("_x y", 0..5).is_err());
    let error = csd.features("_x y", 0..2).unwrap_err().to_string();
    assert!(error.contains("words.csd: /words/data/_x y/features holds String"), "{error}");
    assert_eq!(csd.dimension_names().unwrap(), None);
    let csd = Csd::open(&fixture("contiguous.csd")).unwrap();
    assert_eq!(csd.metadata("root name").unwrap(), Some("COVAREP".into()));
    assert_eq!(csd.dimension_names().unwrap().unwrap()[4], "d4");
    assert!(csd.words("abc-1", 0..1).unwrap_err().to_string().contains("words are needed"));
    let error = csd.intervals("nobody").unwrap_err().to_string();
    assert!(error.contains("/COVAREP/data/nobody/intervals: is not there"), "{error}");
    let nothing = blake3::hash(b"");
    let hash = csd.hash(&|path| Ok(blake3::hash(&std::fs::read(path).unwrap()))).unwrap();
    assert_eq!(hash, blake3::hash(&std::fs::read(fixture("contiguous.csd")).unwrap()));
    assert_eq!(csd.hash(&|_| Ok(nothing)).unwrap(), hash, "asked for once");
}

#[test]
fn another_file_is_refused_in_one_clear_error() {
    let message = |bytes: &[u8]| damaged(bytes).unwrap_err().to_string();
    assert!(message(b"").contains(".csd: "), "{}", message(b""));
    assert!(message(b"id,label\n1,2\n").ends_with("not an HDF5 file; give a .csd file of the SDK"));
    assert!(message(b"").contains("is empty"));
    assert!(message(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    assert_eq!(
        Csd::open(Path::new("/nowhere.csd")).unwrap_err().kind(),
        crate::ErrorKind::MissingData
    );
    // The version of the superblock.
    let mut newer = std::fs::read(fixture("contiguous.csd")).unwrap();
    newer[8] = 9;
    let said = message(&newer);
    assert!(said.contains("unsupported superblock version 9; write it with h5py's"), "{said}");
}

#[test]
fn a_file_that_is_cut_short_or_changed_gives_values_or_one_error() {
    for name in ["contiguous.csd", "gzip.csd", "gzip_new.csd", "words.csd"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for length in (0..whole.len()).step_by(whole.len() / 40) {
            damaged(&whole[..length]).unwrap_err();
        }
    }
    // gzip's checksum finds a chunk that changed; the error names the group.
    let mut whole = std::fs::read(fixture("gzip.csd")).unwrap();
    let found = whole.windows(2).rposition(|pair| pair == [0x78, 0xda] || pair == [0x78, 0x5e]);
    whole[found.unwrap() + 8] ^= 0xff;
    let error = damaged(&whole).unwrap_err().to_string();
    assert!(error.contains("/OpenFace_2/data/abc-1/"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_change_of_bytes_ends_the_program(
        name in prop::sample::select(vec!["contiguous.csd", "chunked.csd", "gzip.csd", "gzip_new.csd", "words.csd"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        drop(damaged(&bytes));
    }
}
