//! Contrastive losses of several modalities against PyTorch: values, gradients of embeddings and of learned numbers, with
//! modalities that samples lack, in f32 and in f64.

use crate::comparison::{Comparison, demand_none};
use crate::fixture::{self, Fixture, list, text};
use engine::{DType, Init, ParameterId, Parameters, Pass, Philox, Tensor};
use models::contrast::{Contrast, ContrastiveSettings};
use models::systems::{Batch, EncoderSettings, Input, Parts};
use models::targets::Task;
use serde_json::Value;

/// The largest difference, relative to the largest magnitude of a tensor.
const TOLERANCE: f64 = 1e-4;
/// The same in f64: the files hold f32.
const F64_TOLERANCE: f64 = 2e-7;

/// Labels as a batch has them, with their task.
fn labels(d: &Value) -> Option<(Tensor, Task)> {
    let labels = d["labels"].as_array()?;
    if !labels[0].is_array() {
        let classes: Vec<u32> = list(&d["labels"]).iter().map(|&class| class as u32).collect();
        return Some((Tensor::from_slice(&classes, &[classes.len()]).unwrap(), Task::OneOf(4)));
    }
    let marks: Vec<f32> = labels.iter().flat_map(list).map(|mark| mark as f32).collect();
    let width = marks.len() / labels.len();
    let marks = Tensor::from_slice(&marks, &[labels.len(), width]).unwrap();
    Some((marks, Task::EachOf(vec![1.0; width])))
}

fn batch(d: &Value, labels: Option<Tensor>) -> Batch {
    let samples = list(&d["shape"])[0];
    let input = |present: &Value| Input {
        present: Some(list(present).iter().map(|&has| has as u32).collect()),
        ..Input::new(Tensor::zeros(&[samples, 1], DType::F32))
    };
    let modalities = d["present"].as_array().unwrap().iter().map(input).collect();
    Batch { modalities, labels, groups: None, samples, views: 1 }
}

fn compare(file: &str, dtype: DType, tolerance: f64, failures: &mut Vec<String>) {
    let fixture = Fixture::read(file);
    let d = &fixture.description;
    let name = format!("contrast {}", file.strip_prefix("loss_contrast_").unwrap());
    let settings: ContrastiveSettings = serde_json::from_value(d["settings"].clone()).unwrap();
    settings.check().unwrap();
    let names: Vec<&str> = d["names"].as_array().unwrap().iter().map(text).collect();
    let encoders: Vec<EncoderSettings> =
        names.iter().map(|name| EncoderSettings::strided(name, &[1, 1])).collect();
    let (labels, task) = labels(d).unzip();
    let mut parameters = Parameters::new(dtype, 0);
    let parts = Parts::new(&encoders, task.as_ref());
    let contrast = Contrast::new(&settings, parts, "mpuc", parameters.scope().sub("loss")).unwrap();
    for (learned, value) in d["learned"].as_object().unwrap() {
        let id = parameters.find(&format!("loss.{learned}")).unwrap();
        let value = Tensor::from_slice(&[value.as_f64().unwrap()], &[1]).unwrap();
        parameters.import(id, &value.to(dtype).unwrap()).unwrap();
    }
    assert_eq!(parameters.ids().count(), d["learned"].as_object().unwrap().len());
    // The embeddings are parameters, so that a pass gives their gradients.
    let shape = list(&d["shape"]);
    let embedding = |modality: &&str| -> ParameterId {
        let id = parameters.scope().parameter(modality, &shape, Init::Constant(0.0)).unwrap();
        let described = serde_json::json!({ "scale": 1.0, "offset": 0.125 });
        let numbers = fixture::values(&format!("{name} {modality}"), &shape, &described);
        let numbers = Tensor::from_slice(&numbers, &shape).unwrap().to(dtype).unwrap();
        parameters.import(id, &numbers).unwrap();
        id
    };
    let ids: Vec<ParameterId> = names.iter().map(embedding).collect();
    let pass = Pass::train(&parameters, Philox::new(0, "no dropout"));
    let embeddings = ids.iter().map(|&id| pass.get(id)).collect();
    let loss = contrast.loss(&pass, &batch(d, labels), embeddings).unwrap();
    let mut comparison = Comparison::default();
    comparison.tensor(&fixture, "output", &loss.total.to_vec().unwrap(), 0.0, tolerance);
    let scale = fixture::uniform(&format!("{name} grad_output"), 1).next().unwrap();
    let outcome = pass.backward(&loss.total.affine(f64::from(scale), 0.0).unwrap()).unwrap();
    for id in parameters.ids() {
        let gradient = outcome.gradients.get(id).unwrap().to_vec().unwrap();
        let leaf = parameters.name(id).trim_start_matches("loss.");
        comparison.tensor(&fixture, &format!("grad {leaf}"), &gradient, 0.0, tolerance);
    }
    assert_eq!(comparison.tensors, fixture.count(), "{file} holds tensors that were not compared");
    comparison.report(&format!("{file} in {dtype}"), failures);
}

#[test]
fn every_contrastive_loss_is_pytorchs() {
    let mut failures = Vec::new();
    for file in fixture::names("loss_contrast_") {
        compare(&file, DType::F32, TOLERANCE, &mut failures);
        compare(&file, DType::F64, F64_TOLERANCE, &mut failures);
    }
    demand_none(&failures);
}
