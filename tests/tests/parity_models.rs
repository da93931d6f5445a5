//! Every network against the same one in PyTorch, from input to output and back to every parameter, in training
//! and in evaluation.

use crate::comparison::{Comparison, demand_none};
use crate::fixture::{self, Fixture, list, text};
use crate::network;
use engine::{DType, Init, Parameters, Pass, Philox, Result, Tensor};
use models::backbones::{Backbone, BackboneSettings};
use models::heads::{Prediction, Projection};
use serde_json::{Value, json};

/// The largest difference, relative to the largest magnitude of a tensor.
const TOLERANCE: f64 = 1e-4;
/// The same where batch norm over 8 numbers makes rounding larger.
const LOOSE_TOLERANCE: f64 = 1e-3;
/// The same in f64: the files hold f32.
const F64_TOLERANCE: f64 = 1e-6;

/// What a fixture can be about.
enum Network {
    Backbone(Box<Backbone>),
    Projection(Projection),
    Prediction(Prediction),
}

impl Network {
    fn new(kind: &str, settings: &Value, parameters: &mut Parameters, sample: &[usize]) -> Self {
        let scope = parameters.scope();
        let count = |name: &str| settings[name].as_u64().unwrap() as usize;
        match kind {
            "projection" => {
                let settings = serde_json::from_value(settings.clone()).unwrap();
                Network::Projection(Projection::new(&settings, scope, sample[0]).unwrap())
            }
            "prediction" => {
                let head =
                    Prediction::new(scope, sample[0], count("hidden"), count("classes"), 0.0);
                Network::Prediction(head.unwrap())
            }
            kind => {
                // R(2+1)D-18 is the default of its settings; the fixture comes from torchvision's own function.
                let kind = if kind == "r2plus1d_18" { "r2plus1d" } else { kind };
                let mut settings = settings.clone();
                settings["kind"] = json!(kind);
                let settings: BackboneSettings = serde_json::from_value(settings).unwrap();
                Network::Backbone(Box::new(Backbone::new(&settings, scope, sample).unwrap()))
            }
        }
    }

    fn forward(&self, pass: &Pass<'_>, x: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
        match self {
            Network::Backbone(net) => net.forward(pass, x, lengths),
            Network::Projection(head) => head.forward(pass, x),
            Network::Prediction(head) => head.forward(pass, x),
        }
    }
}

fn compare(file: &str, dtype: DType, tolerance: f64, failures: &mut Vec<String>) {
    let fixture = Fixture::read(file);
    let tolerance = if network::only_in_f64(&fixture, dtype) { LOOSE_TOLERANCE } else { tolerance };
    let d = &fixture.description;
    let name = text(&d["name"]);
    let shape = list(&d["input"]);
    let mut parameters = Parameters::new(dtype, 0);
    let net = Network::new(text(&d["kind"]), &d["settings"], &mut parameters, &shape[1..]);
    network::fill(&mut parameters, d);
    // The input is a parameter too, which gives its gradient.
    let input = parameters.scope().parameter("input", &shape, Init::Constant(0.0)).unwrap();
    let numbers = fixture::values(&format!("{name} input"), &shape, &Value::Null);
    parameters.import(input, &Tensor::from_slice(&numbers, &shape).unwrap()).unwrap();
    let lengths = d["lengths"].is_array().then(|| {
        let lengths: Vec<u32> = list(&d["lengths"]).iter().map(|&l| l as u32).collect();
        Tensor::from_slice(&lengths, &[lengths.len()]).unwrap()
    });

    let mut comparison = Comparison::default();
    // Evaluation first: training changes the statistics.
    for mode in ["evaluate", "train"] {
        let before = parameters.clone();
        let pass = match mode {
            "train" => Pass::train(&before, Philox::new(0, "no dropout")),
            _ => Pass::evaluate_recorded(&before),
        };
        let output = net.forward(&pass, &pass.get(input), lengths.as_ref()).unwrap();
        assert_eq!(output.shape()[..], list(&d["output"])[..], "shape of the output of {name}");
        comparison.tensor(
            &fixture,
            &format!("{mode}/output"),
            &output.to_vec().unwrap(),
            0.0,
            tolerance,
        );
        let grad_output: Vec<f32> =
            fixture::uniform(&format!("{name} grad_output"), output.count()).collect();
        let outcome =
            pass.backward(&network::weighted_sum(&output, &grad_output).unwrap()).unwrap();
        network::compare(
            &mut comparison,
            &fixture,
            &mut parameters,
            vec![outcome],
            mode,
            tolerance,
        );
    }
    assert_eq!(
        comparison.tensors + comparison.left_out,
        fixture.count(),
        "{file} holds tensors that were not compared"
    );
    comparison.report(&format!("{name} in {dtype}"), failures);
}

fn compare_all(dtype: DType, tolerance: f64) {
    let mut failures = Vec::new();
    for file in fixture::names("model_") {
        compare(&file, dtype, tolerance, &mut failures);
    }
    demand_none(&failures);
}

#[test]
fn every_network_computes_what_pytorch_does() {
    compare_all(DType::F32, TOLERANCE);
}

#[test]
fn every_network_computes_what_pytorch_does_in_f64() {
    compare_all(DType::F64, F64_TOLERANCE);
}
