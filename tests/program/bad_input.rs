//! Every user error gives one message, which names what is wrong and where, and its exit code.

use super::world::{command, mpuc, short_run, text, world};
use std::fs;
use std::path::{Path, PathBuf};

/// Runs the program, which must fail with this code and a message that contains all of these.
fn fails(arguments: &[&str], code: i32, wanted: &[&str]) {
    let output = mpuc(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(!message.contains("panicked") && !message.contains("a bug"), "{message}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    for part in wanted {
        assert!(message.contains(part), "{arguments:?}: `{part}` is not in: {message}");
    }
}

/// A manifest of voices and sequences, after `edit` changed its files.
fn manifest(folder: &Path, rows: usize, edit: impl Fn(&Path)) -> PathBuf {
    let mut table = String::from("id,voice,other,label,group\n");
    for row in 0..rows {
        let name = format!("clip {row} ä");
        write_wav(&folder.join(format!("{name}.wav")), row, 16_000);
        write_npy(&folder.join(format!("{name}.npy")), row);
        table += &format!("{row},{name}.wav,{name}.npy,{},{}\n", row % 2, row / 4);
    }
    let path = folder.join("manifest ü.csv");
    fs::write(&path, table).unwrap();
    edit(folder);
    path
}

fn write_wav(path: &Path, seed: usize, samples: usize) {
    let specification = hound::WavSpec {
        channels: 1,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, specification).unwrap();
    for i in 0..samples {
        writer.write_sample(((i * (seed + 3)) % 2000) as i16 - 1000).unwrap();
    }
    writer.finalize().unwrap();
}

fn write_npy(path: &Path, seed: usize) {
    let values: Vec<f32> = (0..40 * 3).map(|i| ((i * (seed + 1)) % 7) as f32).collect();
    data::formats::npy::write(path, &data::Array::new(vec![40, 3], values).unwrap()).unwrap();
}

const SEQUENCE: &str = "modality.other={ feature = { kind = \"sequence\" }, window = 30, evaluation_window = 40, \
    padding = \"repeat_last\", standardise = \"each\", augmentation = { level = 0.0, offset = 0.0 }, \
    backbone = { kind = \"strided_conv\", width = 16 }, dropout = 0.0 }";

/// A short run on a manifest, which the program recognises: the preset is for another corpus.
fn run_on(path: &Path, code: i32, wanted: &[&str], more: &[&str]) {
    let out = path.with_extension("run");
    let settings = [
        "--set",
        "data.protocol=by_group",
        "--set",
        "arms=[mpuc]",
        "--set",
        "training.epochs=1",
        "--set",
        "modality.voice.window=40",
        "--set",
        SEQUENCE,
    ];
    let mut arguments = short_run(&out, &settings);
    arguments[2] = path.to_str().unwrap();
    arguments.extend(more);
    if code == 0 {
        let output = mpuc(&arguments);
        let message = text(&output.stderr);
        assert!(output.status.success(), "{message}");
        assert!(wanted.iter().all(|part| message.contains(part)), "{wanted:?} in {message}");
    } else {
        fails(&arguments, code, wanted);
    }
}

#[test]
fn a_manifest_with_spaces_and_umlauts_trains() {
    let folder = tempfile::tempdir().unwrap();
    run_on(&manifest(folder.path(), 24, |_| {}), 0, &[], &[]);
}

#[test]
fn sequences_of_a_manifest_need_no_settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = manifest(folder.path(), 24, |_| {});
    let out = folder.path().join("run");
    let settings = ["--set", "data.protocol=by_group", "--set", "modality.other.window=32"];
    let mut arguments = short_run(&out, &settings);
    arguments[2] = path.to_str().unwrap();
    arguments.extend(["--set", "arms=[mpuc]"]);
    let output = mpuc(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let configuration = fs::read_to_string(out.join("config.toml")).unwrap();
    let settings = configuration.split("[modality.other]").nth(1).unwrap();
    assert!(settings.contains("window = 32") && settings.contains("--set"), "{settings}");
    assert!(settings.contains("evaluation_window = 128"), "{settings}");
}

#[test]
fn silence_blank_faces_and_equal_samples_stay_finite() {
    let folder = tempfile::tempdir().unwrap();
    let path = manifest(folder.path(), 24, |folder| {
        for row in 0..24 {
            let specification = hound::WavSpec {
                channels: 2,
                sample_rate: 44_100,
                bits_per_sample: 24,
                sample_format: hound::SampleFormat::Int,
            };
            let path = folder.join(format!("clip {row} ä.wav"));
            let mut writer = hound::WavWriter::create(path, specification).unwrap();
            (0..88_200).for_each(|_| writer.write_sample(0).unwrap());
            writer.finalize().unwrap();
        }
    });
    run_on(&path, 0, &[], &[]);
}

#[test]
fn files_that_are_wrong_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = manifest(folder.path(), 24, |folder| {
        let wav = folder.join("clip 5 ä.wav");
        let bytes = fs::read(&wav).unwrap();
        fs::write(&wav, &bytes[..bytes.len() / 2]).unwrap();
    });
    run_on(&path, 65, &["clip 5 ä.wav"], &[]);

    let folder = tempfile::tempdir().unwrap();
    let path =
        manifest(folder.path(), 24, |folder| fs::remove_file(folder.join("clip 7 ä.npy")).unwrap());
    run_on(&path, 66, &["clip 7 ä.npy"], &[]);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.csv");
    fs::write(&path, "id,voice,other\n").unwrap();
    run_on(&path, 65, &["empty.csv", "no rows"], &[]);
    run_on(&folder.path().join("none.csv"), 66, &["none.csv"], &[]);
}

