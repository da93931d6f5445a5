//! Parameters with the numbers a fixture describes, and comparing all their gradients.

use crate::comparison::Comparison;
use crate::fixture::{self, Fixture, list, text};
use engine::{DType, Kind, Outcome, ParameterId, Parameters, Result, Tensor};
use serde_json::Value;
use std::collections::BTreeMap;

/// Gradients smaller than this share of a network's largest one are 0 in exact arithmetic.
const NOTHING: f64 = 1e-9;

/// Gives every parameter the numbers of its name. Fails unless the fixture lists exactly these parameters, with
/// these shapes.
pub fn fill(parameters: &mut Parameters, description: &Value) {
    let prefix = text(&description["name"]);
    let mut listed = BTreeMap::new();
    for described in description["parameters"].as_array().unwrap() {
        let (name, shape) = (text(&described["name"]), list(&described["shape"]));
        listed.insert(name.to_owned(), (shape, described["statistic"] == true));
    }
    let kind = |id| parameters.kind(id) == Kind::Statistic;
    let ours = parameters
        .ids()
        .map(|id| (parameters.name(id).to_owned(), (parameters.logical(id).to_vec(), kind(id))));
    assert_eq!(ours.collect::<BTreeMap<_, _>>(), listed, "our parameters and the fixture's");
    for described in description["parameters"].as_array().unwrap() {
        let (name, shape) = (text(&described["name"]), list(&described["shape"]));
        let numbers = fixture::values(&format!("{prefix} {name}"), &shape, described);
        let id = parameters.find(name).unwrap();
        parameters.import(id, &Tensor::from_slice(&numbers, &shape).unwrap()).unwrap();
    }
}

/// The gradient of a parameter without padding.
fn gradient(parameters: &mut Parameters, outcome: &Outcome, id: ParameterId) -> Option<Vec<f64>> {
    let gradient = outcome.gradients.get(id)?;
    // Exported in the parameter's place, so that padded channels are cropped as the parameter's are.
    let before = std::mem::replace(parameters.value_mut(id), gradient.clone());
    let cropped = parameters.export(id).ok()?.to_vec().ok()?;
    *parameters.value_mut(id) = before;
    Some(cropped)
}

/// Networks whose gradients are not compared in f32: R(2+1)D-18 on a clip this small. Rounding opens or shuts a ReLU
/// here and there, which is a jump in the gradients of all layers before it; in training, batch norm over 8 numbers
/// makes that 4 % of their norm in PyTorch's own f32.
const ONLY_IN_F64: [&str; 1] = ["face_18"];

/// Whether this is such a network in f32.
pub fn only_in_f64(fixture: &Fixture, dtype: DType) -> bool {
    dtype == DType::F32 && ONLY_IN_F64.contains(&text(&fixture.description["name"]))
}

/// Compares every gradient, the sum over several passes, then the new statistics.
pub fn compare(
    comparison: &mut Comparison,
    fixture: &Fixture,
    parameters: &mut Parameters,
    outcomes: Vec<Outcome>,
    mode: &str,
    tolerance: f64,
) {
    let skip = only_in_f64(fixture, parameters.dtype());
    let floor = NOTHING * fixture.largest(&format!("{mode}/grad/"));
    // One number, such as a slope shared by all features, is a sum of thousands that cancel: it is compared with
    // the largest of its kind.
    let single = fixture.largest_single(&format!("{mode}/grad/"));
    for id in parameters.ids() {
        if parameters.kind(id) != Kind::Trainable {
            continue;
        }
        if skip {
            comparison.left_out += 1;
            continue;
        }
        let name = format!("{mode}/grad/{}", parameters.name(id));
        let mut of = |outcome| gradient(parameters, outcome, id);
        let found: Vec<Vec<f64>> = outcomes.iter().filter_map(&mut of).collect();
        let sum =
            |sum: Vec<f64>, more: Vec<f64>| sum.iter().zip(more).map(|(a, b)| a + b).collect();
        let found = found.into_iter().reduce(sum).unwrap_or_else(|| panic!("{name} is missing"));
        let size = match largest(fixture, &name) {
            zero if zero < floor => floor / NOTHING,
            _ if found.len() == 1 => single,
            _ => 0.0,
        };
        comparison.tensor(fixture, &name, &found, size, tolerance);
    }
    outcomes.into_iter().for_each(|outcome| outcome.statistics.apply(parameters).unwrap());
    if mode != "train" {
        return;
    }
    for id in parameters.ids() {
        if parameters.kind(id) == Kind::Statistic {
            let name = format!("{mode}/statistic/{}", parameters.name(id));
            comparison.tensor(
                fixture,
                &name,
                &parameters.export(id).unwrap().to_vec().unwrap(),
                0.0,
                tolerance,
            );
        }
    }
}

/// The largest magnitude of an expected tensor.
fn largest(fixture: &Fixture, name: &str) -> f64 {
    let of = |values: &[f64]| values.iter().fold(0.0f64, |largest, value| value.abs().max(largest));
    match fixture.get(name) {
        Some(values) => of(values),
        None => fixture.get(&format!("{name}#summary")).map_or(f64::NAN, |summary| summary[0]),
    }
}

/// The sum of output · grad_output, whose gradient with respect to the output is grad_output.
pub fn weighted_sum(output: &Tensor, grad_output: &[f32]) -> Result<Tensor> {
    let count = output.count();
    let column = Tensor::from_slice(grad_output, &[count, 1])?.to(output.dtype())?;
    output.reshape(&[1, count])?.linear(&column, None, false)
}
