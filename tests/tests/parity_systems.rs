//! Whole systems against PyTorch: encoders, heads and loss of several modalities, some samples without some.

use crate::comparison::{Comparison, demand_none};
use crate::fixture::{self, Fixture, list, text};
use crate::network;
use engine::{DType, ParameterId, Parameters, Pass, Philox, Tensor};
use models::systems::{Batch, EncoderSettings, Input, Parts, SystemSettings};
use models::targets::Task;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest difference, relative to the largest magnitude of a tensor.
const TOLERANCE: f64 = 1e-4;
/// The same in f64: the files hold f32.
const F64_TOLERANCE: f64 = 1e-6;

fn parse<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn batch(d: &Value, encoders: &[EncoderSettings], dtype: DType) -> Batch {
    let (name, rows) = (text(&d["name"]), d["rows"].as_u64().unwrap() as usize);
    let input = |(position, encoder): (usize, &EncoderSettings)| {
        let present: Option<Vec<u32>> = d["present"][position]
            .as_array()
            .map(|_| list(&d["present"][position]).iter().map(|&p| p as u32).collect());
        let held = present.as_ref().map_or(rows, |present| present.iter().sum::<u32>() as usize);
        let shape: Vec<usize> = [&[held], &encoder.input[..]].concat();
        let numbers =
            fixture::values(&format!("{name} {} input", encoder.name), &shape, &Value::Null);
        let rows = present.as_ref().map(|present| {
            let mut next = 0;
            let row = |&has: &u32| {
                next += has;
                if has == 1 { next - 1 } else { 0 }
            };
            let numbers: Vec<u32> = present.iter().map(row).collect();
            Tensor::from_slice(&numbers, &[numbers.len()]).unwrap()
        });
        let lengths = d["lengths"][position].as_array().map(|_| {
            let lengths: Vec<u32> =
                list(&d["lengths"][position]).iter().map(|&length| length as u32).collect();
            Tensor::from_slice(&lengths, &[held]).unwrap()
        });
        Input {
            data: Tensor::from_slice(&numbers, &shape).unwrap().to(dtype).unwrap(),
            lengths,
            rows,
            present,
        }
    };
    let cycle = |count: u64| {
        let numbers: Vec<u32> = (0..rows).map(|row| (row % count as usize) as u32).collect();
        Tensor::from_slice(&numbers, &[rows]).unwrap()
    };
    let labels = d["classes"].as_u64().map(cycle);
    let groups = d["groups"].as_u64().map(cycle);
    // The two views of the authors' loss are rows like any others here.
    let views = if d["settings"]["loss"]["denominator"] == "authors" { 2 } else { 1 };
    let modalities = encoders.iter().enumerate().map(input).collect();
    Batch { modalities, labels, groups, samples: rows / views, views }
}

fn compare(file: &str, dtype: DType, tolerance: f64, failures: &mut Vec<String>) {
    let fixture = Fixture::read(file);
    let d = &fixture.description;
    let encoders: Vec<EncoderSettings> = parse(&d["encoders"]);
    let mut parameters = Parameters::new(dtype, 0);
    let mut settings = d["settings"].clone();
    settings["system"] = d["system"].clone();
    let settings: SystemSettings = parse(&settings);
    let task = d["classes"].as_u64().map(|classes| Task::OneOf(classes as usize));
    let teacher: Option<SystemSettings> = d.get("teacher").map(parse);
    let groups = d["groups"].as_u64().unwrap_or(0) as usize;
    let parts = Parts { groups, teacher: teacher.as_ref(), ..Parts::new(&encoders, task.as_ref()) };
    let system = settings.build(parts, parameters.scope()).unwrap();
    network::fill(&mut parameters, d);
    parameters.freeze("teacher.");
    let mut comparison = Comparison::default();
    let batch = batch(d, &encoders, dtype);
    let outputs = system.outputs(&Pass::evaluate(&parameters), &batch).unwrap();
    let features = encoders.iter().zip(&outputs.features);
    let features = features.map(|(encoder, found)| (format!("features/{}", encoder.name), found));
    let whole = [("logits", &outputs.logits), ("joint", &outputs.joint)].into_iter();
    let whole = whole.filter_map(|(name, found)| Some((name.to_owned(), found.as_ref()?)));
    for (name, found) in whole.chain(features) {
        let name = format!("evaluate/{name}");
        if fixture.get(&name).is_some() {
            comparison.tensor(&fixture, &name, &found.to_vec().unwrap(), 0.0, tolerance);
        }
    }
    // Each phase in a pass of its own, without updates of parameters.
    let mut outcomes = Vec::new();
    let mut total = 0.0;
    for (number, phase) in system.phases().iter().enumerate() {
        let before = parameters.clone();
        let updated = |id: &ParameterId| {
            phase.updates.iter().any(|module| before.name(*id).starts_with(module.as_str()))
        };
        let ids: Vec<ParameterId> = before.trainable().filter(updated).collect();
        let pass = Pass::train(&before, Philox::new(0, "no dropout")).updating(&ids);
        let loss = system.loss(&pass, &batch, number).unwrap().total;
        total += loss.item().unwrap();
        let mut outcome = pass.backward(&loss).unwrap();
        std::mem::take(&mut outcome.statistics).apply(&mut parameters).unwrap();
        outcomes.push(outcome);
    }
    comparison.tensor(&fixture, "train/output", &[total], 0.0, tolerance);
    network::compare(&mut comparison, &fixture, &mut parameters, outcomes, "train", tolerance);
    assert_eq!(comparison.tensors, fixture.count(), "{file} holds tensors that were not compared");
    comparison.report(&format!("{} in {dtype}", text(&d["name"])), failures);
}

#[test]
fn every_system_computes_what_pytorch_does() {
    let mut failures = Vec::new();
    for file in fixture::names("system_") {
        compare(&file, DType::F32, TOLERANCE, &mut failures);
        compare(&file, DType::F64, F64_TOLERANCE, &mut failures);
    }
    demand_none(&failures);
}
