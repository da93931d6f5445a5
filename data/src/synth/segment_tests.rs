//! The settings of CMU-MOSEI's shape: which files each changes, how, and what is refused.

use super::segments::{SequenceFile, entry};
use super::*;
use crate::ErrorKind;
use crate::corpora::{Options, mosei};
use crate::corpus::{Corpus, Label};
use crate::formats::csd::write::{Entry, Features};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// Hash of two actors with three segments each in the world of the preset h5. A change here is a new world: raise
/// `format_version` and measure again.
const FROZEN_H5: &str = "479c7738e3e83563f76061fb3cb302ccceac9bc8bbac2bd2f57ffb76d2b2ae43";

fn small() -> WorldSettings {
    WorldSettings { actors: 2, clips_per_actor: 3, ..WorldSettings::default() }
}

/// The settings of the preset h5, but for its size.
fn h5() -> WorldSettings {
    let segments = SegmentSettings {
        voice_nuisance: 3.0,
        faces_nuisance: 3.0,
        voice_affect: 0.0,
        slips: 0.4,
        label_threshold: 0.1,
        absent_voice: 0.15,
        absent_landmarks: 0.15,
        absent_faces: 0.15,
        ..SegmentSettings::default()
    };
    WorldSettings { weak_modality: 0.3, pose: 1.5, segments, ..small() }
}

fn go(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn with(segments: SegmentSettings) -> WorldSettings {
    WorldSettings { segments, ..small() }
}

/// The first actor's rows of a file.
fn rows(settings: &WorldSettings, kind: SequenceFile) -> Entry {
    let world = World::new(settings, Shape::Mosei).unwrap();
    entry(&world, 1, kind).unwrap().unwrap()
}

/// The files that differ.
fn changed(one: &WorldSettings, other: &WorldSettings) -> Vec<SequenceFile> {
    let differ = |kind: &SequenceFile| {
        let (one, other) = (rows(one, *kind), rows(other, *kind));
        let equal = match (&one.features, &other.features) {
            (Features::Numbers(one), Features::Numbers(other)) => one == other,
            (Features::Words(one), Features::Words(other)) => one == other,
            _ => false,
        };
        !equal || one.intervals != other.intervals
    };
    SequenceFile::ALL.into_iter().filter(differ).collect()
}

fn numbers(entry: Entry) -> Vec<f32> {
    match entry.features {
        Features::Numbers(array) => array.data().to_vec(),
        Features::Words(_) => Vec::new(),
    }
}

#[test]
fn the_world_of_h5_is_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let made = generate_segments(&h5(), &folder.path().join("world"), &go).unwrap();
    assert_eq!(made.hash, FROZEN_H5);
}

#[test]
fn a_setting_changes_its_own_files_alone() {
    use SequenceFile::{Facet, Labels, OpenFace, Voice, WordVectors, Words};
    let plain = SegmentSettings::default;
    let wide = SegmentSettings { voice_nuisance: 3.0, faces_nuisance: 3.0, ..plain() };
    for (settings, wanted) in [
        (with(SegmentSettings { voice_nuisance: 3.0, ..plain() }), &[Voice][..]),
        (with(SegmentSettings { faces_nuisance: 3.0, ..plain() }), &[Facet]),
        (with(SegmentSettings { voice_affect: 0.0, ..plain() }), &[Voice]),
        (with(SegmentSettings { slips: 1.0, ..plain() }), &[Words, WordVectors]),
        (with(SegmentSettings { label_threshold: 0.3, ..plain() }), &[Labels]),
        (with(SegmentSettings { absent_voice: 0.5, ..plain() }), &[Voice]),
        (with(SegmentSettings { absent_landmarks: 0.5, ..plain() }), &[OpenFace]),
        (with(SegmentSettings { absent_faces: 0.5, ..plain() }), &[Facet]),
        (WorldSettings { channel: 2.0, ..small() }, &[Voice]),
        (WorldSettings { light: 2.0, ..small() }, &[Facet]),
        (WorldSettings { pose: 2.0, ..small() }, &[OpenFace]),
        (WorldSettings { tracker_bias: 1.0, ..small() }, &[OpenFace]),
    ] {
        assert_eq!(changed(&small(), &settings), wanted, "{settings:?}");
    }
    let narrow = SegmentSettings { nuisance_dimensions: 2, ..wide.clone() };
    assert_eq!(changed(&with(wide), &with(narrow)), [Voice, Facet]);
}

