//! `mpuc kernels model`: what it prints, and what it refuses.

use super::world::{mpuc, text};
use serde_json::Value;

fn model(arguments: &[&str]) -> Value {
    let output = mpuc(&[&["kernels", "model", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_kernel_is_within_its_modelled_budget() {
    let report = model(&["--all"]);
    let kernels = report["kernels"].as_array().unwrap();
    assert!(kernels.len() > 100, "{}", kernels.len());
    for kernel in kernels {
        for gpu in ["a100", "h100", "h200", "b200"] {
            let model = &kernel["model"][gpu];
            let [seconds, roofline] =
                ["seconds", "roofline_seconds"].map(|key| model[key].as_f64().unwrap());
            assert!(roofline >= 0.0 && roofline < seconds && seconds < 1e-3, "{kernel}");
            assert!(!model["limiter"].as_str().unwrap().is_empty(), "{kernel}");
        }
    }
    assert_eq!(report["over_budget"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_time_measured_on_a_device_stands_beside_the_model() {
    let report = model(&["softmax", "--gpu", "H100", "--device", "sim:fast"]);
    let kernels = report["kernels"].as_array().unwrap();
    let names: Vec<&str> =
        kernels.iter().map(|kernel| kernel["kernel"].as_str().unwrap()).collect();
    assert!(names.contains(&"softmax_forward") && names.contains(&"softmax_backward"), "{names:?}");
    assert!(
        kernels.iter().all(|kernel| kernel["measured_seconds"].as_f64() > Some(0.0)),
        "{report}"
    );
    let output = mpuc(&["kernels", "model", "softmax", "--gpu", "a100", "--device", "sim:fast"]);
    let table = text(&output.stdout);
    for part in ["Model, not measured", "a100 ms", "measured ms", "occupancy", "softmax_forward"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[test]
fn a_gpu_without_a_data_sheet_and_an_unknown_operation_are_refused() {
    let refused = |arguments: &[&str], part: &str| {
        let output = mpuc(&[&["kernels", "model"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    };
    refused(&["linear", "--gpu", "v100"], "v100: the model has no data sheet of this GPU");
    refused(&["linaer"], "operation `linaer` does not exist");
    refused(&["linear", "--device", "cpu"], "the CPU runs no kernels");
    refused(&["--all", "--batch", "4"], "cannot be used with");
}
