//! Networks whose setting `masked` is true.

use super::*;
use engine::{DType, Init, Parameters, Philox};
use serde_json::json;

/// The longest sample, and the lengths of a batch.
const STEPS: usize = 11;
const LENGTHS: [usize; 4] = [STEPS, 6, 1, 9];

/// Every kind of network that can be masked, and its shape of a step.
fn settings(masked: bool) -> Vec<(BackboneSettings, Vec<usize>)> {
    let tcn = json!({"kind": "tcn", "channels": 5, "hidden": 6, "blocks": 3, "repeats": 2, "dropout": 0.0, "features": 4});
    let graph = json!({"kind": "st_gcn", "channels": [3, 3, 4], "kernel": 5, "features": 4});
    let face = json!({"kind": "r2plus1d", "width": 4, "stem": 3, "blocks": [1, 1, 1], "dropout": 0.0, "features": 4});
    let kinds = [
        (tcn, vec![4]),
        (json!({"kind": "strided_conv", "width": 4, "layers": 3}), vec![3]),
        (graph, vec![51, 2]),
        (json!({"kind": "strided_clip", "width": 8}), vec![8, 8, 1]),
        (face, vec![8, 8, 3]),
    ];
    let parse = |(mut settings, step): (serde_json::Value, Vec<usize>)| {
        settings["masked"] = json!(masked);
        (serde_json::from_value(settings).expect("settings"), step)
    };
    kinds.into_iter().map(parse).collect()
}

/// A network with random parameters and running statistics.
fn network(settings: &BackboneSettings, step: &[usize]) -> Result<(Backbone, Parameters)> {
    let mut parameters = Parameters::new(DType::F64, 5);
    let input = [&[STEPS], step].concat();
    let net = Backbone::new(settings, parameters.scope(), &input)?;
    let random = Philox::new(3, "numbers");
    for (number, id) in parameters.ids().collect::<Vec<_>>().into_iter().enumerate() {
        let shape = parameters.logical(id).to_vec();
        let small = |i: usize| 0.1 * random.at(number as u64).normal(i as u64);
        let mut value = parameters.export(id)?.to_vec()?;
        value.iter_mut().enumerate().for_each(|(i, value)| *value += small(i));
        parameters.import(id, &Tensor::from_slice(&value, &shape)?)?;
    }
    Ok((net, parameters))
}

/// Samples of these lengths, the same for every number of steps, then random numbers times `fill`.
fn samples(lengths: &[usize], steps: usize, step: &[usize], fill: f64) -> Result<Tensor> {
    let size: usize = step.iter().product();
    let mut values = Vec::new();
    for (sample, &length) in lengths.iter().enumerate() {
        let random = Philox::new(9, "samples").at(sample as u64);
        let number =
            |i: usize| random.normal(i as u64) * if i < length * size { 1.0 } else { fill };
        values.extend((0..steps * size).map(number));
    }
    Tensor::from_slice(&values, &[&[lengths.len(), steps], step].concat())
}

fn tensor(lengths: &[usize]) -> Result<Tensor> {
    let lengths: Vec<u32> = lengths.iter().map(|&length| length as u32).collect();
    Tensor::from_slice(&lengths, &[lengths.len()])
}

/// The features of samples of these lengths in evaluation.
fn features(
    (settings, step): &(BackboneSettings, Vec<usize>),
    lengths: &[usize],
    steps: usize,
    fill: f64,
) -> Result<Vec<f64>> {
    let (net, parameters) = network(settings, step)?;
    let x = samples(lengths, steps, step, fill)?;
    net.forward(&Pass::evaluate(&parameters), &x, Some(&tensor(lengths)?))?.to_vec()
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9 * (1.0 + b.abs()))
}

#[test]
fn a_padded_sample_has_the_features_of_the_sample_without_padding() -> Result<()> {
    for kind in &settings(true) {
        let padded = features(kind, &LENGTHS, STEPS, 5.0)?;
        assert_eq!(padded, features(kind, &LENGTHS, STEPS, -2.0)?, "{kind:?}");
        assert!(close(&padded, &features(kind, &LENGTHS, STEPS + 6, 3.0)?), "{kind:?}");
        let width = padded.len() / LENGTHS.len();
        let (net, parameters) = network(&kind.0, &kind.1)?;
        let all = samples(&LENGTHS, STEPS, &kind.1, 0.0)?;
        for (row, &length) in LENGTHS.iter().enumerate() {
            let x = all.slice(0, row, 1)?.slice(1, 0, length)?;
            let alone = net.forward(&Pass::evaluate(&parameters), &x, None)?.to_vec()?;
            assert!(close(&padded[row * width..][..width], &alone), "{length} of {kind:?}");
        }
    }
    Ok(())
}