#[test]
fn without_difficulty_no_noise_is_left() {
    let calm = WorldSettings { difficulty: 0.0, ..small() };
    let segments = SegmentSettings {
        voice_nuisance: 3.0,
        faces_nuisance: 3.0,
        slips: 1.0,
        ..SegmentSettings::default()
    };
    let loud = WorldSettings { channel: 3.0, light: 3.0, pose: 3.0, segments, ..calm.clone() };
    assert_eq!(changed(&calm, &loud), []);
    let hard = WorldSettings { difficulty: 2.0, ..small() };
    let spread = |settings: &WorldSettings| {
        // Two rows of FACET one after the other differ by the motion and the noise of each.
        let rows = numbers(rows(settings, SequenceFile::Facet));
        let steps = rows.chunks(35).zip(rows[35..].chunks(35));
        steps.flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| (a - b).powi(2)).sum::<f32>()
    };
    let (none, some, more) = (spread(&calm), spread(&small()), spread(&hard));
    assert!(none < 0.5 * some && 2.0 * some < more, "{none} {some} {more}");
}

#[test]
fn nuisance_is_constant_over_a_segment_and_of_its_size() {
    let offsets = |size: f64| {
        let settings = WorldSettings {
            clips_per_actor: 60,
            ..with(SegmentSettings { faces_nuisance: size, ..SegmentSettings::default() })
        };
        let plain = WorldSettings { segments: SegmentSettings::default(), ..settings.clone() };
        let [with, without] = [settings, plain].map(|s| numbers(rows(&s, SequenceFile::Facet)));
        let differences: Vec<f32> = with.iter().zip(&without).map(|(a, b)| a - b).collect();
        let frames = small().landmark_frames();
        for segment in differences.chunks(35 * frames) {
            let first = &segment[..35];
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-3;
            assert!(segment.chunks(35).all(|row| row.iter().zip(first).all(close)));
        }
        let firsts = differences.chunks(35 * frames).flat_map(|segment| &segment[..35]);
        let squares: Vec<f32> = firsts.map(|x| x * x).collect();
        (squares.iter().sum::<f32>() / squares.len() as f32).sqrt()
    };
    let (one, three) = (offsets(1.0), offsets(3.0));
    // The columns are mixtures with the standard deviation sqrt(3).
    assert!((one / 3f32.sqrt() - 1.0).abs() < 0.25, "{one}");
    assert!((three / one - 3.0).abs() < 0.01, "{three}");
}

fn find(root: &Path) -> Corpus {
    let wanted = mosei::FORMAT.modalities(root, None).unwrap();
    mosei::FORMAT.find(root, &wanted, &Options::default()).unwrap().corpus
}

#[test]
fn the_share_of_segments_without_rows() {
    let segments = SegmentSettings { absent_voice: 0.5, ..SegmentSettings::default() };
    let settings = WorldSettings { clips_per_actor: 60, ..with(segments) };
    let rows = rows(&settings, SequenceFile::Voice).intervals.len();
    let whole = 60 * (settings.seconds * 100.0) as usize;
    assert!((0.3..0.7).contains(&(rows as f64 / whole as f64)), "{rows} of {whole}");
    // A video without any row is not in the file.
    let segments = SegmentSettings { absent_faces: 0.9, ..SegmentSettings::default() };
    let one = WorldSettings { actors: 40, clips_per_actor: 1, segments, ..small() };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("world");
    generate_segments(&one, &root, &go).unwrap();
    let corpus = find(&root);
    let faces = corpus.modalities.iter().position(|name| name == "FACET").unwrap();
    let missing = corpus.missing()[faces];
    assert!((30..40).contains(&missing), "{missing} of 40");
    // A file without any row is no sequence.
    let none = WorldSettings { actors: 1, ..one };
    let root = folder.path().join("none");
    let error = generate_segments(&none, &root, &go).unwrap_err().to_string();
    assert!(error.contains("`segments.absent_faces` is 0.9; it must be smaller"), "{error}");
    assert!(!root.exists());
}

