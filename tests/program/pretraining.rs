//! Systems without labels beside MPUC: masked spans, and voice to face.

use super::devices::losses;
use super::resume::{kill_until_done, metrics};
use super::world::{checkpoints, mpuc, short_run, text};
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

const ARMS: [&str; 5] =
    ["masked", "masked_cross", "masked_both", "masked_contrast", "voice_to_face"];

fn smoke(out: &Path, more: &[&str]) -> Value {
    let mut arguments =
        vec!["train", "--preset", "smoke", "--json", "--out", out.to_str().unwrap()];
    more.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let output = mpuc(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn they_train_and_a_probe_reads_their_features() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let arms = format!("arms=[{},single,heard]", ARMS.join(","));
    // A probe for each modality of the masked system. A face that speaks has the features of its voice alone.
    let more = [
        &arms,
        "arm.single.features=masked",
        "arm.heard.features=voice_to_face",
        "training.epochs=6",
    ];
    let report = smoke(&run, &more);
    for arm in ARMS {
        let found = &report["arms"][arm];
        assert!((0.0..=1.0).contains(&found["score"]["mean"].as_f64().unwrap()), "{arm}: {found}");
        let [first, last] = ["loss_first", "loss_last"].map(|key| found[key].as_f64().unwrap());
        // Masks are drawn anew: the error of masked spans is noisy.
        assert!(last < 1.1 * first, "{arm}: {found}");
        let compares = matches!(arm, "masked_both" | "masked_contrast");
        assert_eq!(found["retrieval"].is_object(), compares, "{arm}: {found}");
    }
    for modality in ["faces", "landmarks", "voice"] {
        assert!(report["arms"][format!("single.{modality}")]["score"]["mean"].is_number());
    }
    assert_eq!(report["arms"]["heard"]["score"], report["arms"]["voice_to_face"]["score"]);
    let lines = String::from_utf8(metrics(&run)).unwrap();
    for part in ["faces rebuilt", "voice rebuilt", "contrast", "no motion", "mean motion"] {
        assert!(lines.contains(part), "no {part}");
    }
    let again = mpuc(&["eval", run.to_str().unwrap(), "--json"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    for arm in ARMS {
        assert_eq!(again["arms"][arm]["score"], report["arms"][arm]["score"], "{arm}");
    }
}

#[test]
fn a_killed_run_continues_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let more =
        ["--set", "arms=[masked_both,masked_cross,voice_to_face]", "--set", "training.epochs=2"];
    let started = Instant::now();
    let output = mpuc(&short_run(&whole, &more));
    assert!(output.status.success(), "{}", text(&output.stderr));
    kill_until_done(&killed, &more, started.elapsed(), 6, engine::Philox::new(12, "kills"));
    assert!(checkpoints(&killed) == checkpoints(&whole), "other weights");
    assert!(metrics(&killed) == metrics(&whole), "other metrics");
}

#[test]
fn a_simulated_gpu_learns_what_the_cpu_learns() {
    let folder = tempfile::tempdir().unwrap();
    for arm in ["masked_both", "masked_cross", "voice_to_face"] {
        let arms = format!("arms=[{arm}]");
        let run = |device: &str| {
            let run = folder.path().join(format!("{arm}-{device}"));
            let out = run.to_str().unwrap();
            let output = mpuc(&[
                "train",
                "--preset",
                "smoke",
                "--device",
                device,
                "--out",
                out,
                "--set",
                &arms,
                "--set",
                "steps=2",
                "--set",
                "modality.faces=",
            ]);
            assert!(output.status.success(), "{device}: {}", text(&output.stderr));
            losses(&run)
        };
        let (cpu, sim) = (run("cpu"), run("sim:fast"));
        assert_eq!((cpu.len(), sim.len()), (2, 2));
        for (cpu, sim) in cpu.iter().zip(&sim) {
            assert!((cpu - sim).abs() < 1e-4 * cpu.abs().max(1.0), "{arm}: {cpu}, simulated {sim}");
        }
    }
}

#[test]
fn what_a_system_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let refused = |more: &[&str], wanted: &[&str]| {
        let mut arguments =
            vec!["train", "--preset", "smoke", "--out", out.to_str().unwrap(), "--dry-run"];
        more.iter().for_each(|setting| arguments.extend(["--set", setting]));
        let message = text(&mpuc(&arguments).stderr);
        assert!(wanted.iter().all(|part| message.contains(part)), "{wanted:?} in {message}");
    };
    let arm = "arms=[voice_to_face]";
    refused(
        &[arm, "system.voice_to_face.source=touch"],
        &["`touch` is no modality", "landmarks, voice"],
    );
    refused(
        &[arm, r#"arm.voice_to_face.backbones.voice={kind="r2plus1d"}"#],
        &["the backbone of `voice` pools time"],
    );
    refused(
        &["arms=[masked_cross]", "arm.masked_cross.settings.anchor=touch"],
        &["`touch` is no modality", "faces, landmarks, voice"],
    );
    refused(&["arms=[masked_cross]", "system.masked.contrast=0.5"], &["contrast", "cross"]);
    refused(
        &["arms=[masked]", "system.masked.spans.length=[3,2]"],
        &["system.masked.spans.length"],
    );
}
