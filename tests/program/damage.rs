//! Damaged worlds and archives: what is wrong, in which file, and what to do.

use super::commands::{copy_tree, files};
use super::world::{mpuc, short_run, text, world};
use std::fs;
use std::path::Path;

/// The exit code of a command, and all that it prints.
fn said(arguments: &[&str]) -> (i32, String) {
    let output = mpuc(arguments);
    let all = text(&output.stdout) + &text(&output.stderr);
    assert!(!all.contains("panicked"), "{all}");
    (output.status.code().unwrap(), all)
}

#[test]
fn a_damaged_world_is_not_taken_for_other_data() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("world");
    copy_tree(world(), &copy);
    let root = copy.to_str().unwrap();
    assert_eq!(said(&["data", "check", root]).0, 0);
    let is_voice = |path: &&std::path::PathBuf| path.extension().is_some_and(|e| e == "wav");
    let voice = files(&copy).iter().find(is_voice).unwrap().clone();
    let mut bytes = fs::read(&voice).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&voice, &bytes).unwrap();
    let out = folder.path().join("run");
    let mut train = short_run(&out, &["--dry-run"]);
    train[2] = root;
    let named = format!("{}: differs from its checksum", voice.display());
    let again = ["data", "synth", root, "--actors", "6", "--clips", "16"];
    for arguments in [&["data", "check", root][..], &["data", "stats", root], &again, &train] {
        let (code, message) = said(arguments);
        assert_eq!(code, 65, "{arguments:?}: {message}");
        assert!(message.contains(&named), "{arguments:?}: {message}");
    }
    train.extend(["--set", "data.on_error=skip"]);
    let (code, message) = said(&train);
    assert_eq!(code, 0, "{message}");
    assert!(message.contains(&format!("left out: {named}")), "{message}");
    fs::remove_file(copy.join("world.checksums")).unwrap();
    let (code, message) = said(&["data", "check", root]);
    assert_eq!(code, 0, "{message}");
    assert!(message.contains("a synthetic world without world.checksums"), "{message}");
}

fn zip(path: &Path, names: &[(&str, &[u8])]) {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, bytes) in names {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn an_archive_is_a_corpus_by_its_names_or_named_as_an_archive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zip");
    let root = path.to_str().unwrap();
    let is_voice = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "wav");
    let voice = files(world()).into_iter().find(is_voice).unwrap();
    let name = voice.file_name().unwrap().to_str().unwrap();
    let bytes = fs::read(&voice).unwrap();
    zip(&path, &[(&format!("Actor_01\\{name}"), &bytes), ("../x.wav", b"")]);
    let (code, message) = said(&["data", "check", root]);
    assert_eq!(code, 0, "{message}");
    assert!(message.contains("1 samples, 1 files read, 0 problems"), "{message}");
    assert!(message.contains("1 member of an archive has a name that leads out"), "{message}");
    zip(&path, &[("happy/1.wav", &bytes)]);
    for format in [&[][..], &["--format", "manifest"]] {
        let (code, message) = said(&[&["data", "check", root][..], format].concat());
        assert_eq!(code, 65, "{message}");
        assert!(message.contains("a.zip: is a ZIP archive, not a manifest; give"), "{message}");
    }
    fs::write(&path, b"PK\x03\x04junk").unwrap();
    assert!(said(&["data", "check", root]).1.contains("a.zip: is a ZIP archive, not a manifest"));
    let (code, message) = said(&["data", "check", root, "--format", "folders"]);
    assert_eq!(code, 65, "{message}");
    assert!(message.contains("a.zip: is not a folder; give the folder that contains"), "{message}");
}

#[test]
fn values_of_flags_are_refused_in_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(&file, "base = 3\n").unwrap();
    for (arguments, wanted) in [
        (
            &["train", "--config", file.to_str().unwrap()][..],
            "`base` is 3, not the name of a preset",
        ),
        (&["train", "--threads", "0"], "expected a whole number from 1 to 1024"),
        (&["train", "--set", "training.optimizer.betas=0.9"], "expected 2 values, got 1"),
        (&["cache", "clean", "--older-than", "soon"], "expected a number with its unit: 90s"),
        (&["train", "--max-time", "5"], "expected a number with its unit: 90s"),
        (&["train", "--threads", "many"], "expected a whole number"),
        (&["train", "--seeds", "0,x"], "expected a whole number"),
        (&["data", "synth", "x", "--actors", "99999999999999999999"], "the number is too large"),
        (&["data", "synth", "x", "--difficulty", "hard"], "expected a number"),
        (&["data", "synth", "x", "--set", "face_size=big"], "expected a whole number, 0 or more"),
        (&["data", "synth", "x", "--set", "identity=[1]"], "expected a number, got a list"),
        (&["train", "--set", "training.epochs=-1"], "expected a whole number, 0 or more, got -1"),
        (&["train", "--set", "training={ epochs = true }"], "expected a whole number"),
    ] {
        let (code, message) = said(arguments);
        assert!(code == 2 || code == 78, "{arguments:?}: {code}: {message}");
        assert!(message.contains(wanted), "{arguments:?}: {message}");
        for raw in ["usize", "u64", "f64", "digit found", "literal", "invalid type", "at 0"] {
            assert!(!message.contains(raw), "{arguments:?}: {message}");
        }
    }
}
