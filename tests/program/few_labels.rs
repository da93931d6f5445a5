//! A world in CMU-MOSEI's shape from its settings alone: absent modalities, few labels, attributes.

use super::world::{mpuc, text};
use serde_json::Value;
use std::path::Path;

/// Arguments of a run of seconds on the preset h5, in a world of ten videos of eight segments.
fn tiny<'a>(out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--preset", "h5", "--out", out.to_str().unwrap(), "--json"];
    for setting in [
        "data.world.actors=10",
        "data.world.clips_per_actor=8",
        "training.epochs=3",
        "training.batch=8",
        "arm.late_fusion.training.epochs=3",
        "arms=[mpuc,late_fusion,factors]",
        "retrieval.candidates=8",
    ] {
        arguments.extend(["--set", setting]);
    }
    more.iter().for_each(|setting| arguments.extend(["--set", setting]));
    arguments
}

fn run(out: &Path, more: &[&str]) -> (Value, String) {
    let output = mpuc(&tiny(out, more));
    assert!(output.status.success(), "{}", text(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), text(&output.stderr))
}

fn score(report: &Value, arm: &str) -> f64 {
    report["arms"][arm]["score"]["mean"].as_f64().unwrap()
}

#[test]
fn the_world_of_h5_trains_with_few_labels_and_absent_modalities() {
    let folder = tempfile::tempdir().unwrap();
    let all = folder.path().join("all");
    let (whole, said) = run(&all, &[]);
    for name in ["faces", "landmarks", "voice"] {
        assert!(said.contains(&format!("{name} of speaker_")), "{said}");
    }
    assert!(said.contains("has nothing between"), "{said}");
    assert_eq!(whole["protocol"]["corpus"], "synthetic world");
    assert_eq!(whole["protocol"]["samples"], 80);
    assert_eq!(whole["protocol"]["labelled"], Value::Null);

    let few = folder.path().join("few");
    let (report, said) = run(&few, &["data.labelled=3"]);
    assert!(!said.contains("making a synthetic world"), "{said}");
    assert_eq!(report["protocol"]["labelled"], 3);
    // Pretraining does not depend on labels; what reads them does.
    for figure in ["loss_first", "loss_last", "retrieval"] {
        let of = |report: &Value| report["arms"]["mpuc"][figure].clone();
        assert!(!of(&report).is_null() && of(&report) == of(&whole), "{figure}");
    }
    let loss = |report: &Value| report["arms"]["late_fusion"]["loss_first"].clone();
    assert_ne!(loss(&report), loss(&whole));
    assert_ne!(score(&report, "factors"), score(&whole, "factors"));
    // The test part keeps all labels.
    let positives = |report: &Value| {
        let emotions = report["arms"]["factors"]["emotions"].as_array().unwrap();
        emotions.iter().map(|emotion| emotion["positives"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(positives(&report), positives(&whole));
    let again = mpuc(&["eval", few.to_str().unwrap(), "--json"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["arms"]["factors"]["score"], report["arms"]["factors"]["score"]);
    let table = text(&mpuc(&["eval", few.to_str().unwrap()]).stdout);
    assert!(table.contains("LABELS OF 3 TRAINING GROUPS"), "{table}");
}

#[test]
fn attributes_of_the_world_are_targets() {
    let folder = tempfile::tempdir().unwrap();
    let (report, _) = run(folder.path(), &["data.targets=attributes", "probe.epochs=300"]);
    assert_eq!(report["figure"], "ccc");
    let attributes = report["arms"]["factors"]["attributes"].as_array().unwrap();
    let names: Vec<&str> = attributes.iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["arousal", "valence", "dominance"]);
    assert!(score(&report, "factors") > 0.5, "{}", report["arms"]["factors"]);
}

#[test]
fn settings_of_the_world_that_cannot_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |number: usize, settings: &[&str], wanted: &str| {
        let out = folder.path().join(number.to_string());
        let output = mpuc(&tiny(&out, settings));
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{settings:?}: {message}");
        assert!(message.contains(wanted), "{settings:?}: {message}");
    };
    for (number, (settings, wanted)) in [
        (&["data.labelled=0"][..], "`data.labelled` is 0"),
        (&["data.labelled=9"], "is 9, but 8 groups of the training part of fold 1 have labels"),
        (&["data.world.segments.slips=2"], "has segments.slips = 2; it must be 0 to 1"),
        (&["data.world.segments.slip=1"], "did you mean `data.world.segments.slips`?"),
        (&["data.world.face_size=64"], "which has no face frames"),
        (&["sampling.sampler=class_balanced"], "these samples have several labels"),
        (
            &["data.format=manifest", "data.path=x.csv", "data.targets=attributes"],
            "which only a synthetic world has",
        ),
        // The largest group is smaller than a batch.
        (
            &["sampling.sampler=within_group", "training.batch=9"],
            "the largest group has 8 training samples",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        refused(number, settings, wanted);
    }
    let out = folder.path().join("mosei");
    let mosei = mpuc(&["train", "--preset", "mosei", "--out", out.to_str().unwrap()]);
    assert!(text(&mosei.stderr).contains("set data.world for a synthetic world"));
}
