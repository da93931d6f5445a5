//! Videos as cameras and editors write them: the frames that ffmpeg finds, at the times it shows them.

use crate::fixture::folder;
use data::features::clip::ClipSettings;
use data::formats::video::{Frame, Info, Reader, Turn, decode};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn video(name: &str) -> PathBuf {
    folder().join("video").join(name)
}

fn frames(path: &Path, bytes: &[u8]) -> data::Result<(Info, Vec<Frame>)> {
    let mut frames = Vec::new();
    let info = decode(path, bytes, &mut |frame| {
        frames.push(frame);
        Ok(())
    })?;
    assert_eq!(info.frames, frames.len());
    Ok((info, frames))
}

fn read(name: &str) -> data::Result<(Info, Vec<Frame>)> {
    frames(&video(name), &std::fs::read(video(name)).unwrap())
}

/// The first 16 digits of the hash of a frame's three planes.
fn digest(frame: &Frame) -> String {
    let mut hash = Sha256::new();
    for plane in [&frame.y, &frame.u, &frame.v] {
        hash.update(plane);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// By file: the digests of the frames that ffmpeg finds, each once.
fn expected() -> BTreeMap<String, Vec<String>> {
    serde_json::from_slice(&std::fs::read(video("frames.json")).unwrap()).unwrap()
}

fn ffmpeg() -> bool {
    Command::new("ffmpeg").arg("-version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn frames_are_those_of_ffmpeg_to_the_bit() {
    let expected = expected();
    for name in ["b_frames.mp4", "baseline.mp4", "cut.mp4", "turned.mp4"] {
        let (info, frames) = read(name).unwrap();
        assert_eq!(info.reader, Reader::Own, "{name}");
        assert!((info.frames_per_second - 30_000.0 / 1001.0).abs() < 0.01, "{name}: {info:?}");
        let digests: Vec<String> = frames.iter().map(digest).collect();
        assert_eq!(digests, expected[name], "{name}");
        for (number, frame) in frames.iter().enumerate() {
            assert!((frame.time - number as f64 / info.frames_per_second).abs() < 1e-9);
        }
    }
}

#[test]
fn late_starts_and_gaps_are_filled_so_that_frames_stay_with_the_sound() {
    let expected = expected();
    // 0.2 s are six frames: the first stands for them as well.
    let (info, frames) = read("late.mp4").unwrap();
    let digests: Vec<String> = frames.iter().map(digest).collect();
    assert_eq!((info.frames, &digests[6..]), (30, &expected["late.mp4"][..]));
    assert!(digests[..6].iter().all(|digest| *digest == digests[6]));
    // Frames 1 to 4, 6 to 9 and so on: a frame stands for the one left out behind it.
    let (info, frames) = read("varying.mp4").unwrap();
    assert!((info.frames_per_second - 29.97).abs() < 0.1, "{info:?}");
    let digests: Vec<String> = frames.iter().map(digest).collect();
    let kept = &expected["varying.mp4"];
    let mut wanted = vec![&kept[0]];
    for (number, digest) in kept.iter().enumerate() {
        wanted.push(digest);
        if number % 4 == 3 && number + 1 < kept.len() {
            wanted.push(digest);
        }
    }
    assert_eq!(digests.iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn a_turned_video_stands_upright() {
    let (_, frames) = read("turned.mp4").unwrap();
    assert_eq!(frames[0].turn, Turn::ThreeQuarters);
    let upright = frames[0].rgb().unwrap();
    assert_eq!(upright.shape(), [96, 64, 3]);
    let (_, plain) = read("b_frames.mp4").unwrap();
    let lying = plain[0].rgb().unwrap();
    // The upper right corner comes to the upper left, the upper left one to the lower left.
    assert_eq!(upright.data()[..3], lying.data()[95 * 3..][..3]);
    assert_eq!(upright.data()[95 * 64 * 3..][..3], lying.data()[..3]);
}

#[test]
fn what_is_not_h264_is_ffmpegs_or_an_error_that_says_so() {
    for name in ["hevc.mp4", "flash.flv"] {
        let found = read(name);
        if ffmpeg() {
            let (info, frames) = found.unwrap();
            assert_eq!((info.reader, info.frames), (Reader::Ffmpeg, 24), "{name}");
            let digests: Vec<String> = frames.iter().map(digest).collect();
            assert_eq!(digests, expected()[name], "{name}");
        } else {
            let error = found.unwrap_err().to_string();
            assert!(error.contains("install ffmpeg, which reads it"), "{error}");
        }
    }
}

#[test]
fn the_content_decides_which_reader_a_video_has() {
    // A transport stream by the name of an MP4 file; VP8 at 30 frames per second on a clock of 1 kHz.
    for (name, what, frames_of_ffmpeg, rate) in [
        ("stream.mp4", "it is an MPEG transport stream", 24, 29.97),
        ("recorder.webm", "it is a Matroska or WebM file", 24, 30.3),
    ] {
        let found = read(name);
        if ffmpeg() {
            let (info, _) = found.unwrap();
            assert_eq!(info.reader, Reader::Ffmpeg, "{name}");
            assert!(info.frames.abs_diff(frames_of_ffmpeg) <= 1, "{name}: {info:?}");
            assert!((info.frames_per_second - rate).abs() < 0.5, "{name}: {info:?}");
        } else {
            let error = found.unwrap_err().to_string();
            assert!(
                error.contains(what) && error.contains("install ffmpeg, which reads it"),
                "{error}"
            );
        }
    }
    // Neither reader makes frames of other content, whatever its name is.
    for (bytes, wanted) in [
        (&b""[..], "is empty (0 bytes)"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "is a companion of macOS"),
        (b"\x89 some other content", "no video that is known by its first bytes"),
    ] {
        let error = frames(Path::new("clip.mp4"), bytes).unwrap_err().to_string();
        assert!(error.starts_with("clip.mp4: ") && error.contains(wanted), "{error}");
    }
}

#[test]
fn frames_of_one_size_have_no_list_of_sizes_and_are_read() {
    let expected = expected();
    // The second begins one frame late: its first frame stands for that as well.
    for (name, late) in [("one.mp4", 0), ("equal.mp4", 1)] {
        let (info, frames) = read(name).unwrap();
        let digests: Vec<String> = frames.iter().map(digest).collect();
        assert_eq!((info.reader, &digests[late..]), (Reader::Own, &expected[name][..]), "{name}");
    }
}

#[test]
fn chunks_that_claim_millions_of_frames_are_refused_before_there_is_room_for_them() {
    let mut bytes = std::fs::read(video("equal.mp4")).unwrap();
    let table = bytes.windows(4).position(|name| name == b"stsc").unwrap();
    // After the name: version, number of runs, first chunk of the first run; then its frames.
    bytes[table + 16..][..4].copy_from_slice(&0x0fff_ffff_u32.to_be_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claims.mp4");
    std::fs::write(&path, bytes).unwrap();
    let error = ClipSettings::default().read(&path).unwrap_err().to_string();
    assert!(error.contains("claims.mp4: more than 160000 frames"), "{error}");
}

#[test]
fn a_video_becomes_a_clip_of_the_middle_of_its_frames() {
    let settings = ClipSettings { height: 32, width: 32, ..ClipSettings::default() };
    let (clip, rate) = settings.read(&video("b_frames.mp4")).unwrap();
    assert_eq!(clip.shape(), [24, 32, 32, 3]);
    assert!((rate - 29.97).abs() < 0.01);
    let (_, frames) = read("b_frames.mp4").unwrap();
    let mean = |values: &mut dyn Iterator<Item = &u8>| {
        let (sum, count) = values.fold((0.0, 0.0), |(s, n), &x| (s + f64::from(x), n + 1.0));
        sum / count
    };
    // The middle 64 of 96 columns, red.
    let rgb = frames[5].rgb().unwrap();
    let middle =
        mean(&mut rgb.data().chunks(96 * 3).flat_map(|row| row[48..240].iter().step_by(3)));
    let shrunk = mean(&mut clip.data()[5 * 32 * 32 * 3..][..32 * 32 * 3].iter().step_by(3));
    assert!((middle - shrunk).abs() < 1.0, "{middle} and {shrunk}");
}

#[test]
fn what_follows_the_last_box_is_left_out() {
    // The tables are behind the frames, or before them.
    for name in ["baseline.mp4", "b_frames.mp4"] {
        let path = video(name);
        let bytes = std::fs::read(&path).unwrap();
        let count = |bytes: &[u8]| frames(&path, bytes).map(|(info, _)| info.frames);
        let mut tag = b"TAGtitle of the clip".to_vec();
        tag.resize(128, b' ');
        for after in [
            &[0x81; 37][..],
            b"abc",
            &tag,
            &[0; 64],
            b"free",
            b"\0\0\xff\xffmdat",
            b"\0\0\0\x09<html>",
        ] {
            let found = count(&[&bytes[..], after].concat());
            assert_eq!(found.unwrap(), count(&bytes).unwrap(), "{name}: {after:?}");
        }
        assert!(count(&bytes[..bytes.len() - 37]).is_err());
    }
}

#[test]
fn cut_and_damaged_videos_are_errors_or_frames_never_panics() {
    let whole = std::fs::read(video("b_frames.mp4")).unwrap();
    let path = Path::new("damaged.mp4");
    for length in (0..whole.len()).step_by(29) {
        let error = frames(path, &whole[..length]).unwrap_err().to_string();
        assert!(error.starts_with("damaged.mp4: "), "{error}");
    }
    let cut = frames(path, &whole[..whole.len() - 40]).unwrap_err().to_string();
    assert!(cut.contains("is cut short: it breaks off at byte"), "{cut}");
    let mut state = 7u64;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        if let Ok((info, _)) = frames(path, &bytes) {
            assert!(info.frames < 10_000);
        }
    }
}
