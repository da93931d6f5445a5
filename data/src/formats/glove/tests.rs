use super::*;
use proptest::prelude::*;

fn glove(text: &[u8]) -> Result<Glove> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors.txt");
    std::fs::write(&path, text).unwrap();
    Glove::open(&path, None)
}

const SMALL: &[u8] = b"the 0.5 -1 2\n. . . 1 2 3\n7 1e-2 0 0\nkids 4 5 6\n's 7 8 9\n";

#[test]
fn lines_are_read_from_the_right() {
    let glove = glove(SMALL).unwrap();
    assert_eq!((glove.dimension(), glove.word_count()), (3, 5));
    assert_eq!(glove.vector(". . .").unwrap(), Some(vec![1.0, 2.0, 3.0]));
    assert_eq!(glove.vector("7").unwrap(), Some(vec![0.01, 0.0, 0.0]));
    assert_eq!(glove.vector("dogs").unwrap(), None);
}

#[test]
fn a_text_becomes_rows_and_a_list_of_unknown_words() {
    let glove = glove(SMALL).unwrap();
    let embedded = glove.embed("The kids' dogs, the KIDS's dogs").unwrap();
    assert_eq!(embedded.vectors.shape(), [5, 3]);
    assert_eq!(embedded.vectors.data()[3..6], [4.0, 5.0, 6.0]);
    assert_eq!(embedded.unknown.iter().collect::<Vec<_>>(), ["'", ",", "dogs"]);
    let nothing = glove.embed("").unwrap();
    assert_eq!((nothing.vectors.data(), nothing.known), (&[0.0f32; 3][..], 0));
}

#[test]
fn words_are_split_as_glove_counts_them() {
    let plain = |text: &str| words(text, |_| false);
    assert_eq!(
        plain("Don't stop, it\u{2019}s 3.5 km!"),
        ["do", "n't", "stop", ",", "it", "'s", "3.5", "km", "!"]
    );
    assert_eq!(
        plain("  well-known (\"yes\")"),
        ["well", "-", "known", "(", "\"", "yes", "\"", ")"]
    );
    assert!(plain(" \n\t").is_empty());
}

#[test]
fn words_with_dots_stay_whole_where_the_file_has_them() {
    let known = ["u.s.", "mr.", "mr", "e.g", "a.m.", "no.", "no", "ph.d.", "fig."];
    let split = |text: &str| words(text, |word| known.contains(&word));
    assert_eq!(split("Mr. Smith of the U.S."), ["mr.", "smith", "of", "the", "u.s."]);
    assert_eq!(
        split("the U.S.'s (U.S.) U.S.,"),
        ["the", "u.s.", "'s", "(", "u.s.", ")", "u.s.", ","]
    );
    assert_eq!(
        split("9 a.m... e.g., Ph.D.s"),
        ["9", "a.m.", ".", ".", "e.g", ".", ",", "ph", ".", "d", ".", "s"]
    );
    // The end of a sentence is a dot of its own, unless the word is known only with its dot.
    assert_eq!(
        split("He said no. See fig. 3.5."),
        ["he", "said", "no", ".", "see", "fig.", "3.5", "."]
    );
    assert_eq!(split("u.k. dr. end.Start"), ["u", ".", "k", ".", "dr", ".", "end", ".", "start"]);
    assert_eq!(split(&"a.".repeat(50)).len(), 100);
    let glove = glove(b"mr. 1 2\nu.s. 3 4\nmr 5 6\n. 7 8\n").unwrap();
    assert_eq!(glove.embed("Mr. U.S.").unwrap().vectors.data(), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_word() {
    for start in ["", "2 3\n"] {
        let glove = glove(format!("\u{feff}{start}the 1 2 3\nof 4 5 6\r\n").as_bytes()).unwrap();
        assert_eq!((glove.word_count(), glove.dimension()), (2, 3));
        assert_eq!(glove.vector("the").unwrap(), Some(vec![1.0, 2.0, 3.0]));
        assert_eq!(glove.vector("of").unwrap(), Some(vec![4.0, 5.0, 6.0]));
    }
    let message = glove("\u{feff}a 1 2 3\nb 1 2\nc 1 2 3\n".as_bytes()).unwrap_err().to_string();
    assert!(message.contains("vectors.txt:2: 2 numbers"), "{message}");
}

#[test]
fn a_word2vec_header_is_no_word_and_bad_files_are_named() {
    assert_eq!(glove(b"2 3\na 1 2 3\nb 1 2 3\n").unwrap().word_count(), 2);
    assert!(
        glove(b"hello world\n")
            .unwrap_err()
            .to_string()
            .contains("vectors.txt: not a file of word vectors: its first lines")
    );
    for (bytes, part) in [
        (&b""[..], "is empty"),
        (b"PK\x03\x04", "is a ZIP archive, not a file of word vectors"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:c6f9\nsize 72862\n",
            "run `git lfs pull`",
        ),
    ] {
        let message = glove(bytes).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    let cut = glove(b"a 1 2 3\nb 1 2\nc 1 2 3\n").unwrap_err().to_string();
    assert!(cut.contains("vectors.txt:2: 2 numbers, where the lines"), "{cut}");
    let mut text = SMALL.repeat(60);
    text.extend(b"late 1 x 2\n");
    let message = glove(&text).unwrap().vector("late").unwrap_err().to_string();
    assert!(message.contains("vectors.txt:301: the vector of `late`"), "{message}");
}

#[test]
fn an_index_is_kept_and_made_again_where_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vectors.txt");
    let kept = folder.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(&path, SMALL).unwrap();
    let open = || Glove::open(&path, Some(&kept)).unwrap();
    let good = |glove: &Glove| {
        assert_eq!((glove.word_count(), glove.dimension()), (5, 3));
        assert_eq!(glove.vector("kids").unwrap(), Some(vec![4.0, 5.0, 6.0]));
    };
    let first = open();
    assert!(matches!(first.index, Index::Made(_)));
    good(&first);
    let second = open();
    assert!(matches!(second.index, Index::Kept(_)));
    good(&second);
    let file = kept.join(format!("{}.words", second.fingerprint()));
    let whole = std::fs::read(&file).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        std::fs::write(&file, if at % 2 == 0 { &damaged[..] } else { &whole[..at] }).unwrap();
        let glove = open();
        assert!(matches!(glove.index, Index::Made(_)), "byte {at}");
        good(&glove);
    }
    // The whole file counts, not its ends.
    let long = SMALL.repeat(600_000);
    let middle = long.len() / 2;
    let name = |text: &[u8]| {
        std::fs::write(&path, text).unwrap();
        open().fingerprint().to_owned()
    };
    let intact = name(&long);
    assert_ne!(name(&[&long[..middle], b"\0", &long[middle + 1..]].concat()), intact);
    // Other vectors of the same name have an index of their own.
    std::fs::write(&path, b"kids 9 9 9\n").unwrap();
    assert_eq!(open().vector("kids").unwrap(), Some(vec![9.0, 9.0, 9.0]));
    // A folder that cannot be written costs only time.
    let nowhere = Glove::open(&path, Some(Path::new("/nonexistent"))).unwrap();
    assert_eq!(nowhere.vector("kids").unwrap(), Some(vec![9.0, 9.0, 9.0]));
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(glove) = glove(&bytes) {
            let _ = glove.embed(&String::from_utf8_lossy(&bytes));
        }
    }
}
