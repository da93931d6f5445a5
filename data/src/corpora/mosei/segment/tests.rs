use super::*;
use crate::ErrorKind;
use crate::cache::Cache;
use crate::features::{Extractor, Source, WordSettings};
use crate::formats::csd::write::{Entry, Features, write};
use crate::formats::openface::Coordinates;

/// Start, end, numbers.
type Row = (f64, f64, Vec<f32>);

/// A file of one sequence.
fn csd(folder: &Path, root: &str, names: &[String], parts: &[(&str, Vec<Row>)]) -> Arc<Csd> {
    let entry = |(id, rows): &(&str, Vec<Row>)| Entry {
        id: (*id).to_owned(),
        features: Features::Numbers(
            Array::new(
                [rows.len(), rows[0].2.len()],
                rows.iter().flat_map(|(.., numbers)| numbers.clone()).collect::<Vec<f32>>(),
            )
            .unwrap(),
        ),
        intervals: rows.iter().map(|(start, end, _)| [*start, *end]).collect(),
    };
    let path = folder.join(format!("{root}.csd"));
    write(&path, root, names, &parts.iter().map(entry).collect::<Vec<_>>()).unwrap();
    Arc::new(Csd::open(&path).unwrap())
}

fn words(folder: &Path) -> Arc<Csd> {
    let path = folder.join("words.csd");
    let intervals = vec![[0.0, 0.4], [0.4, 1.0], [1.0, 1.0], [1.0, 1.5], [1.5, 2.0], [2.0, 3.0]];
    let words = ["good", "sp", "nothing", "Strange", "day", "late"].map(str::to_owned).to_vec();
    let entry = Entry { id: "v".into(), features: Features::Words(words), intervals };
    write(&path, "words", &[], &[entry]).unwrap();
    Arc::new(Csd::open(&path).unwrap())
}

fn segment(sequence: &Arc<Csd>, words: &Arc<Csd>, span: [f64; 2], align: Align) -> Segment {
    let (sequence, words) = (Arc::clone(sequence), Arc::clone(words));
    Segment { id: "v[0]".into(), sequence, video: "v".into(), span, align, words }
}

fn numbers(decoded: &Decoded) -> (&[usize], &[f32]) {
    let Values::F32(array) = &decoded.values else { panic!() };
    (array.shape(), array.data())
}

#[test]
fn an_interval_without_numbers_shares_no_time() {
    assert!(overlap(&[0.0, 2.0], &[1.0, 3.0]));
    assert!(overlap(&[0.0, f64::INFINITY], &[1.0, 3.0]));
    assert!(
        !overlap(&[f64::NAN, f64::NAN], &[1.0, 3.0]) && !overlap(&[0.0, f64::NAN], &[0.5, 3.0])
    );
}

