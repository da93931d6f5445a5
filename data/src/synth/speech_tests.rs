//! The synthetic world with espeak-ng: errors with a replacement program, the rest with espeak-ng if it is installed.

use super::espeak::Speaker;
use super::generate::generate_of;
use super::prosody::{loudness, pitch, quantile};
use super::settings::VOICE_RATE;
use super::*;
use crate::formats::wav::Sound;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn small() -> WorldSettings {
    WorldSettings {
        actors: 2,
        clips_per_actor: 3,
        voice: Voice::Espeak,
        ..WorldSettings::default()
    }
}

fn go(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// espeak-ng; `None` if it is not installed, in which case the error must say what to do.
fn installed() -> Option<Speaker> {
    match Speaker::find() {
        Ok(speaker) => Some(speaker),
        Err(error) => {
            assert!(matches!(error, SynthError::NoSpeaker), "{error}");
            assert!(error.to_string().contains("apt install espeak-ng"), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// A program that prints a version and otherwise runs `script`.
fn stand_in(folder: &Path, version: &str, script: &str) -> PathBuf {
    let (text, program) = (folder.join("text"), folder.join("speaker"));
    let begin = "#!/bin/sh\nif [ \"$1\" = --version ]; then\n";
    let told = format!("echo 'eSpeak NG text-to-speech: {version}  Data at: nowhere'; exit\nfi\n");
    fs::write(&text, format!("{begin}{told}{script}\n")).unwrap();
    // Copied by another process: a file that a fork of ours holds open for writing cannot be run.
    let copied = std::process::Command::new("cp").arg(&text).arg(&program).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn world_of(settings: &WorldSettings, program: &Path) -> Result<World, SynthError> {
    Ok(World::with_speaker(settings, Some(Speaker::at(program.as_os_str())?)))
}

/// Opening of the mouth in each frame: distance of the middles of the inner lips, relative to the width of the face.
fn mouth(clip: &Clip) -> Vec<f64> {
    let width = |frame: &LandmarkFrame| f64::from(frame.points[16][0] - frame.points[0][0]);
    let open = |f: &LandmarkFrame| f64::from(f.points[66][1] - f.points[62][1]) / width(f);
    clip.landmarks.iter().map(open).collect()
}

/// The voice's loudness at the time of each frame.
fn heard(clip: &Clip, settings: &WorldSettings) -> (Sound, Vec<f64>) {
    let samples = clip.voice.iter().map(|&x| f32::from(x) / 32_768.0).collect();
    let sound = Sound { samples, rate: settings.sample_rate }.resampled(VOICE_RATE).unwrap();
    let loud = loudness(&sound.samples);
    let at = |frame: usize| (frame as f64 / settings.landmark_fps * 200.0) as usize;
    let frames = (0..settings.landmark_frames()).map(|frame| loud[at(frame).min(loud.len() - 1)]);
    let frames = frames.collect();
    (sound, frames)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (a0, b0) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        a.iter().zip(b).map(|(x, y)| f(x - a0, y - b0)).sum()
    };
    sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
}

/// The error of a clip with a program that runs `script`.
fn complaint(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let world = world_of(&small(), &stand_in(folder.path(), "9.9", script)).unwrap();
    world.clip(world.clips()[0]).unwrap_err().to_string()
}

/// Two vowels of a third of a second, a rest of the same length between them, silence around them.
fn two_vowels(path: &Path) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 22_050,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut file = hound::WavWriter::create(path, spec).unwrap();
    for n in 0..22_050 * 5 / 3 {
        let sounds = [1, 3].contains(&(n * 3 / 22_050));
        let pulse = if sounds && n % 210 < 20 { 20_000 } else { 0 };
        file.write_sample(pulse as i16).unwrap();
    }
    file.finalize().unwrap();
}

#[test]
fn the_mouth_opens_with_what_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said.wav");
    two_vowels(&said);
    let program = stand_in(folder.path(), "9.9", &format!("cat '{}'", said.display()));
    let settings = WorldSettings { difficulty: 0.0, identity: 0.0, ..small() };
    let world = world_of(&settings, &program).unwrap();
    assert_eq!(world.speaker(), Some("espeak-ng 9.9"));
    // The first is neutral: only speech moves its mouth.
    let clip = world.clip(world.clips()[0]).unwrap();
    let (_, loud) = heard(&clip, &settings);
    let open = mouth(&clip);
    let most = loud.iter().copied().fold(0.0, f64::max);
    let of = |wanted: &dyn Fn(f64) -> bool| {
        let chosen = open.iter().zip(&loud).filter(|(_, loud)| wanted(**loud / most));
        mean(&chosen.map(|(open, _)| *open).collect::<Vec<_>>())
    };
    let (speaking, resting) = (of(&|loud| loud > 0.8), of(&|loud| loud < 0.05));
    assert!(speaking > resting + 0.02, "{speaking} and {resting}");
    assert!(correlation(&open, &loud) > 0.9, "{}", correlation(&open, &loud));
    // The timeline of the formant synthesiser would move it at other times.
    let own =
        World::new(&WorldSettings { voice: Voice::Formants, ..settings }, Shape::Ravdess).unwrap();
    let own = mouth(&own.clip(own.clips()[0]).unwrap());
    assert!(correlation(&own, &loud) < 0.6, "{}", correlation(&own, &loud));
}

#[test]
fn speech_that_is_too_long_ends_with_the_clip() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said.wav");
    two_vowels(&said);
    let asked = folder.path().join("asked");
    let script = format!("echo \"$@\" >> '{}'\ncat '{}'", asked.display(), said.display());
    let program = stand_in(folder.path(), "9.9", &script);
    let settings = WorldSettings { seconds: 1.0, ..small() };
    let world = world_of(&settings, &program).unwrap();
    let clip = world.clip(world.clips()[0]).unwrap();
    assert_eq!(clip.voice.len(), settings.samples());
    let asked = fs::read_to_string(&asked).unwrap();
    let speeds: Vec<u32> = asked
        .lines()
        .map(|line| {
            let mut words = line.split(' ').skip_while(|word| *word != "-s");
            words.nth(1).unwrap().parse().unwrap()
        })
        .collect();
    assert!(speeds.len() == 3 && speeds.is_sorted() && speeds[0] < speeds[2], "{speeds:?}");
    let said = asked.lines().all(|line| {
        let words = line.split_once("<speak>").unwrap().1.split(['<', '>']).step_by(2);
        words.collect::<String>().starts_with("Kids are talking by the door.")
    });
    assert!(said, "{asked}");
}

#[test]
fn programs_that_do_not_speak_are_errors_with_a_way_on() {
    let missing = Speaker::at("/no/such/espeak-ng".as_ref()).unwrap_err().to_string();
    assert!(missing.contains("apt install espeak-ng") && missing.contains("--voice"), "{missing}");
    let folder = tempfile::tempdir().unwrap();
    let error = world_of(&small(), &stand_in(folder.path(), "strange", "")).err().unwrap();
    assert!(error.to_string().contains("printed no version"), "{error}");
    for (script, wanted) in [
        ("", "wrote no WAV file"),
        ("echo RIFF and so on, but nothing of what belongs there", "wrote no WAV file"),
        ("head -c 9000000 /dev/zero", "wrote too much output"),
        ("echo first >&2; echo 'no voice of that name' >&2; exit 1", "no voice of that name"),
        ("exit 1", "failed without a message"),
    ] {
        let error = complaint(script);
        assert!(error.contains(wanted) && error.contains("leave out --voice"), "{error}");
    }
}

/// WAV files whose header claims two gigabytes, as in a pipe; then silence, an odd number of bytes, or nothing.
#[test]
fn broken_answers_are_errors_too() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said.wav");
    two_vowels(&said);
    let whole = fs::read(&said).unwrap();
    let answer = folder.path().join("answer");
    let script = format!("cat '{}'", answer.display());
    let program = stand_in(folder.path(), "9.9", &script);
    let world = world_of(&small(), &program).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&answer, bytes).unwrap();
        world.clip(world.clips()[0]).map_err(|error| error.to_string())
    };
    let plain = with(&|_| {}).unwrap().voice;
    let promising = with(&|bytes| {
        bytes[4..8].copy_from_slice(&0x7fff_f024u32.to_le_bytes());
        bytes[40..44].copy_from_slice(&0x7fff_f000u32.to_le_bytes());
    });
    assert_eq!(promising.unwrap().voice, plain);
    assert!(with(&|bytes| bytes[44..].fill(0)).unwrap_err().contains("wrote a silent recording"));
    assert!(with(&|bytes| bytes.truncate(44)).unwrap_err().contains("wrote no WAV file"));
    assert!(with(&|bytes| bytes.truncate(30)).unwrap_err().contains("wrote no WAV file"));
    // The reader accepts a sample rate of 1,001 Hz; the result may be an error, but no panic.
    for rate in [1_001u32, 0, 700_000, u32::MAX] {
        let _ = with(&|bytes| bytes[24..28].copy_from_slice(&rate.to_le_bytes()));
    }
    for length in [45, 46, 47, 100, 1000] {
        let _ = with(&|bytes| bytes.truncate(length));
    }
}

