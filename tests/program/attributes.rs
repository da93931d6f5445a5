//! Attributes (arousal, valence) and unpaired modalities, from precomputed features in a manifest.

use super::world::{mpuc, text};
use serde_json::Value;
use std::path::{Path, PathBuf};

const NAMES: [&str; 2] = ["arousal", "valence"];

/// Two modalities `[T, C]` of other widths, whose means follow the attributes; every third sample lacks one of them.
fn manifest(folder: &Path) -> PathBuf {
    let mut table = String::from("id,hearing,seeing,attribute:arousal,attribute:valence,group\n");
    for number in 0..96 {
        // Between 1 and 5, from two multipliers that visit every value.
        let values = [number * 37 % 96, number * 59 % 96].map(|v| 1.0 + 4.0 * v as f32 / 95.0);
        let mut row = format!("clip{number}");
        for (modality, (steps, width)) in [(16 + number % 5, 6), (12, 9)].into_iter().enumerate() {
            let name = format!("{modality}_{number}.npy");
            let noise = |i: usize| ((i * 7919 + number * 104_729) % 1000) as f32 / 500.0 - 1.0;
            let value = |i: usize| values[(i % width) % 2] * [1.0, -1.0][modality] + noise(i);
            let numbers: Vec<f32> = (0..steps * width).map(value).collect();
            let array = data::Array::new(vec![steps, width], numbers).unwrap();
            data::formats::npy::write(&folder.join(&name), &array).unwrap();
            let lacks = number % 3 == 2 && number % 2 == modality;
            row += &format!(",{}", if lacks { "" } else { &name });
        }
        table += &format!("{row},{},{},{}\n", values[0], values[1], number / 4);
    }
    let path = folder.join("clips.csv");
    std::fs::write(&path, table).unwrap();
    path
}

const CONFIGURATION: &str = r#"
base = "smoke"
arms = ["vavl", "late_fusion", "seeing"]
[data]
format = "manifest"
protocol = "by_group"
folds = 3
[modality.sequence]
feature = { kind = "sequence" }
window = 16
evaluation_window = 16
padding = "repeat_last"
standardise = "each"
backbone = { kind = "conformer", width = 16, heads = 2, blocks = 1, hidden = 32, kernel = 5, dropout = 0.0 }
[system.vavl]
hidden = [16, 16]
reconstruction = 1.0
[system.vavl.shared]
width = 16
heads = 2
blocks = 1
hidden = 32
kernel = 5
[arm.seeing]
system = "vavl"
modalities = ["seeing"]
"#;

/// A configuration for the manifest, as a file.
fn configuration(folder: &Path) -> PathBuf {
    let configuration = folder.join("attributes.toml");
    let modality = CONFIGURATION.split("[modality.sequence]").nth(1).unwrap();
    let modality = modality.split("[system.vavl]").next().unwrap();
    // The world's own modalities are not in this manifest.
    let text_of = CONFIGURATION.replace("[modality.sequence]", "[modality.hearing]").replacen(
        "[system.vavl]",
        &format!("[modality.seeing]{modality}[system.vavl]"),
        1,
    );
    std::fs::write(&configuration, text_of).unwrap();
    configuration
}

