//! Weights from PyTorch: inspection, conversion, and training from them.

use super::world::{mpuc, short_run, text};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/weights").join(name)
}

fn json(output: &std::process::Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn both_formats_and_safetensors_list_the_same_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let converted = folder.path().join("face.safetensors");
    let (zip, legacy) = (fixture("face.pt"), fixture("face_checkpoint_legacy.pt"));
    let output = mpuc(&["weights", "convert", zip.to_str().unwrap(), converted.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let list = |path: &Path, prefix: &str| -> Vec<(String, Value)> {
        let report = json(&mpuc(&["weights", "inspect", path.to_str().unwrap(), "--json"]));
        let mut tensors: Vec<(String, Value)> = report["tensors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tensor| {
                let name = tensor["name"].as_str().unwrap().strip_prefix(prefix).unwrap();
                (name.to_owned(), tensor["shape"].clone())
            })
            .collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    };
    let tensors = list(&zip, "");
    assert!(tensors.iter().any(|(name, _)| name == "layer2.0.conv1.0.3.weight"), "{tensors:?}");
    assert_eq!(list(&legacy, "state_dict.module."), tensors);
    assert_eq!(list(&converted, ""), tensors);
    // An existing file is not overwritten.
    let again = mpuc(&["weights", "convert", zip.to_str().unwrap(), converted.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(74), "{}", text(&again.stderr));
    // It is a narrow network, not R(2+1)D-18.
    let other = mpuc(&["weights", "inspect", zip.to_str().unwrap(), "--network", "r2plus1d"]);
    assert_eq!(other.status.code(), Some(65));
    assert!(
        text(&other.stdout)
            .contains("stem.0.weight is [5, 3, 1, 7, 7], the network's [45, 3, 1, 7, 7]")
    );
}

#[test]
fn training_starts_from_weights_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let backbone = "modality.faces.backbone={ kind = \"r2plus1d\", width = 8, stem = 5, blocks = [1, 1], dropout = 0.0, features = 16 }";
    let file = fixture("face_checkpoint_legacy.pt");
    let weights = format!("modality.faces.weights={}", file.display());
    let settings = [
        "--set",
        backbone,
        "--set",
        &weights,
        "--set",
        "arms=[untrained, mpuc]",
        "--set",
        "steps=2",
    ];
    let report = json(&mpuc(&short_run(&run, &settings)));
    let stamp = report["protocol"]["weights"]["faces"].as_str().unwrap();
    assert!(stamp.starts_with("face_checkpoint_legacy.pt "), "{stamp}");

    let refuse = |setting: &str, code: i32, part: &str| {
        let out = folder.path().join("refused");
        let output = mpuc(&short_run(&out, &["--set", &weights, "--set", setting]));
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(part), "{message}");
    };
    refuse("training.epochs=1", 78, "modality.faces.weights");
    refuse("modality.faces.backbone={ kind = \"r2plus1d\" }", 65, "modality.faces.backbone");
}

#[test]
fn a_pickle_that_would_run_something_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evil.pt");
    let mut bytes = std::fs::read(fixture("face_checkpoint_legacy.pt")).unwrap();
    let name = b"torch._utils\n_rebuild_tensor_v2\n";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes.splice(at..at + name.len(), *b"os\nsystem\n");
    std::fs::write(&path, bytes).unwrap();
    let output = mpuc(&["weights", "inspect", path.to_str().unwrap()]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{message}");
    assert!(message.contains("evil.pt") && message.contains("`os.system`"), "{message}");
}
