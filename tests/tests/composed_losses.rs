//! Losses put together from tensor primitives alone, against PyTorch's value and gradients of the inputs, in f32 and in
//! f64. Each is a few lines: a loss that is tried out needs no kernel of its own.

use crate::comparison::{Comparison, demand_none};
use crate::fixture::{self, Fixture, list};
use engine::{DType, Result, Tape, Tensor};
use serde_json::Value;

/// The largest difference in f32, relative to the largest magnitude of a tensor: logits are 10 times their cosines.
const TOLERANCE: f64 = 1e-4;
/// The same in f64: the files hold f32.
const F64_TOLERANCE: f64 = 2e-7;

/// A loss of its settings and inputs.
type Loss = fn(&Value, &[Tensor]) -> Result<Tensor>;

#[test]
fn vicreg_is_pytorchs() {
    compare("vicreg", vicreg);
}

#[test]
fn supervised_contrastive_is_pytorchs() {
    compare("supervised_contrastive", supervised_contrastive);
}

/// VICReg (Bardes, Ponce & LeCun 2022) of two views [N, D]: the mean squared difference of the views; for each view,
/// a hinge that keeps the deviation of each feature at 1 or more, and the squared covariances of different features.
fn vicreg(settings: &Value, views: &[Tensor]) -> Result<Tensor> {
    let weight = |name: &str| settings[name].as_f64().unwrap();
    let mut loss = views[0].mse(&views[1])?.affine(weight("invariance"), 0.0)?;
    for z in views {
        let [n, d] = z.extents("vicreg")?;
        let centred = z.subtract(&z.mean(&[0])?)?;
        let unbiased = 1.0 / (n - 1) as f64;
        let variance = centred.square()?.sum(&[0])?.affine(unbiased, weight("epsilon"))?;
        let hinge = variance.sqrt()?.affine(-1.0, 1.0)?.relu()?.mean(&[0])?;
        let covariance = centred.permute(&[1, 0])?.linear(&centred, None, false)?;
        let others = covariance.multiply(&unequal(d, z.dtype())?)?.affine(unbiased, 0.0)?;
        let squares = others.square()?.sum(&[0, 1])?;
        loss = loss.add(&hinge.affine(weight("variance") / 2.0, 0.0)?)?;
        loss = loss.add(&squares.affine(weight("covariance") / d as f64, 0.0)?)?;
    }
    Ok(loss)
}

/// The supervised contrastive loss of embeddings [N, D] (Khosla et al. 2020, equation 2, L_out): for each anchor, the
/// mean over its positives of -ln of their share among all others; summed over anchors.
fn supervised_contrastive(settings: &Value, inputs: &[Tensor]) -> Result<Tensor> {
    let temperature = settings["temperature"].as_f64().unwrap();
    let labels: Vec<f64> = list(&settings["labels"]).iter().map(|&label| label as f64).collect();
    let n = labels.len();
    let z = &inputs[0];
    let norm = z.square()?.sum_keeping(&[1])?.sqrt()?;
    let unit = z.divide(&norm)?;
    let logits =
        unit.linear(&unit.permute(&[1, 0])?, None, false)?.affine(1.0 / temperature, 0.0)?;

    let others = unequal(n, z.dtype())?;
    // ln 0 = -inf leaves the anchor itself out of the sum.
    let rivals = logits.add(&others.log()?)?.log_sum_exp_keeping(&[1])?;
    let column = Tensor::from_slice(&labels, &[n, 1])?.to(z.dtype())?;
    let positives = column.equal(&column.reshape(&[1, n])?)?.multiply(&others)?;
    let shares = logits.subtract(&rivals)?.multiply(&positives)?.sum(&[1])?;
    shares.divide(&positives.sum(&[1])?)?.sum(&[0])?.negate()
}

/// [n, n]: 0 on the diagonal, else 1.
fn unequal(n: usize, dtype: DType) -> Result<Tensor> {
    let numbers: Vec<f64> = (0..n as u32).map(f64::from).collect();
    let column = Tensor::from_slice(&numbers, &[n, 1])?.to(dtype)?;
    column.equal(&column.reshape(&[1, n])?)?.affine(-1.0, 1.0)
}

fn compare(name: &str, loss: Loss) {
    let fixture = Fixture::read(&format!("loss_{name}"));
    let mut failures = Vec::new();
    let mut comparison = Comparison::default();
    for (dtype, tolerance) in [(DType::F32, TOLERANCE), (DType::F64, F64_TOLERANCE)] {
        let tape = Tape::new();
        let described = fixture.description["inputs"].as_array().unwrap();
        let input = |(position, input): (usize, &Value)| {
            let shape = list(&input["shape"]);
            let numbers = fixture::values(&format!("{name} input {position}"), &shape, input);
            tape.leaf(&Tensor::from_slice(&numbers, &shape).unwrap().to(dtype).unwrap())
        };
        let inputs: Vec<Tensor> = described.iter().enumerate().map(input).collect();
        let output = loss(&fixture.description["settings"], &inputs).unwrap();
        comparison.tensor(&fixture, "output", &output.to_vec().unwrap(), 0.0, tolerance);
        let scale = fixture::uniform(&format!("{name} grad_output"), 1).next().unwrap();
        let scaled = output.affine(f64::from(scale), 0.0).unwrap();
        let gradients = tape.backward(&scaled).unwrap();
        for (position, input) in inputs.iter().enumerate() {
            let gradient = gradients.get(input).unwrap().to_vec().unwrap();
            comparison.tensor(&fixture, &format!("grad {position}"), &gradient, 0.0, tolerance);
        }
    }
    assert_eq!(comparison.tensors, 2 * fixture.count());
    comparison.report(name, &mut failures);
    demand_none(&failures);
}
