//! Arms of the pair loss's options, of mean scores, of speaker transfer and of CCL with its teacher: trained, evaluated,
//! stopped and continued.

use super::world::{checkpoints, mpuc, short_run, text};
use serde_json::Value;
use std::path::Path;

/// The arms, and how each is evaluated.
const LOSSES: [&str; 7] = [
    "label_positives",
    "clip_loss",
    "siglip_loss",
    "triplet_loss",
    "m2fnet_printed",
    "m2fnet_constant",
    "adversary",
];
const TAUGHT: [&str; 4] = ["ccl", "ccl_shuffled", "ccl_logits", "ccl_labels"];

const SMALL: [&str; 8] = [
    "training.epochs=2",
    "arm.score_mean.training={epochs=2,batch=8}",
    "arm.speaker.training={epochs=2,batch=8}",
    "arm.ccl.training={epochs=2,batch=8}",
    "arm.ccl_shuffled.training={epochs=2,batch=8}",
    "arm.ccl_logits.training={epochs=2,batch=8}",
    "arm.ccl_labels.training={epochs=2,batch=8}",
    "data.missing={voice=0.3}",
];

fn run(out: &Path, arms: &[&str], more: &[&str]) -> (Value, String) {
    let arms = format!("arms=[{}]", arms.join(","));
    let set = SMALL.iter().copied().chain([arms.as_str()]).chain(more.iter().copied());
    let set: Vec<&str> = set.flat_map(|setting| ["--set", setting]).collect();
    let output = mpuc(&short_run(out, &set));
    assert!(output.status.success(), "{}", text(&output.stderr));
    (serde_json::from_slice(&output.stdout).unwrap(), text(&output.stderr))
}

/// Every arm has a score and finite losses, and evaluation from its checkpoint gives the same.
fn judged(out: &Path, report: &Value, arms: &[&str]) {
    let again = mpuc(&["eval", out.to_str().unwrap(), "--json"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    for arm in arms {
        let found = &report["arms"][arm];
        let score = found["score"]["mean"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&score), "{arm}: {found}");
        for loss in ["loss_first", "loss_last"] {
            assert!(found[loss].as_f64().is_some_and(f64::is_finite), "{arm}: {found}");
        }
        assert_eq!(again["arms"][arm]["score"], found["score"], "{arm}");
    }
}

#[test]
fn every_pair_loss_trains_and_is_probed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let weights = "system.mpuc.loss.pair_weights={\"voice to faces\"=2.0}";
    let arms = [&LOSSES[..], &["mpuc"]].concat();
    let (report, _) = run(&out, &arms, &[weights]);
    judged(&out, &report, &arms);
    for arm in &arms {
        assert!(report["arms"][arm]["retrieval"]["at_1"].is_number(), "{arm}");
    }
    let protocol = &report["protocol"];
    assert_eq!(protocol["labels_in_pretraining"], true);
    assert_eq!(protocol["arms_with_labels"], serde_json::json!(["label_positives"]));
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert!(metrics.contains("voice to voice"), "pairs within a modality");

    let unknown = "system.mpuc.loss.pair_weights={\"voice to text\"=2.0}";
    let output =
        mpuc(&short_run(&folder.path().join("other"), &["--set", "arms=[mpuc]", "--set", unknown]));
    let message = text(&output.stderr);
    assert!(!output.status.success() && message.contains("the pairs are"), "{message}");
    for (setting, wanted) in [
        ("system.mpuc.loss.kind=cosine", "pairs"),
        ("system.mpuc.loss.positives=class", "label"),
        ("system.late_fusion.fusion=mean", "score_mean"),
        ("system.mpuc.adversary.weight=-1.0", "at least 0"),
        ("system.ccl.distillation=features", "logits"),
        ("arm.clip_loss.settings.loss.positives=label", "needs loss.kind"),
    ] {
        let output = mpuc(&short_run(
            &folder.path().join("other"),
            &["--set", "arms=[mpuc,clip_loss]", "--set", setting],
        ));
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{setting}: {message}");
        assert!(message.contains(wanted), "{setting}: {message}");
    }
}

#[test]
fn a_teacher_its_student_and_speakers_train_and_continue_to_equal_bits() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    let arms = [&["late_fusion", "score_mean", "speaker"][..], &TAUGHT].concat();
    let (report, _) = run(&whole, &arms, &[]);
    judged(&whole, &report, &arms);
    let protocol = &report["protocol"];
    assert_eq!(protocol["groups_in_pretraining"], serde_json::json!(["speaker"]));
    assert_eq!(protocol["labels_in_pretraining"], false);
    let metrics = std::fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    for part in ["\"voice composer\"", "\"distillation\"", "\"classes\""] {
        assert!(metrics.contains(part), "{part}");
    }

    // Pairs of other samples are other teachers, and the student's labels stay: the first losses of classes are near ln 8.
    let losses = |arm: &str| report["arms"][arm]["loss_first"].as_f64().unwrap();
    assert!((losses("ccl") - losses("ccl_shuffled")).abs() > 1e-6);
    assert!((losses("ccl_labels") - 8f64.ln()).abs() < 1.0, "{}", losses("ccl_labels"));

    // Stopped by a time limit again and again, then continued to its end.
    let set = |setting| ["--set", setting];
    let all = format!("arms=[{}]", arms.join(","));
    let more: Vec<&str> = SMALL.iter().copied().chain([all.as_str()]).flat_map(set).collect();
    let mut stops = 0;
    for _ in 0..6 {
        let limited = [&short_run(&stopped, &more)[..], &["--max-time", "400ms"]].concat();
        stops += usize::from(mpuc(&limited).status.code() == Some(75));
    }
    assert!(stops > 0, "the limit stops a run");
    assert!(mpuc(&short_run(&stopped, &more)).status.success());
    assert!(checkpoints(&stopped) == checkpoints(&whole));

    // A bundle of the student predicts from its own modality's file.
    let model = whole.join("models/seed3-fold1-ccl.safetensors");
    assert!(model.exists(), "{}", model.display());
}

#[test]
fn a_student_without_its_teacher_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, settings: &[&str], wanted: &str| {
        let set: Vec<&str> =
            SMALL.iter().chain(settings).flat_map(|setting| ["--set", *setting]).collect();
        let output = mpuc(&short_run(&folder.path().join(name), &set));
        let message = text(&output.stderr);
        assert!(!output.status.success() && message.contains(wanted), "{wanted}: {message}");
    };
    refused("alone", &["arms=[ccl]"], "`arm.ccl.teacher`");
    refused(
        "headless",
        &["arms=[mpuc,ccl_logits]", "arm.ccl_logits.teacher=mpuc"],
        "teacher without a head",
    );
    refused(
        "unknown",
        &["arms=[late_fusion,ccl]", "system.ccl.student=hands"],
        "no modality `hands`; set student and teachers to some of",
    );
    refused(
        "other",
        &["arms=[late_fusion,ccl]", "arm.late_fusion.modalities=[voice,landmarks]"],
        "the teacher's networks have no `faces",
    );
}
