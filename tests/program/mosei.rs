//! CMU-MOSEI's `.csd` files end to end: several binary emotions, four modalities.

use super::world::{mpuc, text};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Six videos of sixteen segments, made once for all tests.
fn segments() -> &'static Path {
    static WORLD: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = WORLD.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("segments");
        let target = path.to_str().unwrap();
        let sizes = ["--shape", "mosei", "--actors", "6", "--clips", "16"];
        let output = mpuc(&[&["data", "synth", target][..], &sizes].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        (folder, path)
    });
    path
}

fn train(data: &Path, out: &Path, more: &[&str]) -> (Value, String) {
    let (data, out) = (data.to_str().unwrap(), out.to_str().unwrap());
    let run = ["train", "--preset", "mosei_smoke", "--data", data, "--out", out, "--json"];
    let output = mpuc(&[&run[..], more].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), text(&output.stderr))
}

#[test]
fn an_autoencoder_learns_words_voice_and_faces_together() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let (data, out) = (segments().to_str().unwrap(), run.to_str().unwrap());
    let small =
        ["system.cae_lr.channels=[4,4,8]", "arm.cae_lr.training.epochs=8", "probe.epochs=5"];
    let mut arguments =
        vec!["train", "--preset", "mosei_cae", "--data", data, "--out", out, "--json"];
    small.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let output = mpuc(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let arm = &report["arms"]["cae_lr"];
    assert!((0.0..=1.0).contains(&arm["score"]["mean"].as_f64().unwrap()), "{arm}");
    // Features lie between 0 and 1, so that the first error is below 1 and the last well below that.
    let (first, last) = (arm["loss_first"].as_f64().unwrap(), arm["loss_last"].as_f64().unwrap());
    assert!(last < 0.5 * first && last < 0.1, "{arm}");

    // Its features are those of all modalities together.
    arguments.extend(["--set", "arms=[cae_lr,single]", "--set", "arm.single.features=cae_lr"]);
    let output = mpuc(&arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{message}");
    assert!(message.contains("features of all modalities together"), "{message}");
}

#[test]
fn every_emotion_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let (report, said) = train(segments(), &run, &[]);
    assert_eq!(report["figure"], "weighted_accuracy");
    assert_eq!(report["chance"]["mean"], 0.5);
    assert_eq!(report["arms"]["mpuc"]["confusion"], Value::Null);
    let within = |value: &Value| {
        let mean = value["mean"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&mean) && value["std"].is_number(), "{value}");
        mean
    };
    let score = |name: &str| within(&report["arms"][name]["score"]);
    for name in ["mpuc", "untrained", "late_fusion", "shuffled", "permuted_labels"] {
        score(name);
    }
    for name in ["faces", "landmarks", "text", "voice"] {
        score(&format!("single.{name}"));
    }
    // The probe works with several labels: it predicts them from the true factors.
    assert!(score("factors") > 0.6, "{}", report["arms"]["factors"]);
    let arm = &report["arms"]["mpuc"];
    let emotions = arm["emotions"].as_array().unwrap();
    let names: Vec<&str> = emotions.iter().map(|e| e["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["happy", "sad", "anger", "surprise", "disgust", "fear"]);
    for figure in ["weighted_accuracy", "f1_weighted", "f1_binary"] {
        let sum: f64 = emotions.iter().map(|emotion| within(&emotion[figure])).sum();
        assert!((sum / 6.0 - within(&arm[figure])).abs() < 1e-9, "{figure}");
    }
    assert!(emotions.iter().any(|emotion| emotion["positives"].as_u64().unwrap() > 0));
    assert_eq!(report["protocol"]["protocol"], "standard");
    assert_eq!(report["protocol"]["folds"], 1);
    assert!(said.contains("are no finite numbers and were left out"), "{said}");

    // Evaluation from the checkpoint gives equal figures, also as a table.
    let again = mpuc(&["eval", run.to_str().unwrap(), "--json"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    for (name, arm) in report["arms"].as_object().unwrap() {
        for figure in ["score", "emotions", "f1_binary", "retrieval", "loss_last"] {
            assert_eq!(again["arms"][name][figure], arm[figure], "{name} {figure}");
        }
    }
    let table = text(&mpuc(&["eval", run.to_str().unwrap()]).stdout);
    assert!(table.contains("surprise") && table.contains("F1 binary"), "{table}");
}

#[test]
fn without_lists_the_folds_are_by_video_and_the_stamp_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("data");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(segments()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "csd") {
            std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
    }
    let settings =
        ["--set", "arms=[mpuc]", "--set", "training.epochs=1", "--set", "probe.epochs=1"];
    let (report, said) = train(&copy, &folder.path().join("run"), &settings);
    assert_eq!(report["protocol"]["protocol"], "by_group");
    assert!(said.contains("split at random by group; to use the corpus's own folds"), "{said}");
    let splits = std::fs::read(folder.path().join("run/splits/splits.json")).unwrap();
    let splits: Value = serde_json::from_slice(&splits).unwrap();
    let videos = |part: &str| -> Vec<String> {
        let ids = splits[0][part].as_array().unwrap().iter();
        ids.map(|id| id.as_str().unwrap().split('[').next().unwrap().to_owned()).collect()
    };
    let (train, test) = (videos("train"), videos("test"));
    assert!(!test.is_empty() && train.iter().all(|video| !test.contains(video)));
}

#[test]
fn the_files_are_checked_and_described() {
    let path = segments().to_str().unwrap();
    let output = mpuc(&["data", "check", path, "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["format"], &report["samples"]), (&"mosei".into(), &96.into()));
    assert_eq!(report["problems"], Value::Array(Vec::new()));
    let stats = mpuc(&["data", "stats", path, "--json"]);
    let stats: Value = serde_json::from_slice(&stats.stdout).unwrap();
    let count = |name: &str| stats["classes"][name].as_u64().unwrap();
    assert!(count("happy") > 5 && count("fear") > 5, "{stats}");

    // The message names a truncated file.
    let folder = tempfile::tempdir().unwrap();
    for name in ["CMU_MOSEI_Labels.csd", "CMU_MOSEI_VisualFacet42.csd"] {
        std::fs::copy(segments().join(name), folder.path().join(name)).unwrap();
    }
    let facet = folder.path().join("CMU_MOSEI_VisualFacet42.csd");
    let bytes = std::fs::read(&facet).unwrap();
    std::fs::write(&facet, &bytes[..bytes.len() / 2]).unwrap();
    let output = mpuc(&["data", "check", folder.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(65));
    assert!(
        text(&output.stderr).contains("CMU_MOSEI_VisualFacet42.csd: is cut short"),
        "{}",
        text(&output.stderr)
    );
}