#[test]
fn attributes_can_be_the_labels() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("world");
    let settings = WorldSettings { clips_per_actor: 15, ..small() };
    generate_segments(&settings, &root, &go).unwrap();
    let mut corpus = find(&root);
    let emotions = corpus.clone();
    attributes::label(&root, &mut corpus).unwrap();
    assert_eq!(corpus.classes, ["arousal", "valence", "dominance"]);
    let valence = |sample: usize| match corpus.samples[sample].label {
        Some(Label::Values(ratings)) => ratings.values()[1],
        other => panic!("{other:?}"),
    };
    let (happy, sad): (Vec<usize>, Vec<usize>) = (0..corpus.samples.len())
        .filter(|&i| matches!(emotions.samples[i].label, Some(Label::Each(0b1 | 0b10))))
        .partition(|&i| emotions.samples[i].label == Some(Label::Each(0b1)));
    let mean =
        |samples: &[usize]| samples.iter().map(|&i| valence(i)).sum::<f32>() / samples.len() as f32;
    assert!(mean(&happy) > 0.25 && mean(&sad) < -0.25, "{} {}", mean(&happy), mean(&sad));

    let path = root.join("attributes.csv");
    let text = fs::read_to_string(&path).unwrap();
    for (bad, message) in [
        (text.lines().next().unwrap().to_owned() + "\nx,0,6,0\n", "has 6, outside -1 to 1"),
        (text.replacen("speaker_01[3]", "speaker_01[99]", 1), "has no row for speaker_01[3]"),
        (text.replacen("valence", "size", 1), "does not begin with"),
        (text.lines().next().unwrap().to_owned() + "\nx,1,2\n", "line 2 has no 3 numbers"),
    ] {
        fs::write(&path, bad).unwrap();
        let error = attributes::label(&root, &mut corpus).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadData);
        assert!(error.to_string().contains(message), "{error}");
    }
    fs::remove_file(&path).unwrap();
    let error = attributes::label(&root, &mut corpus).unwrap_err();
    assert!(error.to_string().contains("there are no attributes"), "{error}");
}

#[test]
fn settings_without_effect_and_out_of_range_are_refused() {
    let refused = |settings: WorldSettings, shape| settings.check(shape).unwrap_err().to_string();
    let slips = |slips| with(SegmentSettings { slips, ..SegmentSettings::default() });
    let error = refused(slips(0.4), Shape::Ravdess);
    assert!(error.contains("`segments` is set; it must be left out with RAVDESS"), "{error}");
    for value in [-0.1, 1.1, f64::NAN] {
        let error = refused(slips(value), Shape::Mosei);
        assert!(error.contains("`segments.slips`") && error.contains("0 to 1"), "{error}");
    }
    for (settings, name) in [
        (WorldSettings { face_size: 64, ..small() }, "face_size"),
        (WorldSettings { video_fps: 5.0, ..small() }, "video_fps"),
        (WorldSettings { sample_rate: 16_000, ..small() }, "sample_rate"),
        (WorldSettings { voice: Voice::Espeak, ..small() }, "voice"),
    ] {
        let error = refused(settings, Shape::Mosei);
        assert!(error.contains(&format!("`{name}`")) && error.contains("left out"), "{error}");
    }
    // Face frames do not bound the landmarks where there are none.
    WorldSettings { landmark_fps: 10.0, ..small() }.check(Shape::Mosei).unwrap();
    h5().check(Shape::Mosei).unwrap();
}
