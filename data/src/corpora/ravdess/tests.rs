use super::*;
use crate::formats::archive;
use proptest::prelude::*;

fn tree(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    folder
}

const ALL: [FeatureKind; 3] = [FeatureKind::Voice, FeatureKind::Landmarks, FeatureKind::Clip];

#[test]
fn files_of_one_performance_meet_in_one_sample() {
    let folder = tree(&[
        "Audio/Actor_12/03-01-06-01-02-01-12.wav",
        "Tracking/01-01-06-01-02-01-12.csv",
        "copy/Actor_12/03-01-06-01-02-01-12.wav",
        "Video/02-01-06-01-02-01-12.npy",
        "Video/01-01-06-01-02-01-12.npy",
        "Audio/Actor_12/03-01-06-01-02-02-12.wav",
        "Audio/Actor_02/03-01-01-01-01-01-02.WAV",
        "Audio/Actor_02/03-02-01-01-01-01-02.wav",
        "Audio/Actor_02/03-01-09-01-01-01-02.wav",
        "readme.txt",
    ]);
    let corpus = find(folder.path(), &ALL, Vocal::Speech).unwrap();
    let ids: Vec<&str> = corpus.samples.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["01-01-01-01-01-02", "01-06-01-02-01-12", "01-06-01-02-02-12"]);
    let sample = &corpus.samples[1];
    assert_eq!((sample.label, sample.group.as_deref()), (Some(Label::One(5)), Some("12")));
    assert!(sample.files.iter().all(Option::is_some));
    assert!(sample.files[2].as_ref().unwrap().path().ends_with("Video/01-01-06-01-02-01-12.npy"));
    assert_eq!(sample.leak_key, corpus.samples[2].leak_key);
    assert_eq!(corpus.missing(), [0, 2, 2]);
    assert_eq!(corpus.notices.len(), 4, "{:?}", corpus.notices);
}

#[test]
fn actors_above_24_are_read_and_noted() {
    let folder = tree(&[
        "Audio/03-01-01-01-01-01-24.wav",
        "Audio/03-01-01-01-01-01-25.wav",
        "Audio/03-01-01-01-01-01-99.wav",
        "Audio/03-01-01-01-01-01-00.wav",
    ]);
    let find = || find(folder.path(), &[FeatureKind::Voice], Vocal::Speech).unwrap();
    let corpus = find();
    let groups: Vec<&str> = corpus.samples.iter().filter_map(|s| s.group.as_deref()).collect();
    assert_eq!(groups, ["24", "25", "99"]);
    let notes = corpus.notices.join("; ");
    assert!(
        notes.contains("1 files have names") && notes.contains("2 performances are"),
        "{notes}"
    );
    std::fs::write(folder.path().join("world.json"), "{}").unwrap();
    assert_eq!(find().notices.len(), 1, "{:?}", find().notices);
}

#[test]
fn videos_without_sound_are_of_those_with() {
    assert_eq!(with_sound("02-01-06-01-02-01-12").as_deref(), Some("01-01-06-01-02-01-12"));
    assert_eq!(with_sound("01-01-06-01-02-01-12"), None);
    assert_eq!(with_sound("02-01-09-01-02-01-12"), None, "there is no such emotion");
}

#[test]
fn songs_are_taken_when_asked_for() {
    let folder = tree(&[
        "Actor_02/03-01-01-01-01-01-02.wav",
        "Actor_02/03-02-01-01-01-01-02.wav",
        "Actor_02/03-02-02-01-01-01-02.wav",
    ]);
    let count = |vocal| find(folder.path(), &ALL, vocal).unwrap().samples.len();
    assert_eq!([Vocal::Speech, Vocal::Song, Vocal::Both].map(count), [1, 2, 3]);
    let notices = find(folder.path(), &ALL, Vocal::Song).unwrap().notices;
    assert!(notices.iter().any(|notice| notice.contains("actor 18")), "{notices:?}");
}

