//! The networks that find faces against the same ones in PyTorch, their weights in the names and layouts of the files
//! that users have.

use crate::comparison::{Comparison, demand_none};
use crate::fixture::{self, Fixture, list, text};
use engine::{DType, Parameters, Pass, Tensor};
use models::faces::{PointNet, onet, pnet, rnet};
use models::weights::{Match, Source, load};
use std::collections::BTreeMap;

/// As for the other networks.
const TOLERANCE: f64 = 1e-4;
const F64_TOLERANCE: f64 = 1e-6;

/// The tensors of a file by name: shape and numbers.
fn file(fixture: &Fixture) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let prefix = text(&fixture.description["name"]);
    let tensors = fixture.description["parameters"].as_array().unwrap().iter().map(|described| {
        let (name, shape) = (text(&described["name"]), list(&described["shape"]));
        let numbers = fixture::values(&format!("{prefix} {name}"), &shape, described);
        (name.to_owned(), (shape, numbers))
    });
    tensors.collect()
}

/// Fills every parameter from a file in PyTorch's layout.
fn fill(parameters: &mut Parameters, fixture: &Fixture) {
    let file = file(fixture);
    let names: Vec<&String> = file.keys().collect();
    let sources: Vec<Source<'_>> =
        file.iter().map(|(name, (shape, _))| Source { name, shape }).collect();
    let matched = Match::new(parameters, "", &sources);
    let nothing = (&matched.missing[..], &matched.extra[..], &matched.reshaped[..]);
    assert_eq!(nothing, (&[][..], &[][..], &[][..]));
    for (name, number) in &matched.found {
        load(parameters, name, &file[names[*number]].1).unwrap();
    }
}

fn compare(dtype: DType, tolerance: f64) {
    let mut failures = Vec::new();
    for name in fixture::names("faces_") {
        let fixture = Fixture::read(&name);
        let d = &fixture.description;
        let name = text(&d["name"]);
        let shape = list(&d["input"]);
        let input = fixture::values(&format!("{name} input"), &shape, &serde_json::Value::Null);
        let x = Tensor::from_slice(&input, &[shape[0], 1, shape[1], shape[2], 3]).unwrap();
        let x = x.to(dtype).unwrap();
        let mut parameters = Parameters::new(dtype, 0);
        let output = if name == "points" {
            let net = PointNet::new(&mut parameters.scope(), "points").unwrap();
            let mut file = file(&fixture);
            net.load(&mut parameters, |name| file.remove(name)).unwrap();
            assert!(file.is_empty(), "left over: {:?}", file.keys());
            net.forward(&Pass::evaluate(&parameters), &x)
        } else {
            let make = [pnet, rnet, onet]
                [["pnet", "rnet", "onet"].iter().position(|n| *n == name).unwrap()];
            let stage = make(parameters.scope()).unwrap();
            fill(&mut parameters, &fixture);
            stage.forward(&Pass::evaluate(&parameters), &x)
        };
        let output = output.unwrap();
        // Without the axis of depth, which pictures do not have.
        let planar: Vec<usize> = match output.shape()[..] {
            [n, 1, h, w, c] => vec![n, h, w, c],
            ref other => other.to_vec(),
        };
        assert_eq!(planar, list(&d["output"]), "{name}");
        let mut comparison = Comparison::default();
        comparison.tensor(&fixture, "output", &output.to_vec().unwrap(), 0.0, tolerance);
        assert_eq!(comparison.tensors, fixture.count());
        comparison.report(&format!("{name} in {dtype}"), &mut failures);
    }
    demand_none(&failures);
}

#[test]
fn face_networks_compute_what_pytorch_does() {
    compare(DType::F32, TOLERANCE);
}

#[test]
fn face_networks_compute_what_pytorch_does_in_f64() {
    compare(DType::F64, F64_TOLERANCE);
}

#[test]
fn points_want_every_tensor_in_its_shape() {
    let fixture = Fixture::read("faces_points");
    let mut parameters = Parameters::new(DType::F32, 0);
    let net = PointNet::new(&mut parameters.scope(), "points").unwrap();
    let mut refused = |file: BTreeMap<String, (Vec<usize>, Vec<f32>)>, part: &str| {
        let outcome = net.load(&mut parameters, |name| file.get(name).cloned());
        let message = outcome.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    let mut lacking = file(&fixture);
    lacking.remove("dense2/conv1/bias");
    refused(lacking, "dense2/conv1/bias: the file has no such tensor");
    let mut other = file(&fixture);
    other.get_mut("fc/weights").unwrap().0 = vec![136, 256];
    refused(other, "fc/weights: got shape [136, 256], expected [256, 136]");
}