#[test]
fn unpaired_features_train_to_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let data = manifest(folder.path());
    let configuration = configuration(folder.path());
    let out = folder.path().join("run");
    let cache = format!("data.cache={}", folder.path().join("cache").display());
    let train = [
        "train",
        "--config",
        configuration.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--json",
        "--set",
        &cache,
        "--set",
        "training.epochs=30",
    ];
    let output = mpuc(&train);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["figure"], "ccc", "{report}");
    assert_eq!(report["chance"]["mean"], 0.0);
    for arm in ["vavl", "late_fusion", "seeing"] {
        let found = &report["arms"][arm];
        assert!(found["score"]["mean"].as_f64().unwrap() > 0.5, "{arm}: {found}");
        let attributes = found["attributes"].as_array().unwrap();
        let names: Vec<&str> = attributes.iter().map(|a| a["name"].as_str().unwrap()).collect();
        assert_eq!(names, NAMES, "{found}");
        assert!(attributes.iter().all(|a| a["mse"]["mean"].as_f64().unwrap() < 4.0), "{found}");
        assert!(found["confusion"].is_null() && found["weighted_accuracy"].is_null(), "{found}");
    }
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert!(metrics.contains("hearing rebuilt") && metrics.contains("\"fusion\""), "{metrics}");

    // Evaluation from the checkpoint, and predictions with and without a modality.
    let again = mpuc(&["eval", out.to_str().unwrap(), "--json"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["arms"], strip_seconds(&report["arms"], &again["arms"]));
    let (hearing, seeing) = (folder.path().join("0_9.npy"), folder.path().join("1_9.npy"));
    let (hearing, seeing) =
        (format!("hearing={}", hearing.display()), format!("seeing={}", seeing.display()));
    for files in [&[hearing.as_str(), &seeing][..], &[&hearing], &[&seeing]] {
        let predict = ["predict", out.to_str().unwrap(), "--arm", "vavl", "--json"];
        let output = mpuc(&[&predict[..], files].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let predicted: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = &predicted["samples"][0]["attributes"];
        assert!(NAMES.iter().all(|name| found[name].is_number()), "{predicted}");
    }
}

/// `trained` with the seconds of `again`.
fn strip_seconds(trained: &Value, again: &Value) -> Value {
    let mut same = trained.clone();
    for (name, arm) in same.as_object_mut().unwrap() {
        arm["seconds"] = again[name]["seconds"].clone();
    }
    same
}

#[test]
fn attributes_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = manifest(folder.path());
    let table = std::fs::read_to_string(&path).unwrap();
    let refused = |table: String, wanted: &[&str]| {
        std::fs::write(&path, table).unwrap();
        let output = mpuc(&["data", "check", path.to_str().unwrap()]);
        let message = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(65), "{message}");
        assert!(wanted.iter().all(|part| message.contains(part)), "{wanted:?} in {message}");
    };
    let second = table.lines().nth(1).unwrap();
    let cell = format!(",{},", second.split(',').nth(3).unwrap());
    let with = |cell_of: &str| {
        let row = second.replacen(&cell, &format!(",{cell_of},"), 1);
        table.replacen(second, &row, 1)
    };
    refused(with("high"), &[":2:4: `high` is not a number"]);
    refused(with("nan"), &["`nan` is not a number"]);
    let beside = table.replacen(",group\n", ",label\n", 1);
    refused(beside, &["`attribute:arousal` beside a column of classes"]);
}

#[test]
fn speakers_are_told_apart_where_samples_have_groups() {
    let folder = tempfile::tempdir().unwrap();
    let data = manifest(folder.path());
    let configuration = configuration(folder.path());
    let cache = format!("data.cache={}", folder.path().join("cache").display());
    let train = |out: &str| {
        let out = folder.path().join(out);
        let [configuration, data, out] =
            [&configuration, &data, &out].map(|path| path.to_str().unwrap());
        let paths = ["train", "--config", configuration, "--data", data, "--out", out, "--json"];
        let settings = ["--set", &cache, "--set", "arms=[speaker]", "--set", "training.epochs=2"];
        // Held-out samples are of no training group, so that a transductive run must leave them out too.
        let transductive = ["--set", "sampling.transductive=true"];
        mpuc(&[&paths[..], &settings, &transductive].concat())
    };
    let output = train("groups");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    // 64 of 96 samples in groups of 4, each classified in two modalities.
    let first = report["arms"]["speaker"]["loss_first"].as_f64().unwrap();
    assert!((first - 2.0 * 16f64.ln()).abs() < 1.5, "{first}");
    assert_eq!(report["protocol"]["groups_in_pretraining"], serde_json::json!(["speaker"]));

    let table = std::fs::read_to_string(&data).unwrap();
    let without: Vec<&str> = table.lines().map(|row| row.rsplit_once(',').unwrap().0).collect();
    std::fs::write(&data, without.join("\n")).unwrap();
    let output = train("none");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{message}");
    assert!(
        message.contains("`arm.speaker` classifies the groups of training samples, but the"),
        "{message}"
    );
    assert!(message.contains("training samples have no groups"), "{message}");
}