#[test]
fn a_file_of_another_width_is_named_before_and_while_training() {
    let folder = tempfile::tempdir().unwrap();
    let path = manifest(folder.path(), 24, |folder| {
        let odd = data::Array::new(vec![40, 6], vec![1.0f32; 240]).unwrap();
        data::formats::npy::write(&folder.join("clip 1 ä.npy"), &odd).unwrap();
    });
    let wanted = [
        "clip 1 ä.npy",
        "`other` of sample `1` (number 2)",
        "[6]",
        "23 of 24 samples have [3]",
        "(line 3 of the manifest)",
    ];
    run_on(&path, 65, &wanted, &[]);
    let output = mpuc(&["data", "check", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(65), "{}", text(&output.stderr));
    for part in wanted {
        assert!(text(&output.stdout).contains(part), "{}", text(&output.stdout));
    }
}

#[test]
fn a_bad_file_is_named_with_each_of_its_samples() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.npy"), "junk").unwrap();
    let path = folder.path().join("m.csv");
    fs::write(&path, "id,x,y\na,bad.npy,\n,,\nb,,bad.npy\n").unwrap();
    let output = mpuc(&["data", "check", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(65), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    for part in [
        "(line 2 of the manifest) (`x` of sample `a`)",
        "(line 4 of the manifest) (`y` of sample `b`)",
        "1 blank row is skipped",
    ] {
        assert!(report.contains(part), "{report}");
    }
}

#[cfg(unix)]
#[test]
fn names_may_hold_anything_and_reach_no_terminal() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("\x1b[31mred\x07\n.csv");
    fs::write(&path, "id,voice\n\"a\x1b]0;title\x07\",none.wav\n").unwrap();
    let said = |output: &std::process::Output| text(&output.stdout) + &text(&output.stderr);
    for arguments in [&["data", "check"][..], &["data", "stats"], &["train", "--data"]] {
        let output = command(arguments).arg(&path).current_dir(folder.path()).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(66), "{said}");
        assert!(said.contains("\\u{1b}[31mred\\u{7}\\n.csv"), "{said}");
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{said:?}");
    }
    // A folder whose name is not UTF-8: read where settings need not hold it, refused with its name where they must.
    let strange = folder.path().join(OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&strange).unwrap();
    let path = manifest(&strange, 4, |_| {});
    for more in [&["check"][..], &["check", "--json"], &["stats"]] {
        let output = command(&["data"]).args(more).arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    fs::write(&path, "id,voice\n\"").unwrap();
    let output = command(&["data", "check", "--json"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(65), "{}", said(&output));
    let output = command(&["train", "--data"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("is not UTF-8"), "{}", said(&output));
    let run = strange.join("run");
    let mut arguments =
        short_run(Path::new("RUN"), &["--set", "arms=[mpuc]", "--set", "training.epochs=1"]);
    let out = arguments.iter().position(|word| *word == "RUN").unwrap();
    let rest = arguments.split_off(out + 1);
    arguments.pop();
    let output = command(&arguments).arg(&run).args(rest).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn a_csv_without_landmarks_is_named_with_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let spoiled = folder.path().join("Actor_01");
    fs::create_dir_all(&spoiled).unwrap();
    fs::write(
        spoiled.join("01-01-01-01-01-01-01.csv"),
        "frame, timestamp, gaze_0_x\n0, 0.0, 1.0\n",
    )
    .unwrap();
    write_wav(&spoiled.join("03-01-01-01-01-01-01.wav"), 1, 16_000);
    let path = folder.path().to_str().unwrap();
    // The problems are the command's result, so they are printed to standard output.
    let output = mpuc(&["data", "check", path]);
    assert_eq!(output.status.code(), Some(65), "{}", text(&output.stderr));
    let report = text(&output.stdout) + &text(&output.stderr);
    assert!(report.contains("01-01-01-01-01-01-01.csv") && report.contains("x_0"), "{report}");
}

#[test]
fn settings_that_cannot_work_are_refused_with_a_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let refuse =
        |setting: &str, wanted: &[&str]| fails(&short_run(&out, &["--set", setting]), 78, wanted);
    refuse("training.epoch=3", &["training.epoch", "epochs"]);
    refuse("modality.voice.widow=3", &["widow", "window"]);
    refuse("training.epochs=many", &["training.epochs"]);
    refuse("training.batch=1", &["training.batch", "2"]);
    refuse("data.folds=40", &["folds"]);
    refuse("training.batch=4000", &["batch"]);
    fails(&["train", "--preset", "papre"], 78, &["papre", "paper"]);
    fails(&["trian"], 2, &["train"]);
}

#[test]
fn a_class_absent_from_the_training_part_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = manifest(folder.path(), 24, |folder| {
        // One class is only in one group, so the training part without that group lacks it.
        let path = folder.join("manifest ü.csv");
        let table = fs::read_to_string(&path).unwrap();
        let lines = table.lines().enumerate().map(|(i, line)| {
            let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
            if i > 0 {
                cells[3] = if i <= 4 { "rare".into() } else { "common".into() };
            }
            cells.join(",") + "\n"
        });
        fs::write(&path, lines.collect::<String>()).unwrap();
    });
    run_on(&path, 65, &["training part", "rare"], &["--set", "data.run_folds=3"]);
}

#[test]
fn folders_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let strange = folder.path().join("mine");
    fs::create_dir_all(&strange).unwrap();
    fs::write(strange.join("thesis.txt"), "important").unwrap();
    fails(&short_run(&strange, &[]), 78, &["thesis.txt"]);
    assert_eq!(fs::read_to_string(strange.join("thesis.txt")).unwrap(), "important");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("run");
    fails(&short_run(&below, &[]), 74, &["file"]);

    fails(&["eval", folder.path().join("none").to_str().unwrap()], 66, &["none"]);
    fails(&["data", "check", "/nonexistent/data"], 66, &["/nonexistent/data"]);
}