#[test]
fn rows_belong_to_the_words_that_they_share_time_with() {
    let folder = tempfile::tempdir().unwrap();
    let words = words(folder.path());
    // Every quarter of a second, but for a gap from 1.5 to 2.0, in two parts, the later first in the file.
    let row = |t: usize| (t as f64 * 0.25, (t + 1) as f64 * 0.25, vec![t as f32, 10.0 * t as f32]);
    let late = (8..12).rev().map(row).collect();
    let mut early: Vec<_> = (0..6).map(row).collect();
    early[1].2[0] = f32::NEG_INFINITY;
    early[4].2[1] = f32::NAN;
    let sequence = csd(folder.path(), "COVAREP", &[], &[("v[7]", late), ("v[3]", early)]);
    let decode = |span, align, settings: &SequenceSettings| {
        segment(&sequence, &words, span, align).sequence(settings).unwrap()
    };
    let plain = SequenceSettings::default();

    // Words 0.0-0.4, 0.4-1.0, 1.0-1.5, 1.5-2.0: rows 0 1, 1 2 3, 4 5, none.
    let means = decode([0.0, 2.0], Align::WordMeans, &plain);
    let expected = [0.0, 5.0, 2.5, 20.0, 4.5, 50.0, 0.0, 0.0];
    assert_eq!(numbers(&means), (&[4usize, 2][..], &expected[..]));
    assert_eq!(
        means.warnings,
        [
            "3 of 14 values are no finite numbers and were left out",
            "1 of 4 words have no rows and are zeros"
        ]
    );
    let rows = decode([0.0, 2.0], Align::WordRows, &plain);
    let firsts: Vec<f32> = numbers(&rows).1.iter().copied().step_by(2).collect();
    assert_eq!(firsts, [0.0, 0.0, 0.0, 2.0, 3.0, 4.0, 5.0]);

    // A touch is not enough, and the two parts come in the order of time.
    let rated = SequenceSettings { frames_per_second: Some(4.0), ..plain.clone() };
    let raw = decode([1.25, 2.5], Align::None, &rated);
    assert_eq!(numbers(&raw), (&[3usize, 2][..], &[5.0, 50.0, 8.0, 80.0, 9.0, 90.0][..]));
    assert_eq!(raw.frames_per_second, Some(4.0));
    let close = decode([0.250_001, 0.499_999], Align::None, &plain);
    assert_eq!(numbers(&close).0, [1, 2]);
    let touching = decode([0.25, 0.500_009], Align::None, &plain);
    assert_eq!(numbers(&touching).0, [1, 2], "9 microseconds are the same time");

    let nothing = decode([5.0, 6.0], Align::None, &plain);
    assert_eq!(numbers(&nothing).0[0], 0);
    assert_eq!(nothing.warnings, ["COVAREP has nothing between 5.00 and 6.00 s"]);
}

#[test]
fn columns_are_taken_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let words = words(folder.path());
    let names = ["AU01_r", "pose_Tx", "AU02_r"].map(str::to_owned);
    let rows = || vec![("v", vec![(0.0, 1.0, vec![1.0, 2.0, 3.0])])];
    let named = csd(folder.path(), "OpenFace_2", &names, &rows());
    let settings =
        |prefix: &str| SequenceSettings { columns: vec![prefix.into()], ..Default::default() };
    let decode = |csd: &Arc<Csd>, prefix| {
        segment(csd, &words, [0.0, 1.0], Align::None).sequence(&settings(prefix))
    };
    assert_eq!(numbers(&decode(&named, "AU").unwrap()), (&[1usize, 2][..], &[1.0, 3.0][..]));
    assert!(decode(&named, "eye").unwrap_err().to_string().contains("no column is named like"));
    let unnamed = csd(folder.path(), "FACET", &[], &rows());
    assert_eq!(decode(&unnamed, "AU").unwrap_err().kind(), ErrorKind::BadData);
}

/// OpenFace's rows: a face whose points spread from its middle, tracked or not.
fn face(width: usize, first: usize, middle: f32, success: f32) -> Vec<f32> {
    let mut row = vec![0.5; width];
    row[3] = success;
    for point in 0..68 {
        row[first + point] = middle + point as f32;
        row[first + 68 + point] = middle - point as f32;
    }
    row[first + 45] = middle + 90.0;
    row[first + 68 + 8] = middle + 90.0;
    row
}

