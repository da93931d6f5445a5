use super::*;
use crate::ErrorKind;
use crate::array::Array;
use crate::folds::Split;
use crate::formats::csd::write::{Entry, Features, write};

fn entry(id: &str, width: usize, spans: &[[f64; 2]], value: f32) -> Entry {
    let rows = spans.len();
    Entry {
        id: id.to_owned(),
        features: Features::Numbers(Array::new([rows, width], vec![value; rows * width]).unwrap()),
        intervals: spans.to_vec(),
    }
}

fn labels(id: &str, rows: &[([f64; 2], [f32; 7])]) -> Entry {
    let spans: Vec<[f64; 2]> = rows.iter().map(|(span, _)| *span).collect();
    let numbers = rows.iter().flat_map(|(_, numbers)| *numbers).collect::<Vec<f32>>();
    let features = Features::Numbers(Array::new([rows.len(), 7], numbers).unwrap());
    Entry { id: id.to_owned(), features, intervals: spans }
}

/// Three videos with labels: two segments; one of them only in voice and text; one without any features.
fn corpus(folder: &Path, extra: &[([f64; 2], [f32; 7])]) {
    let first = [
        ([5.0, 9.0], [0.0, 0.0, 0.7, 0.0, 0.0, 0.0, 1.0]),
        ([1.0, 5.0], [-1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    ];
    let all = [
        labels("a", &[&first[..], extra].concat()),
        labels("b", &[([0.0, 2.0], [0.0; 7])]),
        labels("c", &[([0.0, 2.0], [0.0; 7])]),
    ];
    write(&folder.join("CMU_MOSEI_Labels.csd"), "All Labels", &[], &all).unwrap();
    let spans = [[0.0, 3.0], [3.0, 9.0]];
    let words = ["a", "b", "z"].map(|id| entry(id, 3, &spans, 1.0));
    write(&folder.join("CMU_MOSEI_TimestampedWordVectors.csd"), "glove_vectors", &[], &words)
        .unwrap();
    let voice = ["a", "b"].map(|id| entry(id, 74, &spans, 1.0));
    // The sequence is known from the file's name, not from the root's.
    write(&folder.join("CMU_MOSEI_COVAREP.csd"), "sequence", &[], &voice).unwrap();
    let faces = [entry("a", 35, &spans, 1.0)];
    write(&folder.join("deep.csd"), "FACET 4.2", &[], &faces).unwrap();
}

fn wanted(pairs: &[(&str, &str)]) -> Vec<Named> {
    pairs.iter().map(|(name, root)| Named { name: (*name).into(), root: (*root).into() }).collect()
}

fn all() -> Vec<Named> {
    wanted(&[("faces", "facet"), ("text", "glove_vectors"), ("voice", "COVAREP")])
}

#[test]
fn segments_are_rows_of_the_labels() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!FORMAT.is_here(folder.path()));
    let extra = [([9.0, 9.0], [1.0; 7]), ([9.0, 10.0], [f32::NAN; 7])];
    corpus(folder.path(), &extra);
    assert!(FORMAT.is_here(folder.path()));
    let corpus = find(folder.path(), &all(), Align::WordMeans, OnError::Fail).unwrap();
    let ids: Vec<&str> = corpus.samples.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["a[1]", "a[0]", "b[0]"], "by time, named by row");
    let labels: Vec<_> = corpus.samples.iter().map(|s| s.label).collect();
    assert_eq!(labels, [1, 0b10_0010, 0].map(|bits| Some(Label::Each(bits))));
    assert_eq!(corpus.samples[2].group.as_deref(), Some("b"));
    assert_eq!((corpus.missing(), corpus.modalities.len()), (vec![1, 0, 0], 3));
    assert_eq!(
        corpus.notices,
        [
            "1 rows of labels are shorter than a segment can be",
            "1 rows of labels contain NaN",
            "1 segments have labels but no features and are left out",
            "1 videos have features but no labels and are not used",
            "1 of 3 samples have no faces",
        ]
    );
    let modalities = FORMAT.modalities(folder.path(), None).unwrap();
    let mut names: Vec<&str> = modalities.iter().map(|wanted| wanted.name.as_str()).collect();
    names.sort();
    assert_eq!(names, ["COVAREP", "FACET", "glove_vectors"]);
}