#[test]
fn a_world_that_nobody_can_speak_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("world");
    let synth = ["data", "synth", "--voice", "espeak", root.to_str().unwrap()];
    fails(&[&synth[..], &["--shape", "mosei"]].concat(), 78, &["voice", "no audio"]);
    // An empty folder has no program.
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    let train = ["train", "--preset", "smoke", "--out", out, "--set", "data.world.voice=espeak"];
    for arguments in [&synth[..], &train] {
        let output = command(arguments).env("PATH", folder.path()).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("apt install espeak-ng"), "{message}");
    }
    assert!(!root.join("world.json").exists());
}

#[test]
fn a_run_of_another_configuration_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let more = ["--set", "arms=[mpuc]", "--set", "training.epochs=1"];
    assert!(mpuc(&short_run(&run, &more)).status.success());
    let checkpoint = run.join("checkpoints/seed3-fold1-mpuc.safetensors");
    let before = fs::read(&checkpoint).unwrap();
    let other = ["--set", "arms=[mpuc]", "--set", "training.epochs=2"];
    fails(&short_run(&run, &other), 78, &["training.epochs", "--fresh"]);
    assert_eq!(fs::read(&checkpoint).unwrap(), before);
    assert!(world().exists());
}

/// A manifest with the corpus's own parts; `cells` gives for a row whether it has a voice and the other modality, its label
/// and its part.
fn parts(
    folder: &Path,
    rows: usize,
    cells: impl Fn(usize) -> (bool, bool, &'static str, &'static str),
) -> PathBuf {
    let path = manifest(folder, rows, |_| {});
    let mut table = String::from("id,voice,other,label,part\n");
    for row in 0..rows {
        let (voice, other, label, part) = cells(row);
        let file = |there: bool, ending: &str| match there {
            true => format!("clip {row} ä.{ending}"),
            false => String::new(),
        };
        table += &format!("{row},{},{},{label},{part}\n", file(voice, "wav"), file(other, "npy"));
    }
    fs::write(&path, table).unwrap();
    path
}