#[test]
fn landmarks_are_found_by_name_or_by_their_look() {
    let folder = tempfile::tempdir().unwrap();
    let words = words(folder.path());
    let settings = LandmarkSettings {
        points: crate::features::landmarks::Points::All68,
        scaling: crate::features::landmarks::Scaling::None,
        ..Default::default()
    };
    let names: Vec<String> = crate::synth::openface_names();
    assert_eq!(names.len(), 713);
    for (width, first, names) in
        [(713, 298, &[][..]), (713, 299, &[][..]), (714, 299, &[][..]), (713, 298, &names)]
    {
        let mut lost = face(width, first, 500.0, 0.0);
        lost[2] = 0.1;
        let mut rows = vec![
            (0.0, 0.25, lost),
            (0.25, 0.5, face(width, first, 100.0, 1.0)),
            (0.5, 0.75, face(width, first, 200.0, 1.0)),
            (0.75, 1.0, face(width, first, 300.0, 1.0)),
        ];
        // Where the columns stand one further, so do success and confidence.
        if first == 299 {
            rows.iter_mut().for_each(|(.., row)| row[4] = row[3]);
        }
        let csd = csd(folder.path(), "OpenFace_2", names, &[("v", rows)]);
        let raw = segment(&csd, &words, [0.0, 1.0], Align::None).landmarks(&settings).unwrap();
        assert_eq!(numbers(&raw).0, [4, 68, 2]);
        let point_1: Vec<f32> = numbers(&raw).1.chunks(136).map(|frame| frame[2]).collect();
        assert_eq!(point_1, [101.0, 101.0, 201.0, 301.0], "{width} {first}");
        assert_eq!(
            raw.warnings,
            ["1 of 4 frames show no face and repeat the points of another frame"]
        );
        let means =
            segment(&csd, &words, [0.0, 1.0], Align::WordMeans).landmarks(&settings).unwrap();
        let point_1: Vec<f32> = numbers(&means).1.chunks(136).map(|frame| frame[3]).collect();
        assert_eq!(point_1, [99.0, 199.0]);
    }
    // No face anywhere in the row.
    let csd = csd(folder.path(), "FACET", &[], &[("v", vec![(0.0, 1.0, vec![1.0; 713])])]);
    let error = segment(&csd, &words, [0.0, 1.0], Align::None).landmarks(&settings).unwrap_err();
    assert!(error.to_string().contains("rows of 713 numbers in v[0]"), "{error}");
    let space = Columns::named(&names, Coordinates::Space).unwrap();
    assert_eq!(space.points[..4], [434, 502, 570, 435]);
}

#[test]
fn words_become_vectors_one_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let words = words(folder.path());
    let vectors = folder.path().join("glove.txt");
    std::fs::write(&vectors, "good 1 2\nday 3 4\nsp 9 9\n").unwrap();
    let decoder = Extractor::Words(WordSettings { vectors }).decoder(None).unwrap();
    let source = Source::Excerpt(Arc::new(segment(&words, &words, [0.0, 2.0], Align::WordMeans)));
    let decoded = decoder.decode(&source).unwrap();
    let expected = [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 4.0];
    assert_eq!(numbers(&decoded), (&[4usize, 2][..], &expected[..]));
    assert_eq!(decoded.warnings, ["v[0]: 1 of 4 words have no vector and are zeros"]);
}

#[test]
fn a_cache_entry_is_of_the_files_and_the_place_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let words = words(folder.path());
    let rows = |x: f32| vec![("v", vec![(0.0, 1.0, vec![x]), (1.0, 2.0, vec![x + 1.0])])];
    let one = csd(folder.path(), "COVAREP", &[], &rows(1.0));
    let other = csd(folder.path(), "FACET", &[], &rows(2.0));
    let cache = Cache::open(&folder.path().join("cache")).unwrap();
    let decoder = Extractor::Sequence(SequenceSettings::default()).decoder(None).unwrap();
    let computed = |csd: &Arc<Csd>, span, align| {
        cache
            .fetch(&decoder, &Source::Excerpt(Arc::new(segment(csd, &words, span, align))))
            .unwrap()
            .computed
    };
    assert!(computed(&one, [0.0, 1.0], Align::None) && !computed(&one, [0.0, 1.0], Align::None));
    assert!(computed(&one, [0.0, 2.0], Align::None));
    assert!(computed(&one, [0.0, 1.0], Align::WordMeans));
    assert!(computed(&other, [0.0, 1.0], Align::None));
    // Nothing is remembered too.
    assert!(computed(&one, [7.0, 8.0], Align::None) && !computed(&one, [7.0, 8.0], Align::None));
}