#[test]
fn a_sample_without_padding_has_the_same_bits_masked_or_not() -> Result<()> {
    for (masked, plain) in settings(true).iter().zip(&settings(false)) {
        let (ours, theirs) =
            (features(masked, &LENGTHS, STEPS, 5.0)?, features(plain, &LENGTHS, STEPS, 5.0)?);
        let width = ours.len() / LENGTHS.len();
        assert_eq!(ours[..width], theirs[..width], "{masked:?}");
        for row in 1..LENGTHS.len() {
            let row = row * width..(row + 1) * width;
            assert!(!close(&ours[row.clone()], &theirs[row]), "{masked:?}");
        }
        let whole = [STEPS; 3];
        assert_eq!(features(masked, &whole, STEPS, 0.0)?, features(plain, &whole, STEPS, 0.0)?);
        assert_ne!(theirs, features(plain, &LENGTHS, STEPS, -2.0)?, "{plain:?}");
    }
    Ok(())
}

/// The loss of a pass over samples of [`LENGTHS`] with `more` times a direction added to the parameter or input `of`, and
/// its derivative along that direction; and the gradient of the input.
fn derivative(
    (settings, step): &(BackboneSettings, Vec<usize>),
    training: bool,
    of: usize,
    more: f64,
) -> Result<Option<(f64, f64, Vec<f64>)>> {
    let (net, mut parameters) = network(settings, step)?;
    let x = samples(&LENGTHS, STEPS, step, 5.0)?;
    let input = parameters.scope().parameter("input", &x.shape(), Init::Constant(0.0))?;
    parameters.import(input, &x)?;
    let Some(id) = parameters.trainable().nth(of) else { return Ok(None) };
    let direction = Philox::new(of as u64, "direction");
    let direction: Vec<f64> =
        (0..parameters.logical(id).count()).map(|i| direction.normal(i as u64)).collect();
    let shape = parameters.logical(id).to_vec();
    let mut value = parameters.export(id)?.to_vec()?;
    value.iter_mut().zip(&direction).for_each(|(value, d)| *value += more * d);
    // A gradient has the stored shape, with padded channels: so must the direction.
    parameters.import(id, &Tensor::from_slice(&direction, &shape)?)?;
    let direction = parameters.value_mut(id).to_vec()?;
    parameters.import(id, &Tensor::from_slice(&value, &shape)?)?;
    let pass = match training {
        true => Pass::train(&parameters, Philox::new(0, "no dropout")),
        false => Pass::evaluate_recorded(&parameters),
    };
    let output = net.forward(&pass, &pass.get(input), Some(&tensor(&LENGTHS)?))?;
    let random = Philox::new(4, "output");
    let weights: Vec<f64> = (0..output.count()).map(|i| random.normal(i as u64)).collect();
    let weights = Tensor::from_slice(&weights, &output.shape())?;
    let loss = output.multiply(&weights)?.sum(&[0, 1])?;
    let outcome = pass.backward(&loss)?;
    let gradient = |id| outcome.gradients.get(id).map_or_else(|| Ok(Vec::new()), Tensor::to_vec);
    let along = gradient(id)?.iter().zip(&direction).map(|(g, d)| g * d).sum();
    Ok(Some((loss.item()?, along, gradient(input)?)))
}

#[test]
fn gradients_are_those_of_central_differences_and_padding_has_none() -> Result<()> {
    // So small that no ReLU changes its side within it.
    const STEP: f64 = 1e-8;
    for kind in &settings(true) {
        let size: usize = kind.1.iter().product();
        for training in [false, true] {
            let mut checked = 0;
            while let Some((_, along, input)) = derivative(kind, training, checked, 0.0)? {
                let loss = |more| derivative(kind, training, checked, more);
                let [above, below] =
                    [loss(STEP)?, loss(-STEP)?].map(|found| found.map_or(0.0, |f| f.0));
                let numeric = (above - below) / (2.0 * STEP);
                let error = (along - numeric).abs() / (1e-2 + numeric.abs());
                assert!(error < 1e-4, "{checked} of {kind:?}: {along} by backward, {numeric}");
                for (row, &length) in LENGTHS.iter().enumerate().filter(|_| !training) {
                    let (valid, padding) =
                        input[row * STEPS * size..][..STEPS * size].split_at(length * size);
                    assert!(valid.iter().any(|&g| g != 0.0), "{length} of {kind:?}");
                    assert!(padding.iter().all(|&g| g == 0.0), "{length} of {kind:?}");
                }
                checked += 1;
            }
            assert!(checked > 10, "{checked}");
        }
    }
    Ok(())
}

#[test]
fn the_default_is_not_written() -> Result<()> {
    for (masked, plain) in settings(true).iter().zip(&settings(false)) {
        let write = |settings: &BackboneSettings| serde_json::to_string(settings).expect("JSON");
        assert!(write(&masked.0).contains("masked") && !write(&plain.0).contains("masked"));
    }
    Ok(())
}
