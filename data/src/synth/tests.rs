//! The synthetic world: constant bytes, RAVDESS's formats, plausible values.

use super::generate::ClipFiles;
use super::write::openface_header;
use super::*;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

/// Hash of two actors with three clips each in the default world. A change here is a new world: raise
/// `format_version` and calibrate again.
const FROZEN: &str = "d730f41be2d8f008de43dbff1dd26c10be794eec38691b578e1a44f790b8d02f";

/// Hash of these actors as segments, three each.
const FROZEN_SEGMENTS: &str = "405d2c81d09105db7b1c55309ae3727e426d044216e4c1492cb10a93e30cccd8";

fn small() -> WorldSettings {
    WorldSettings { actors: 2, clips_per_actor: 3, ..WorldSettings::default() }
}

fn go(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn generate_with_threads(threads: usize, root: &Path) -> Summary {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| generate(&small(), root, &go)).unwrap()
}

#[test]
fn one_and_two_threads_write_the_frozen_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let one = generate_with_threads(1, &folder.path().join("one"));
    let two = generate_with_threads(2, &folder.path().join("two"));
    assert_eq!(one, two);
    assert_eq!(one.hash, FROZEN);
    for file in ["factors.csv", "world.json"] {
        let read = |root: &str| fs::read(folder.path().join(root).join(file)).unwrap();
        assert_eq!(read("one"), read("two"), "{file}");
    }
    // Nothing but the two worlds is left.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_part_equals_the_whole() {
    let whole =
        World::new(&WorldSettings { actors: 5, extra_actors: 2, ..small() }, Shape::Ravdess)
            .unwrap();
    let part = World::new(&small(), Shape::Ravdess).unwrap();
    let header = openface_header();
    for id in part.clips() {
        let hash = |world: &World| {
            let clip = world.clip(id).unwrap();
            ClipFiles::new(&clip, world.settings(), &header).unwrap().hash()
        };
        assert_eq!(hash(&whole), hash(&part), "{id:?}");
    }
    assert_eq!(whole.clips().len(), 21);
}

#[test]
fn tree_has_the_names_of_ravdess() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("world");
    let summary = generate(&small(), &root, &go).unwrap();
    let mut bytes = 0;
    for name in [
        "Audio_Speech_Actors_01-24/Actor_02/03-01-01-01-01-01-02.wav",
        "FacialTracking_Actors_01-24/01-01-02-01-01-01-01.csv",
        "Video_Speech_Actors_01-24/Actor_01/01-01-03-01-01-01-01.npy",
    ] {
        bytes += fs::metadata(root.join(name)).unwrap().len();
    }
    // Tables differ by a few digits from clip to clip.
    let expected = summary.bytes as f64 / 6.0;
    assert!((bytes as f64 / expected - 1.0).abs() < 0.01, "{bytes} against {expected}");
    let factors = fs::read_to_string(root.join("factors.csv")).unwrap();
    assert_eq!(factors.lines().count(), 7);
    assert!(factors.starts_with("id,actor,class,voice_arousal"));
    let columns = |line: &str| line.split(',').count();
    assert!(factors.lines().all(|line| columns(line) == 3 + 5 + 15 + 3));
}

#[test]
fn full_world_has_ravdess_counts() {
    let world = World::new(&WorldSettings::default(), Shape::Ravdess).unwrap();
    let clips = world.clips();
    assert_eq!(clips.len(), 1440);
    let of_emotion = |emotion| clips.iter().filter(|id| id.emotion == emotion).count();
    assert_eq!(of_emotion(0), 96);
    assert!((1..8).all(|emotion| of_emotion(emotion) == 192));
    let mut codes: Vec<_> = clips.iter().map(|id| (id.actor, id.code())).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), 1440);
    assert!(clips.iter().all(|id| !(id.strong && id.emotion == 0)));
}

#[test]
fn openface_header_is_the_712_column_form() {
    let header = openface_header();
    let names: Vec<_> = header.trim_end().split(',').collect();
    assert_eq!(names.len(), 712);
    // One-based places of the data set's page.
    for (place, name) in [
        (1, "frame"),
        (3, "confidence"),
        (4, "gaze_0_x"),
        (11, "gaze_angle_y"),
        (12, "eye_lmk_x_0"),
        (124, "eye_lmk_X_0"),
        (292, "pose_Tx"),
        (297, "pose_Rz"),
        (298, "x_0"),
        (366, "y_0"),
        (434, "X_0"),
        (638, "p_scale"),
        (644, "p_0"),
        (678, "AU01_r"),
        (694, "AU45_r"),
        (695, "AU01_c"),
        (711, "AU28_c"),
        (712, "AU45_c"),
    ] {
        assert_eq!(names[place - 1], name);
    }
}

#[test]
fn files_hold_what_the_clip_holds() {
    let world = World::new(&small(), Shape::Ravdess).unwrap();
    let id = world.clips()[2];
    let clip = world.clip(id).unwrap();
    let files = ClipFiles::new(&clip, world.settings(), &openface_header()).unwrap();
    let mut wav = hound::WavReader::new(&files.voice[..]).unwrap();
    let spec = wav.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 48_000, 16));
    assert_eq!(wav.samples::<i16>().map(Result::unwrap).collect::<Vec<_>>(), clip.voice);
    let table = String::from_utf8(files.landmarks).unwrap();
    assert_eq!(table.lines().count(), 73);
    for (line, frame) in table.lines().skip(1).zip(&clip.landmarks) {
        let row: Vec<f32> = line.split(',').map(|field| field.parse().unwrap()).collect();
        assert_eq!(row.len(), 712);
        for (point, [x, y]) in frame.points.iter().enumerate() {
            assert!((row[297 + point] - x).abs() < 0.051 && (row[365 + point] - y).abs() < 0.051);
        }
    }
    assert!(files.frames.len().is_multiple_of(64));
    assert!(files.frames.ends_with(&clip.frames));
    let header = String::from_utf8_lossy(&files.frames[10..128]);
    assert!(header.contains("'shape': (36, 32, 32, 3,)"), "{header}");
}