#[test]
fn frames_come_before_videos_and_sound_before_silence() {
    let folder = tree(&[
        "v/01-01-06-01-02-01-12.mp4",
        "v/02-01-06-01-02-01-12.mp4",
        "v/02-01-06-01-02-02-12.mp4",
        "v/01-01-06-01-01-01-12.mp4",
        "v/02-01-06-01-01-01-12.npy",
    ]);
    let kinds = [FeatureKind::Clip];
    let corpus = find(folder.path(), &kinds, Vocal::Speech).unwrap();
    let names: Vec<_> = corpus
        .samples
        .iter()
        .map(|sample| sample.files[0].as_ref().unwrap().path().file_name().unwrap())
        .collect();
    // Two recordings of one performance are one sample, and all repetitions have one leak key.
    assert_eq!(
        names,
        ["02-01-06-01-01-01-12.npy", "01-01-06-01-02-01-12.mp4", "02-01-06-01-02-02-12.mp4"]
    );
    assert!(
        corpus.notices[0].starts_with("2 performances have only a video"),
        "{:?}",
        corpus.notices
    );
    assert_eq!(
        find(&folder.path().join("none"), &kinds, Vocal::Speech).unwrap_err().kind(),
        crate::ErrorKind::MissingData
    );
}

#[test]
fn published_landmarks_come_before_those_of_mpuc_faces() {
    let folder = tree(&[
        "Actor_02/01-01-01-01-01-01-02.csv",
        "Actor_02/01-01-01-01-01-01-02.faces.json",
        "Actor_02/01-01-01-01-01-02-02.csv",
        "Actor_02/01-01-01-01-01-02-02.faces.json",
    ]);
    let published = folder.path().join("FacialTracking_Actors_01-24.zip");
    archive::tests::write(&published, &[("01-01-01-01-01-02-02.csv", b"points")]);
    let kinds = [FeatureKind::Landmarks];
    let corpus = find(folder.path(), &kinds, Vocal::Speech).unwrap();
    let [own, other] = corpus.samples.as_slice() else { panic!() };
    assert!(matches!(own.files[0], Some(Source::File(_))));
    assert!(matches!(other.files[0], Some(Source::Member(_))));
    assert!(corpus.notices[0].starts_with("1 performances have their landmarks from `mpuc faces`"));
    assert_eq!(corpus.notices.len(), 1, "{:?}", corpus.notices);
}

#[test]
fn archives_are_used_as_they_were_downloaded() {
    let folder = tree(&["Actor_02/03-01-01-01-01-01-02.wav"]);
    let audio = folder.path().join("Audio_Speech_Actors_01-24.zip");
    archive::tests::write(
        &audio,
        &[
            ("Actor_02/03-01-01-01-01-01-02.wav", b"the same"),
            ("Actor_02/03-01-01-01-02-01-02.wav", b"another"),
        ],
    );
    archive::tests::write(
        &folder.path().join("FacialTracking_Actors_01-24.ZIP"),
        &[("01-01-01-01-02-01-02.csv", b"points"), ("01-01-01-01-02-01-02.npy", b"frames")],
    );
    let corpus = find(folder.path(), &ALL, Vocal::Speech).unwrap();
    assert_eq!(corpus.samples.len(), 2);
    assert!(matches!(corpus.samples[0].files[0], Some(Source::File(_))), "unpacked comes first");
    let Some(Source::Member(member)) = &corpus.samples[1].files[0] else { panic!() };
    assert_eq!(member.path(), audio.join("Actor_02/03-01-01-01-02-01-02.wav"));
    assert_eq!(member.read().unwrap(), b"another");
    assert!(corpus.samples[1].files[1].is_some());
    assert!(corpus.samples[1].files[2].is_none(), "frames in an archive cannot be mapped");
    assert!(corpus.notices[0].starts_with("1 files are copies"), "{:?}", corpus.notices);

    let whole = std::fs::read(&audio).unwrap();
    std::fs::write(&audio, &whole[..whole.len() / 2]).unwrap();
    let error = find(folder.path(), &ALL, Vocal::Speech).unwrap_err().to_string();
    assert!(
        error.contains("not a complete ZIP archive") && error.contains("download it"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn any_name_is_answered(name in "[0-9a-\u{e9}-]{0,22}") {
        let _ = with_sound(&name);
    }
}