#[test]
fn nothing_is_spoken_in_segments() {
    let folder = tempfile::tempdir().unwrap();
    let error = generate_segments(&small(), &folder.path().join("world"), &go).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("`voice`") && said.contains("no audio"), "{said}");
}

#[test]
fn a_world_of_another_voice_or_version_is_another_world() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said.wav");
    two_vowels(&said);
    let speak = format!("cat '{}'", said.display());
    let world = world_of(&small(), &stand_in(folder.path(), "9.9", &speak)).unwrap();
    let root = folder.path().join("world");
    let made = generate_of(&world, &root, &go).unwrap();
    assert_eq!(made.speaker.as_deref(), Some("espeak-ng 9.9"));
    let written = fs::read_to_string(root.join("world.json")).unwrap();
    assert!(written.contains("\"voice\": \"espeak\"") && written.contains("espeak-ng 9.9"));
    let never = |_: Progress| panic!("nothing is to be made");
    assert_eq!(generate_of(&world, &root, &never).unwrap(), made);
    let newer = world_of(&small(), &stand_in(folder.path(), "10.0", &speak)).unwrap();
    assert!(matches!(generate_of(&newer, &root, &never), Err(SynthError::Occupied(_))));
    let own = WorldSettings { voice: Voice::Formants, ..small() };
    assert!(matches!(generate(&own, &root, &never), Err(SynthError::Occupied(_))));
    // The description of a world without espeak-ng has no new fields.
    let root = folder.path().join("own");
    generate(&own, &root, &go).unwrap();
    let written = fs::read_to_string(root.join("world.json")).unwrap();
    assert!(!written.contains("voice\"") && !written.contains("speaker\""), "{written}");
}