#[test]
fn values_are_sane() {
    // Difficulty 2 stretches every nuisance.
    for difficulty in [0.0, 1.0, 2.0] {
        let settings = WorldSettings { actors: 6, clips_per_actor: 15, difficulty, ..small() };
        let world = World::new(&settings, Shape::Ravdess).unwrap();
        for id in world.clips() {
            let clip = world.clip(id).unwrap();
            assert_eq!(clip.voice.len(), settings.samples());
            let peak = clip.voice.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
            // Calibrated clips stay well below full scale; stretched ones are held at 0.98 of it.
            let loudest = if difficulty > 1.0 { 32_113 } else { 28_000 };
            assert!((60..=loudest).contains(&peak), "{id:?}: peak {peak}");
            assert_eq!(clip.landmarks.len(), 72);
            assert!(clip.landmarks[0].confidence > 0.5);
            for frame in &clip.landmarks {
                assert!(frame.points.iter().all(|p| (0.0..1280.0).contains(&p[0])));
                assert!(frame.points.iter().all(|p| (0.0..720.0).contains(&p[1])));
                assert!((0.0..=1.0).contains(&frame.confidence));
                assert!(
                    frame.rotation.iter().chain(&frame.position).all(|value| value.is_finite())
                );
            }
            assert_eq!(clip.frames.len(), 36 * 32 * 32 * 3);
            let mean =
                clip.frames.iter().map(|&v| f64::from(v)).sum::<f64>() / clip.frames.len() as f64;
            assert!((15.0..220.0).contains(&mean), "{id:?}: mean pixel {mean}");
            let factors = clip.factors;
            let all = factors.voice_affect.iter().chain(&factors.action_units).chain(&factors.skin);
            assert!(all.into_iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn a_stopped_run_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("world");
    let stopped = generate(&small(), &root, &|_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(SynthError::Interrupted { total: 6, .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_complete_world_is_kept_and_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("world");
    let first = generate(&small(), &root, &go).unwrap();
    let again = generate(&small(), &root, &|_| panic!("nothing is to be made")).unwrap();
    assert_eq!(first, again);
    let other = WorldSettings { seed: 12, ..small() };
    assert!(
        matches!(generate(&other, &root, &go), Err(SynthError::Occupied(path)) if path == root)
    );
}

#[test]
fn errors_name_the_place_and_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = generate(&small(), &file.join("world"), &go).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
    let error = WorldSettings { sample_rate: 44_100, ..small() }
        .check(Shape::Ravdess)
        .unwrap_err()
        .to_string();
    assert!(error.contains("sample_rate") && error.contains("44100"), "{error}");
    let error = WorldSettings { seconds: f64::NAN, ..small() }
        .check(Shape::Ravdess)
        .unwrap_err()
        .to_string();
    assert!(error.contains("seconds"), "{error}");
}

#[test]
fn segments_are_the_frozen_bytes_of_a_corpus_that_is_read() {
    use crate::corpora::{Options, mosei};
    use crate::corpus::Label;
    let folder = tempfile::tempdir().unwrap();
    let make = |threads: usize| {
        let root = folder.path().join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generate_segments(&small(), &root, &go)).unwrap()
    };
    let (one, two) = (make(1), make(2));
    assert_eq!(one, two);
    assert_eq!(one.hash, FROZEN_SEGMENTS);
    let root = folder.path().join("1");
    assert_eq!(generate_segments(&small(), &root, &go).unwrap(), one, "left as it is");
    assert!(matches!(generate(&small(), &root, &go), Err(SynthError::Occupied(_))));
    let wanted = mosei::FORMAT.modalities(&root, Some(Path::new("unused"))).unwrap();
    let corpus = mosei::FORMAT.find(&root, &wanted, &Options::default()).unwrap().corpus;
    assert_eq!((corpus.samples.len(), corpus.missing(), corpus.notices.len()), (6, vec![0; 5], 0));
    assert!(corpus.samples.iter().any(|sample| sample.label != Some(Label::Each(0))));
    let factors = fs::read_to_string(root.join("factors.csv")).unwrap();
    assert!(factors.contains("\nspeaker_02[2],2,"), "{factors}");
    // The values of a sequence are at the end of its file.
    let files = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let sequence = files.filter(|path| path.extension().is_some_and(|e| e == "csd")).max().unwrap();
    let mut bytes = fs::read(&sequence).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&sequence, bytes).unwrap();
    let error = mosei::FORMAT.find(&root, &wanted, &Options::default()).unwrap_err().to_string();
    assert!(error.contains(&format!("{}: differs from", sequence.display())), "{error}");
}

#[test]
fn every_actor_of_a_world_is_read() {
    use crate::corpora::{Options, ravdess};
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("world");
    let settings =
        WorldSettings { actors: 26, extra_actors: 1, clips_per_actor: 1, face_size: 16, ..small() };
    generate(&settings, &root, &go).unwrap();
    let wanted = ravdess::FORMAT.modalities(&root, None).unwrap();
    let mut corpus = ravdess::FORMAT.find(&root, &wanted, &Options::default()).unwrap().corpus;
    assert_eq!((corpus.samples.len(), corpus.notices.len()), (27, 0), "{:?}", corpus.notices);
    attributes::label(&root, &mut corpus).unwrap();
    assert!(corpus.samples.iter().all(|sample| sample.label.is_some()));
}