#[test]
fn what_is_missing_or_there_twice_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        |wanted: &[Named]| find(folder.path(), wanted, Align::None, OnError::Fail).unwrap_err();
    assert_eq!(error(&all()).kind(), ErrorKind::MissingData);
    corpus(folder.path(), &[([1.0, 5.0], [0.0; 7])]);
    let said = error(&all()).to_string();
    assert!(said.contains("duplicate segment a[2] (1.00 to 5.00 s)"), "{said}");
    let skipped = find(folder.path(), &all(), Align::None, OnError::Skip).unwrap();
    assert_eq!(skipped.samples.len(), 3);
    assert!(skipped.notices.iter().any(|n| n.starts_with("1 duplicate segments")));
    let said = error(&wanted(&[("marks", "OpenFace_2")])).to_string();
    assert!(
        said.contains("no .csd file of OpenFace_2, which the modality `marks` is taken from"),
        "{said}"
    );
    std::fs::copy(folder.path().join("deep.csd"), folder.path().join("again.csd")).unwrap();
    let said = error(&all()).to_string();
    assert!(
        said.contains("deep.csd: holds facet, as ") && said.contains("again.csd does"),
        "{said}"
    );
}

#[test]
fn an_aligned_export_keeps_its_ids() {
    let folder = tempfile::tempdir().unwrap();
    let all =
        [labels("a[4]", &[([2.0, 3.0], [1.0; 7])]), labels("a[10]", &[([3.0, 4.0], [0.0; 7])])];
    write(&folder.path().join("labels.csd"), "All Labels", &[], &all).unwrap();
    let voice = ["a[4]", "a[10]"].map(|id| entry(id, 74, &[[0.0, 4.0]], 1.0));
    write(&folder.path().join("voice.csd"), "COVAREP", &[], &voice).unwrap();
    let corpus =
        find(folder.path(), &wanted(&[("voice", "covarep")]), Align::None, OnError::Fail).unwrap();
    let ids: Vec<&str> = corpus.samples.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["a[4]", "a[10]"]);
    assert!(corpus.samples.iter().all(|s| s.group.as_deref() == Some("a")));
}

#[test]
fn standard_folds_come_from_lists_of_videos() {
    let folder = tempfile::tempdir().unwrap();
    corpus(folder.path(), &[]);
    let found = || find(folder.path(), &all(), Align::None, OnError::Fail);
    let split = || Split::of_corpus(&found().unwrap());
    let notice = |what: &str| found().unwrap().notices.iter().any(|notice| notice.contains(what));
    assert_eq!(split().unwrap(), None);
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("train.txt", "a\n\n");
    put("test.txt", "b\r\nq\n");
    assert_eq!(found().unwrap_err().kind(), ErrorKind::MissingData);
    put("valid.txt", "a\n");
    assert!(found().unwrap_err().to_string().contains("the video a is in two folds"));
    put("valid.txt", "r\n");
    let Split { train, validation, test } = split().unwrap().unwrap();
    assert_eq!((train, validation, test), (vec![0, 1], vec![], vec![2]));
    assert!(notice("2 videos of the corpus's own folds are not in the data"));
    put("valid.txt", "\n");
    assert!(found().unwrap_err().to_string().contains("names no video"));
    put("folds.json", r#"{"train": ["b"], "dev": ["z"], "test": ["y"]}"#);
    assert!(notice("2 segments are of videos in none of the corpus's own folds"));
    let said = split().unwrap_err().to_string();
    assert!(said.contains("none of the samples is for test"), "{said}");
    put("folds.json", "[1]");
    assert_eq!(found().unwrap_err().kind(), ErrorKind::BadData);
}

#[test]
fn segments_that_start_before_their_video_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let extra = [
        ([-0.4776, 1.0], [1.0; 7]),
        // Nothing of these is in the video.
        ([-2.0, -0.5], [1.0; 7]),
        ([f64::NEG_INFINITY, 1.0], [1.0; 7]),
        ([f64::NAN, 1.0], [1.0; 7]),
    ];
    corpus(folder.path(), &extra);
    let corpus = find(folder.path(), &all(), Align::None, OnError::Fail).unwrap();
    let ids: Vec<&str> = corpus.samples.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["a[2]", "a[1]", "a[0]", "b[0]"]);
    assert_eq!(corpus.notices[0], "3 rows of labels are shorter than a segment can be");
}

#[test]
fn companions_of_macos_are_no_sequences_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("._CMU_MOSEI_COVAREP.csd"), b"\0\x05\x16\x07").unwrap();
    assert!(!FORMAT.is_here(folder.path()));
    corpus(folder.path(), &[]);
    std::fs::write(folder.path().join(".DS_Store"), "").unwrap();
    let corpus = find(folder.path(), &all(), Align::None, OnError::Fail).unwrap();
    assert_eq!(corpus.samples.len(), 3);
    let noticed = corpus.notices.iter().filter(|notice| notice.contains("of macOS"));
    assert_eq!(noticed.collect::<Vec<_>>().len(), 1, "{:?}", corpus.notices);
}