const STANDARD: [&str; 2] = ["--set", "data.protocol=standard"];

fn class(row: usize) -> &'static str {
    ["a", "b"][row % 2]
}

fn part(row: usize, train: usize, validation: usize) -> &'static str {
    match row {
        row if row < train => "train",
        row if row < train + validation => "valid",
        _ => "test",
    }
}

#[test]
fn blocks_of_samples_without_a_modality_train_and_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    // The first 64 training samples and the test part lack the other modality; one sample of the validation part has it.
    let path = parts(folder.path(), 100, |row| {
        let other = (64..80).contains(&row) || row == 85;
        (true, other, class(row), part(row, 80, 12))
    });
    let out = path.with_extension("run");
    run_on(&path, 0, &["retrieval not measured: fewer than 2 test samples"], &STANDARD);
    let results = fs::read_to_string(out.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    assert!(results["arms"]["mpuc"]["retrieval"].is_null(), "no two test samples have both");
    assert!(
        results["arms"]["mpuc"]["score"]["mean"].as_f64().is_some_and(f64::is_finite),
        "{results}"
    );
}

#[test]
fn samples_without_partners_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = parts(folder.path(), 40, |row| {
        (row % 2 == 0, row % 2 == 1, class(row / 2), part(row, 32, 4))
    });
    run_on(&path, 78, &["make no batch of", "two have the same two modalities"], &STANDARD);
}

#[test]
fn a_test_part_without_labels_is_not_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = parts(folder.path(), 40, |row| {
        let part = part(row, 28, 4);
        (true, true, if part == "test" { "" } else { class(row) }, part)
    });
    let out = path.with_extension("run");
    run_on(&path, 0, &[], &STANDARD);
    let results = fs::read_to_string(out.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let arm = &results["arms"]["mpuc"];
    assert!(arm["score"].is_null() && results["chance"].is_null(), "{results}");
    assert!(arm["retrieval"]["at_1"].as_f64().is_some());
}

#[test]
fn a_test_part_of_one_class_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = parts(folder.path(), 40, |row| {
        let part = part(row, 28, 4);
        (true, true, if part == "test" { "a" } else { class(row) }, part)
    });
    let wanted = "every labelled sample of its test part is of the class `a`";
    run_on(&path, 0, &[wanted], &STANDARD);
}

#[test]
fn a_run_is_held_to_the_data_it_was_begun_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = manifest(folder.path(), 24, |_| {});
    run_on(&path, 0, &[], &[]);
    let table = fs::read_to_string(&path).unwrap();
    let run = path.with_extension("run");
    let refused = || {
        let wanted = ["the data has changed since this run began", "--fresh"];
        run_on(&path, 78, &wanted, &[]);
        fails(&["eval", run.to_str().unwrap()], 78, &wanted[..1]);
    };
    // Another label, another group, another file.
    fs::write(&path, table.replacen(",1,0\n", ",0,0\n", 1)).unwrap();
    refused();
    fs::write(&path, table.replacen(",1,0\n", ",1,5\n", 1)).unwrap();
    refused();
    fs::write(&path, &table).unwrap();
    write_npy(&folder.path().join("clip 3 ä.npy"), 4);
    refused();
    write_npy(&folder.path().join("clip 3 ä.npy"), 3);
    run_on(&path, 0, &[], &[]);
}

#[test]
fn pointers_of_git_lfs_are_named_whatever_they_stand_for() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12ab\nsize 123\n";
    for name in ["a.wav", "a.mp4", "a.csv", "a.npy"] {
        let path = folder.path().join(name);
        fs::write(&path, pointer).unwrap();
        let column = if name == "a.csv" { "landmarks" } else { "value" };
        let table = folder.path().join("m.csv");
        fs::write(&table, format!("id,{column}\n1,{name}\n")).unwrap();
        let output = mpuc(&["data", "check", table.to_str().unwrap()]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(
            output.status.code() == Some(65) && said.contains("git lfs pull"),
            "{name}: {said}"
        );
    }
    let table = folder.path().join("a.csv");
    fails(&["data", "check", table.to_str().unwrap()], 65, &["git lfs pull"]);
}

#[cfg(target_os = "linux")]
#[test]
fn inputs_without_end_do_not_fill_the_memory() {
    fails(&["train", "--config", "/dev/zero"], 78, &["/dev/zero", "longer than 16 MB"]);
    fails(&["data", "check", "/dev/zero", "--format", "manifest"], 65, &["longer than 256 MB"]);
}