#[test]
fn the_same_program_says_the_same() {
    if installed().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = [1, 2].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let root = folder.path().join(threads.to_string());
        pool.install(|| generate(&small(), &root, &go)).unwrap()
    });
    assert_eq!(made[0], made[1]);
    assert!(made[0].speaker.as_deref().is_some_and(|name| name.starts_with("espeak-ng ")));
    let own = generate(
        &WorldSettings { voice: Voice::Formants, ..small() },
        &folder.path().join("own"),
        &go,
    );
    assert_ne!(own.unwrap().hash, made[0].hash);
}

/// Measurements of a clip's voice: pitch and its range in octaves, loudness in decibels, seconds of speech.
fn measured(clip: &Clip, settings: &WorldSettings) -> [f64; 4] {
    let (sound, _) = heard(clip, settings);
    let octaves: Vec<f64> = pitch(&sound.samples, 50.0, 500.0)
        .into_iter()
        .flatten()
        .map(|hz| (hz / if clip.id.actor % 2 == 1 { 105.0 } else { 200.0 }).log2())
        .collect();
    let of = |share| quantile(octaves.iter().copied(), share);
    let steps = loudness(&sound.samples);
    let loud = quantile(steps.iter().copied(), 0.9);
    let spoken = steps.iter().filter(|step| **step > 0.1 * loud).count();
    [of(0.5), of(0.95) - of(0.05), 20.0 * loud.log10(), spoken as f64 / 200.0]
}

#[test]
fn emotions_are_heard_and_the_mouth_moves_with_the_voice() {
    if installed().is_none() {
        return;
    }
    let settings = WorldSettings { actors: 4, clips_per_actor: 15, ..small() };
    let world = World::new(&settings, Shape::Ravdess).unwrap();
    let mut of_emotion = vec![[const { Vec::new() }; 4]; EMOTIONS.len()];
    let (mut in_time, mut out_of_time, mut before) = (Vec::new(), Vec::new(), None);
    for id in world.clips() {
        let clip = world.clip(id).unwrap();
        for (values, value) in of_emotion[id.emotion].iter_mut().zip(measured(&clip, &settings)) {
            values.push(value);
        }
        let (open, loud) = (mouth(&clip), heard(&clip, &settings).1);
        in_time.push(correlation(&open, &loud));
        if let Some(before) = before.replace(open) {
            let before: Vec<f64> = before;
            out_of_time.push(correlation(&before, &loud));
        }
    }
    let means: Vec<[f64; 4]> =
        of_emotion.iter().map(|row| [0, 1, 2, 3].map(|i| mean(&row[i]))).collect();
    for (name, row) in EMOTIONS.iter().zip(&means) {
        println!("{name}: {row:.2?}");
    }
    println!("mouth and voice {:.3}, another's {:.3}", mean(&in_time), mean(&out_of_time));
    let [calm, sad, angry, surprised] = [1, 3, 4, 7].map(|emotion| means[emotion]);
    // Half an octave and 8 dB apart, a third quicker: far beyond the spread of the means.
    assert!(angry[0] > sad[0] + 0.3 && surprised[0] > calm[0] + 0.4, "pitch");
    assert!(surprised[1] > sad[1], "range");
    assert!(angry[2] > sad[2] + 8.0, "loudness");
    assert!(angry[3] < 0.9 * sad[3], "seconds");
    assert!(mean(&in_time) > 0.4, "{in_time:?}");
    assert!(mean(&in_time) > mean(&out_of_time) + 0.2);
}
